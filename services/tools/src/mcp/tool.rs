//! A tool of an MCP server, as a turn sees it.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use rmcp::model::{CallToolRequestParams, CallToolResponse};
use rmcp::service::ServiceError;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use super::connection::told;
use super::result;
use super::unit::State;
use crate::tool::{Answer, Refused, Scene, Spec, Tool};

/// The longest name that every provider takes, in characters.
const NAME_CHARS_MAX: usize = 64;

/// The longest description that a model is shown, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2_000;

/// The largest description of arguments, in bytes of JSON.
const SCHEMA_BYTES_MAX: usize = 32 << 10;

/// How a tool reaches its server.
#[derive(Debug)]
pub(super) struct Line {
    /// The server as it is now: it may have been started again since the turn began.
    pub(super) state: watch::Receiver<State>,
    pub(super) doubt: Arc<Notify>,
    pub(super) calls: Arc<Semaphore>,
    pub(super) timeout: Duration,
}

/// One tool.
#[derive(Debug)]
pub(super) struct McpTool {
    spec: Arc<Spec>,
    server: String,
    /// What the server calls it.
    remote: String,
    /// Whether the server says that it changes nothing.
    reads_only: bool,
    line: Line,
}

impl McpTool {
    /// Makes the tool; none if a model cannot be told of it.
    pub(super) fn new(server: &str, tool: &rmcp::model::Tool, line: Line) -> Option<Self> {
        let parameters = Value::Object((*tool.input_schema).clone());
        if parameters.to_string().len() > SCHEMA_BYTES_MAX || tool.name.is_empty() {
            return None;
        }
        let described = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or("(not described)");
        let description = crate::toolset::cut(described.trim(), DESCRIPTION_BYTES_MAX);
        Some(Self {
            spec: Arc::new(Spec {
                name: name(server, &tool.name),
                description: format!("{description} (by the MCP server {server})"),
                parameters: parameters.into(),
            }),
            server: server.to_owned(),
            remote: tool.name.to_string(),
            reads_only: tool.annotations.as_ref().is_some_and(|notes| notes.read_only_hint == Some(true)),
            line,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    async fn ask(&self, arguments: Value) -> Result<Answer, Refused> {
        let server = &self.server;
        let peer = match &*self.line.state.borrow() {
            State::Ready(ready) => ready.peer.clone(),
            State::Failed { reason, .. } => return Err(Refused::Failed(format!("the MCP server {server} is not there: {reason}"))),
            State::New | State::Off => return Err(Refused::Failed(format!("the MCP server {server} is not there"))),
        };
        let Value::Object(arguments) = arguments else { return Err(Refused::Arguments("the arguments are no object".to_owned())) };
        let request = CallToolRequestParams::new(self.remote.clone()).with_arguments(arguments);
        let calling = async {
            let _place = self.line.calls.acquire().await.map_err(|_| ServiceError::TransportClosed)?;
            peer.call_tool_once(request).await
        };
        // Giving the call up tells the server to stop.
        let answered = timeout(self.line.timeout, calling).await;
        let answered = answered
            .map_err(|_| Refused::Failed(format!("the MCP server {server} did not answer within {} ms", self.line.timeout.as_millis())))?;
        match answered {
            Ok(CallToolResponse::Complete(result)) => Ok(result::answer(result)),
            Ok(_) => Err(Refused::Failed(format!("the MCP server {server} asks for what only a person could tell it"))),
            Err(ServiceError::McpError(error)) => {
                Err(Refused::failed(format!("the MCP server {server} refused"), result::shortened(&error.message)))
            }
            Err(error) => {
                self.line.doubt.notify_one();
                Err(Refused::failed(format!("the MCP server {server} could not be asked"), told(&error)))
            }
        }
    }
}

impl Tool for McpTool {
    fn spec(&self) -> Arc<Spec> {
        Arc::clone(&self.spec)
    }

    fn parallel(&self) -> bool {
        self.reads_only
    }

    fn call<'a>(&'a self, _: &'a Scene, arguments: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let answer = self.ask(arguments).await?;
            let details = json!({"server": self.server, "tool": self.remote, "structured": answer.details});
            Ok(answer.with_details(details))
        }
        .boxed()
    }
}

/// Returns `mcp__server__tool`, in the alphabet and the length that every provider takes.
pub(super) fn name(server: &str, tool: &str) -> String {
    let plain =
        |text: &str| text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect::<String>();
    let mut name = format!("mcp__{}__{}", plain(server), plain(tool));
    if name.len() > NAME_CHARS_MAX {
        // What was cut off still tells it from others.
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        name.truncate(NAME_CHARS_MAX - 9);
        let written = write!(name, "_{:08x}", hasher.finish() & 0xffff_ffff);
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    name
}
