//! The life of one server: it is connected to, its tools are listed, and when it is gone it is connected to again, more and more patiently.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::PaginatedRequestParams;
use rmcp::service::{Peer, RoleClient};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};
use verso_kit::CancellationToken;

use super::Surroundings;
use super::config::Settings;
use super::connection::{Connection, told};
use super::tool::McpTool;

/// The pause before a second attempt; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// A server that was ready for so long has recovered: its next pause is the first one again.
const HEALTHY: Duration = Duration::from_mins(1);

/// Tools of one server, and the pages in which it may list them.
const TOOLS_MAX: usize = 128;
const PAGES_MAX: usize = 32;

/// Calls of one server that are under way at once; more wait.
const CALLS_MAX: usize = 8;

/// How a server is doing.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It was not heard of yet.
    New,
    Ready(Arc<Ready>),
    /// It is tried again after a pause, unless its configuration is at fault.
    Failed {
        reason: String,
        restarts: u32,
    },
    /// The configuration says so.
    Off,
}

/// A server that can be called.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) peer: Peer<RoleClient>,
    pub(super) tools: Vec<Arc<McpTool>>,
    pub(super) restarts: u32,
}

/// Tells how a server is doing.
#[derive(Debug)]
pub(super) struct Reports {
    pub(super) state: watch::Sender<State>,
    pub(super) name: String,
}

/// Keeps a server running until it is retired.
pub(super) async fn run(settings: Settings, surroundings: Surroundings, reports: Reports, retired: CancellationToken) {
    let desk = Desk { settings, doubt: Arc::new(Notify::new()), calls: Arc::new(Semaphore::new(CALLS_MAX)), reports };
    let (mut pause, mut restarts) = (PAUSE, 0);
    loop {
        let begun = Instant::now();
        let connecting = timeout(desk.settings.connection_timeout(), Connection::open(&desk.settings, &surroundings));
        let connected = tokio::select! {
            connected = connecting => connected.unwrap_or_else(|_| Err(format!("it was not ready within {} ms", desk.settings.connection_timeout().as_millis()))),
            () = retired.cancelled() => return,
        };
        let reason = match connected {
            Ok(connection) => match desk.serve(connection, restarts, &retired).await {
                Some(reason) => reason,
                None => return,
            },
            Err(reason) => reason,
        };
        if begun.elapsed() >= HEALTHY {
            pause = PAUSE;
        }
        tracing::warn!(server = desk.reports.name, reason, pause_ms = pause.as_millis(), "an MCP server is not there; it is tried again");
        desk.reports.state.send_replace(State::Failed { reason, restarts });
        // Servers that failed together should not come back together.
        let jitter = Duration::from_millis(u64::from(uuid::Uuid::new_v4().as_bytes()[0]));
        tokio::select! {
            () = tokio::time::sleep(pause + jitter) => {}
            () = retired.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
        restarts += 1;
    }
}

/// What belongs to one server for as long as it is configured.
#[derive(Debug)]
struct Desk {
    settings: Settings,
    /// Is told when a call could not be sent.
    doubt: Arc<Notify>,
    calls: Arc<Semaphore>,
    reports: Reports,
}

impl Desk {
    /// Offers a server's tools until it is gone, and says how. None: it was retired.
    async fn serve(&self, mut connection: Connection, restarts: u32, retired: &CancellationToken) -> Option<String> {
        loop {
            match self.list(&connection.peer).await {
                Ok(tools) => {
                    tracing::info!(server = self.reports.name, tools = tools.len(), "an MCP server is ready");
                    let ready = Ready { peer: connection.peer.clone(), tools, restarts };
                    self.reports.state.send_replace(State::Ready(Arc::new(ready)));
                }
                Err(reason) => {
                    connection.close().await;
                    return Some(reason);
                }
            }
            let changed = Arc::clone(&connection.changed);
            tokio::select! {
                reason = connection.over() => return Some(reason),
                () = changed.notified() => {}
                () = self.doubt.notified() => {}
                () = retired.cancelled() => {
                    connection.close().await;
                    return None;
                }
            }
        }
    }

    /// Returns the server's tools, as many as there may be.
    async fn list(&self, peer: &Peer<RoleClient>) -> Result<Vec<Arc<McpTool>>, String> {
        let (mut tools, mut names, mut cursor) = (Vec::new(), BTreeSet::new(), None);
        for _ in 0..PAGES_MAX {
            let page = peer.list_tools(Some(PaginatedRequestParams::default().with_cursor(cursor.take())));
            let page = timeout(self.settings.request_timeout(), page).await.map_err(|_| "it does not list its tools in time".to_owned())?;
            let page = page.map_err(|error| format!("it does not list its tools: {}", told(&error)))?;
            for tool in page.tools.into_iter().filter(|tool| self.settings.takes(&tool.name)) {
                let Some(tool) = self.tool(&tool) else { continue };
                if tools.len() >= TOOLS_MAX || !names.insert(tool.name().to_owned()) {
                    tracing::warn!(
                        server = self.reports.name,
                        tool = tool.name(),
                        "a tool of an MCP server is one too many, and is left out"
                    );
                } else {
                    tools.push(Arc::new(tool));
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        tracing::warn!(server = self.reports.name, pages = PAGES_MAX, "an MCP server's list of tools does not end");
        Ok(tools)
    }

    fn tool(&self, tool: &rmcp::model::Tool) -> Option<McpTool> {
        let made = McpTool::new(
            &self.reports.name,
            tool,
            super::tool::Line {
                state: self.reports.state.subscribe(),
                doubt: Arc::clone(&self.doubt),
                calls: Arc::clone(&self.calls),
                timeout: self.settings.request_timeout(),
            },
        );
        if made.is_none() {
            tracing::warn!(server = self.reports.name, tool = &*tool.name, "a tool of an MCP server cannot be described, and is left out");
        }
        made
    }
}
