//! A connection to a server: over the pipes of a program that was started for it, or over HTTP.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::{NotificationContext, Peer, RoleClient, RunningService, RunningServiceCancellationToken};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransport, StreamableHttpClientTransportConfig};
use rmcp::{ClientHandler, ServiceExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Notify;
use verso_kit::CancellationToken;

use super::Surroundings;
use super::config::Settings;
use crate::exec::Noted;
use crate::exec::child::{Group, Plan};
use crate::exec::environment;
use crate::skills::find_program;

/// The largest message of a server, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Of what a program complains about, how much is remembered, in bytes.
const COMPLAINTS_BYTES_MAX: usize = 600;

/// Redirects that are followed within one server.
const REDIRECTS_MAX: usize = 5;

/// How long a server has to end by itself before its program is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// Our side of a connection. It does nothing that a server asks for: servers answer, they do not order.
#[derive(Debug, Clone)]
pub(super) struct Handler {
    config: ClientConfig,
    /// Is told when the server's tools have changed.
    changed: Arc<Notify>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        self.config.clone()
    }

    fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) -> impl Future<Output = ()> + Send + '_ {
        self.changed.notify_one();
        std::future::ready(())
    }
}

/// A server that has shaken hands.
pub(super) struct Connection {
    /// What calls go through.
    pub(super) peer: Peer<RoleClient>,
    pub(super) changed: Arc<Notify>,
    /// Ends when the connection does.
    waiting: BoxFuture<'static, ()>,
    goodbye: RunningServiceCancellationToken,
    program: Option<Program>,
}

/// The program of a server. Dropping it ends everything that it has started.
#[derive(Debug)]
struct Program {
    group: Group,
    complaints: Complaints,
    _noted: Noted,
}

impl Connection {
    /// Starts the server, or reaches for it, and shakes hands.
    pub(super) async fn open(settings: &Settings, surroundings: &Surroundings) -> Result<Self, String> {
        let changed = Arc::new(Notify::new());
        let us = Implementation::new("verso", env!("CARGO_PKG_VERSION"));
        let handler = Handler { config: ClientConfig::new(ClientCapabilities::default(), us), changed: Arc::clone(&changed) };
        if !settings.program() {
            let strayed = Strayed::default();
            let shaken = handler.serve(http(settings, &strayed)?).await;
            let service = shaken.map_err(|error| {
                let elsewhere = strayed.lock().unwrap_or_else(PoisonError::into_inner).take();
                let words = |to: String| format!("the server redirects to somebody else ({to}), who is not told what was meant for it");
                elsewhere.map_or_else(|| told(&error), words)
            })?;
            return Ok(Self::of(service, None, changed));
        }
        let (mut program, transport) = start(settings, surroundings).await?;
        match handler.serve(transport).await {
            Ok(service) => Ok(Self::of(service, Some(program), changed)),
            // What it has complained about on its way out says more than the broken pipe.
            Err(error) => Err(program.gone(&told(&error)).await),
        }
    }

    fn of(service: RunningService<RoleClient, Handler>, program: Option<Program>, changed: Arc<Notify>) -> Self {
        let (peer, goodbye) = (service.peer().clone(), service.cancellation_token());
        // How the task of the connection has ended changes nothing.
        let waiting = service.waiting().map(drop).boxed();
        Self { peer, changed, waiting, goodbye, program }
    }

