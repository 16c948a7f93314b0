//! The connection of a command to its gateway, and the words for when there is none.

mod target;
mod transport;

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use verso_client::{CallError, CallErrorKind, Client, DeviceTokens, EventError, Events, Identity, Options};
use verso_kit::clock::Clock;
use verso_proto::agent::v1::AgentEvent;

use crate::args;
use crate::commands::Session;
use crate::failure;
use crate::output;

pub(crate) use target::Target;
pub(crate) use transport::{TransportError, print_transport_error};

/// What an operator's commands may do.
const SCOPES: [&str; 3] = ["operator.admin", "operator.approvals", "operator.pairing"];

/// What the command is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Somebody's command.
    Cli,
    /// A look whether anybody is there.
    Probe,
}

/// A command's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    target: Target,
}

/// What the gateway says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) version: String,
    pub(crate) conn_id: String,
    pub(crate) host: Option<String>,
    pub(crate) uptime_ms: Option<i64>,
}

impl Connection {
    /// Connects to the gateway that the command is about.
    pub(crate) async fn open(session: &Session, flags: &args::Target, patience: Duration, mode: Mode) -> anyhow::Result<Self> {
        Self::open_with(session, flags, patience, mode, &SCOPES).await
    }

    /// The same, asking for these scopes only.
    pub(crate) async fn open_with(
        session: &Session,
        flags: &args::Target,
        patience: Duration,
        mode: Mode,
        scopes: &[&str],
    ) -> anyhow::Result<Self> {
        let target = Target::find(session, flags)?;
        let mut options = options(session, &target);
        options.scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
        let name = if mode == Mode::Probe { "probe" } else { "cli" };
        name.clone_into(&mut options.client.mode);
        options.connect_timeout_ms = milliseconds(patience);
        match Client::connect(options).await {
            Ok(client) => Ok(Self { client, target }),
            Err(error) => Err(TransportError::connecting(session, &target, error).into()),
        }
    }

    /// Calls a method and returns its first answer.
    pub(crate) async fn call(&mut self, method: &str, params: Value, patience: Duration) -> anyhow::Result<Value> {
        let answer = self.client.call_within(method, params, milliseconds(patience)).await;
        answer.map_err(|error| self.failed(error, patience))
    }

    /// Calls a method and returns its last answer.
    pub(crate) async fn call_final(&mut self, method: &str, params: Value, patience: Duration) -> anyhow::Result<Value> {
        timeout(patience, self.last_answer(method, params))
            .await
            .unwrap_or_else(|_| Err(timed_out(method, patience)))
            .map_err(|error| self.failed(error, patience))
    }

    /// Runs an agent turn. `on_text` gets the whole reply so far whenever it has grown.
    pub(crate) async fn run_agent(
        &mut self,
        params: Value,
        patience: Duration,
        on_text: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> anyhow::Result<Value> {
        // The key names the run, so that its events are known before it is accepted.
        let run_id = params["idempotencyKey"].as_str().unwrap_or_default().to_owned();
        let events = self.client.events();
        let turn = async {
            tokio::select! {
                answer = self.last_answer("agent", params) => answer.map_err(|error| self.failed(error, patience)),
                error = follow(events, &run_id, on_text) => Err(error.into()),
            }
        };
        timeout(patience, turn).await.unwrap_or_else(|_| Err(self.failed(timed_out("agent", patience), patience)))
    }

    /// The client that holds the connection.
    #[cfg(feature = "chaos")]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns what the gateway said about itself.
    pub(crate) fn server(&self) -> Server {
        let hello = self.client.hello();
        Server {
            version: hello.server_version.clone(),
            conn_id: hello.conn_id.clone(),
            host: hello.payload["server"]["host"].as_str().map(str::to_owned),
            uptime_ms: hello.payload["snapshot"]["uptimeMs"].as_i64(),
        }
    }

    async fn last_answer(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let mut answers = self.client.call_streaming(method, params).await?;
        let mut last = Value::Null;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(payload) => last = payload,
                // A run that failed says so in its payload, like one that succeeded.
                Err(CallError { kind: CallErrorKind::Answered, payload: Some(payload), .. }) if payload.get("runId").is_some() => {
                    last = *payload;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(last)
    }

    fn failed(&self, error: CallError, patience: Duration) -> anyhow::Error {
        match error.kind {
            CallErrorKind::Answered | CallErrorKind::Malformed => error.into(),
            CallErrorKind::TimedOut => TransportError::timed_out(&self.target, patience).into(),
            CallErrorKind::Closed | CallErrorKind::Lagged => TransportError::closed(&self.target, error.message).into(),
        }
    }
}

/// How the command line connects to a gateway: with the secrets that are meant for it, as this machine's device.
pub(crate) fn options(session: &Session, target: &Target) -> Options {
    let mut options = Options::new(&target.url).with_scopes(SCOPES).with_client("cli", "cli");
    options.token = target.token.as_ref().map(|token| token.expose().clone());
    options.password = target.password.as_ref().map(|password| password.expose().clone());
    options.identity = identity(session);
    options.trust = target.trust;
    if !target.is_named {
        options.device_tokens = Some(DeviceTokens::in_state_dir(&session.instance.state_dir));
    }
    options
}

/// Shows a run's text until somebody stops listening; ends only when it cannot be shown.
async fn follow(mut events: Events, run_id: &str, on_text: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Error {
    loop {
        match events.next_named("agent").await {
            Ok(event) => {
                let Ok(event) = serde_json::from_value::<AgentEvent>(event.payload.clone()) else { continue };
                let text = event.data.and_then(|data| data.text);
                if event.run_id == run_id
                    && event.stream == "assistant"
                    && let Some(text) = text
                    && let Err(error) = on_text(&text)
                {
                    return error;
                }
            }
            // Each event holds the whole text: the next one makes up for those that were lost.
            Err(EventError::Lagged(_) | EventError::Gap(_)) => {}
            // The call hears of the end too, and has the words for it.
            Err(EventError::Closed) => std::future::pending::<()>().await,
        }
    }
}

/// The device key of this profile. Without one, the gateway grants less, and says so.
fn identity(session: &Session) -> Option<Identity> {
    match Identity::load_or_create(&session.instance.state_dir, Clock::system().now_ms()) {
        Ok(identity) => Some(identity),
        Err(error) => {
            output::notice(format!("warning: {}", failure::chain(&error)));
            None
        }
    }
}

fn timed_out(method: &str, patience: Duration) -> CallError {
    CallError {
        kind: CallErrorKind::TimedOut,
        code: "UNAVAILABLE".to_owned(),
        message: format!("no final answer to {method} within {} ms", patience.as_millis()),
        details: None,
        retryable: false,
        retry_after_ms: None,
        payload: None,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