    /// Waits until the server is gone, and says how.
    pub(super) async fn over(&mut self) -> String {
        (&mut self.waiting).await;
        match &mut self.program {
            Some(program) => program.gone("the connection ended").await,
            None => "the connection ended".to_owned(),
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        self.goodbye.cancel();
        if tokio::time::timeout(FAREWELL, &mut self.waiting).await.is_err() {
            tracing::debug!("an MCP server did not say goodbye in time");
        }
        if let Some(program) = &mut self.program {
            // Its standard input is closed by now; most end by that. The others are killed when this is dropped.
            drop(tokio::time::timeout(FAREWELL, program.group.wait()).await);
        }
    }
}

impl Program {
    /// Waits a little for the end of the program, and says how it came.
    async fn gone(&mut self, what: &str) -> String {
        let ended = tokio::time::timeout(FAREWELL, self.group.wait()).await;
        self.complaints.heard().await;
        let what = match ended {
            Ok(Ok(ended)) => format!("{what}, the program ended ({ended:?})"),
            Ok(Err(_)) | Err(_) => what.to_owned(),
        };
        self.complaints.after(&what)
    }
}

type Pipes = AsyncRwTransport<RoleClient, ChildStdout, ChildStdin>;

async fn start(settings: &Settings, surroundings: &Surroundings) -> Result<(Program, Pipes), String> {
    let command = settings.command.as_deref().map(str::trim).unwrap_or_default();
    let folder = settings.cwd.as_ref().map_or_else(|| surroundings.folder.clone(), PathBuf::from);
    let mut variables = environment::inherited(&surroundings.env, &[]);
    variables.extend(settings.env.iter().map(|(name, value)| (name.clone(), value.expose().clone())));
    let path = verso_kit::config::Env::from_pairs(variables.clone());
    // A name is looked up, a path is taken as it is; nothing is ever found in whatever folder the gateway was started in.
    let program = if command.starts_with('/') { Some(PathBuf::from(command)) } else { find_program(command, &path) };
    let program = program.ok_or_else(|| format!("there is no program \"{command}\"; install it, or name its whole path"))?;
    let plan = Plan { program, arguments: settings.args.clone(), folder, variables, sandbox: None, cleanup: None };
    let (group, pipes) = Group::start(&plan, true).await.map_err(|error| format!("\"{command}\" could not be started: {error}"))?;
    let noted = surroundings.notes.note(group.pid());
    let stdin = pipes.stdin.ok_or("the program has no standard input")?;
    let complaints = Complaints::default();
    let (hearing, stderr) = (complaints.clone(), pipes.stderr);
    surroundings.tasks.spawn("mcp server's complaints", async move { hearing.hear(stderr).await });
    let transport = AsyncRwTransport::new(pipes.stdout, stdin).with_max_line_length(MESSAGE_BYTES_MAX);
    Ok((Program { group, complaints, _noted: noted }, transport))
}

/// Where a server has redirected to that it may not; its library does not pass the reason on.
type Strayed = Arc<Mutex<Option<String>>>;

fn http(settings: &Settings, strayed: &Strayed) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    let url = settings.url.as_deref().unwrap_or_default().trim();
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("the address cannot be read: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("the address is neither http nor https but {}", parsed.scheme()));
    }
    let mut headers = HashMap::new();
    for (name, value) in &settings.headers {
        let unusable = || format!("the header {name} holds what no header may hold");
        let mut value = HeaderValue::try_from(value.expose().trim()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name.as_str()).map_err(|_| unusable())?, value);
    }
    let watching = Arc::clone(strayed);
    let policy = Policy::custom(move |attempt| within(attempt, &watching));
    let mut builder = reqwest::Client::builder().connect_timeout(settings.connection_timeout()).redirect(policy);
    if parsed.scheme() == "http" {
        // It needs no certificates, so that it also works where there are none.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().map_err(|error| format!("no HTTP client: {error}"))?;
    let config = StreamableHttpClientTransportConfig::with_uri(url)
        .custom_headers(headers)
        .max_sse_event_size(MESSAGE_BYTES_MAX)
        .max_json_response_size(MESSAGE_BYTES_MAX);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// Headers with credentials of any name go along with a redirect, so that only the same server may redirect.
fn within(attempt: Attempt<'_>, strayed: &Strayed) -> reqwest::redirect::Action {
    let Some(first) = attempt.previous().first() else { return attempt.stop() };
    if attempt.url().origin() == first.origin() && attempt.previous().len() <= REDIRECTS_MAX {
        return attempt.follow();
    }
    let elsewhere = attempt.url().origin().ascii_serialization();
    *strayed.lock().unwrap_or_else(PoisonError::into_inner) = Some(elsewhere);
    attempt.error("the server redirects to somebody else")
}

/// Returns an error with its causes: the outer ones only say that a message was sent.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.iter().any(|known| known.contains(&text)) {
            words.push(text);
        }
        cause = inner.source();
    }
    crate::toolset::cut(&words.join(": "), COMPLAINTS_BYTES_MAX)
}

/// The end of what a program complains about.
#[derive(Debug, Clone, Default)]
struct Complaints {
    kept: Arc<Mutex<Vec<u8>>>,
    /// Triggered when there is nothing more to hear.
    over: CancellationToken,
}

impl Complaints {
    /// Reads until the program closes its mouth.
    async fn hear(&self, mut stderr: impl AsyncRead + Unpin) {
        let _over = self.over.clone().drop_guard();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..count]);
            let over = kept.len().saturating_sub(COMPLAINTS_BYTES_MAX);
            kept.drain(..over);
        }
    }

    /// Waits a little until all is heard.
    async fn heard(&self) {
        drop(tokio::time::timeout(FAREWELL, self.over.cancelled()).await);
    }

    /// Adds them to what is known.
    fn after(&self, what: &str) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let text = text.trim();
        if text.is_empty() { what.to_owned() } else { format!("{what}: {text}") }
    }
}
