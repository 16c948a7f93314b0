//! What a call wants done, checked and carried out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use verso_proto::agent::v1::{HookAgentRequest, HookAgentResponse, HookDelivery, WakeRequest};

use super::answer::{self, Outcome, say};
use super::config::Config;
use super::mapping::Call;
use crate::gateway::Gateway;
use crate::http::session::is_reserved;

/// How long a caller waits for the end of a turn who wants to, in milliseconds.
const WAIT_MS: i64 = 600_000;

/// The longest idempotency key, in characters.
const KEY_CHARS_MAX: usize = 256;

/// How long a repeated wake is known as one, and how many are.
const WOKEN_FOR: Duration = Duration::from_mins(5);
const WOKEN_MAX: usize = 1_000;

/// Headers that name a call, so that it can be repeated without effect. The last is how GitHub names its deliveries.
const KEYS: [&str; 4] = ["idempotency-key", "x-verso-idempotency-key", "x-openclaw-idempotency-key", "x-github-delivery"];

/// Networks that may be named whether or not they are set up here.
const CHANNELS: [&str; 12] =
    ["last", "whatsapp", "telegram", "discord", "googlechat", "slack", "signal", "imessage", "msteams", "matrix", "mattermost", "irc"];

/// When an agent hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Now,
    NextHeartbeat,
}

impl Mode {
    /// Reads a word; unknown ones mean now.
    pub(super) fn read(word: Option<&str>) -> Self {
        if word == Some("next-heartbeat") { Self::NextHeartbeat } else { Self::Now }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::NextHeartbeat => "next-heartbeat",
        }
    }
}

/// What a call wants done.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// A line before an agent.
    Wake { text: String, mode: Mode, session_key: Option<String>, agent_id: Option<String>, key: Option<String> },
    /// A turn of an agent.
    Agent(Box<AgentAction>),
}

/// A turn of an agent.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the configuration")]
#[derive(Debug, Clone)]
pub(super) struct AgentAction {
    pub(super) message: String,
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) deliver: bool,
    pub(super) session_key: Option<String>,
    /// Whether the session was named by the call, not by the operator.
    pub(super) key_is_callers: bool,
    pub(super) channel: String,
    pub(super) to: Option<String>,
    pub(super) account_id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) timeout_seconds: Option<i64>,
    pub(super) agent_id: Option<String>,
    /// The message is the operator's own words.
    pub(super) trusted: bool,
    /// Whether the caller waits for the end.
    pub(super) wait: bool,
    pub(super) idempotency_key: Option<String>,
}

/// Where an action comes from.
pub(super) struct Origin<'a> {
    pub(super) call: &'a Call,
    pub(super) config: &'a Config,
    /// Chat networks that are set up.
    pub(super) channels: Vec<String>,
}

/// Wakes that were named, so that a repeat has no effect.
#[derive(Debug, Default)]
pub(crate) struct Woken(Mutex<HashMap<String, Instant>>);

impl Woken {
    /// Whether a wake of that name is a new one.
    fn is_new(&self, name: String) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, at| at.elapsed() < WOKEN_FOR);
        if known.len() >= WOKEN_MAX {
            known.clear();
        }
        known.insert(name, Instant::now()).is_none()
    }
}

impl Action {
    /// Reads a call of `wake`.
    pub(super) fn wake(payload: &Value) -> Result<Self, String> {
        let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let words = text("text").ok_or("text required")?.to_owned();
        Ok(Self::Wake {
            text: words,
            mode: Mode::read(text("mode")),
            session_key: text("sessionKey").map(str::to_owned),
            agent_id: text("agentId").map(str::to_owned),
            key: text("idempotencyKey").map(str::to_owned),
        })
    }

    /// Checks what the operator allows, and fills in what he has said once for all.
    pub(super) fn check(mut self, origin: &Origin<'_>) -> Result<Self, String> {
        match &mut self {
            Self::Wake { session_key, agent_id, key, .. } => {
                check_agent(origin.config, agent_id.as_deref())?;
                check_session(origin.config, session_key.as_deref(), true)?;
                *key = named(origin.call, key.take())?;
            }
            Self::Agent(action) => action.check(origin)?,
        }
        Ok(self)
    }

    /// Does it, and returns what the caller reads.
    pub(super) async fn carry_out(&self, gateway: &Arc<Gateway>, origin: &Origin<'_>) -> Response {
        match self {
            Self::Wake { text, mode, session_key, agent_id, key } => {
                let name = key.as_ref().map(|key| format!("{} {key}", origin.call.path));
                let is_new = name.is_none_or(|name| gateway.hooks.woken.is_new(name));
                if is_new {
                    let request = WakeRequest {
                        mode: mode.as_str().to_owned(),
                        text: text.clone(),
                        session_key: session_key.clone(),
                        agent_id: agent_id.clone(),
                    };
                    if let Err(status) = gateway.services.call(request).await {
                        return answer::from_status(&status);
                    }
                }
                say(StatusCode::OK, &Outcome::woken(mode.as_str(), if is_new { "queued" } else { "coalesced" }))
            }
            Self::Agent(action) => match action.run(gateway, origin).await {
                Ok(answered) => match answered.completion {
                    Some(completion) => say(StatusCode::OK, &Outcome::completed(answered.run_id, completion)),
                    None => say(StatusCode::ACCEPTED, &Outcome::accepted(answered.run_id)),
                },
                Err(status) => answer::from_status(&status),
            },
        }
    }
}

impl AgentAction {
    /// Reads a call of `agent`.
    pub(super) fn read(call: &Call) -> Result<Self, String> {
        let empty = Map::new();
        let payload = call.payload.as_object().unwrap_or(&empty);
        let given = |name: &str| payload.get(name).filter(|value| !value.is_null());
        let text = |name: &str| given(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let message = text("message").ok_or("message required")?;
        if given("model").is_some() && text("model").is_none() {
            return Err("model required".to_owned());
        }
        let wait = match given("waitForCompletion") {
            None => false,
            Some(Value::Bool(wait)) => *wait,
            Some(_) => return Err("waitForCompletion must be boolean".to_owned()),
        };
        if text("sessionMode").is_some_and(|mode| mode != "isolated" && mode != "persistent") {
            return Err("sessionMode must be isolated or persistent".to_owned());
        }
        #[allow(clippy::cast_possible_truncation, reason = "longer than any run may take is as long as any")]
        let seconds =
            given("timeoutSeconds").and_then(Value::as_f64).filter(|seconds| *seconds >= 1.0).map(|seconds| seconds.floor() as i64);
        Ok(Self {
            message,
            name: text("name").unwrap_or_else(|| "Hook".to_owned()),
            mode: Mode::read(text("wakeMode").as_deref()),
            deliver: given("deliver") != Some(&Value::Bool(false)),
            session_key: text("sessionKey"),
            key_is_callers: true,
            channel: text("channel").unwrap_or_else(|| "last".to_owned()).to_lowercase(),
            to: text("to"),
            account_id: text("accountId"),
            model: text("model"),
            thinking: text("thinking"),
            timeout_seconds: seconds,
            agent_id: text("agentId"),
            trusted: false,
            wait,
            idempotency_key: text("idempotencyKey"),
        })
    }

    fn check(&mut self, origin: &Origin<'_>) -> Result<(), String> {
        let Origin { call, config, channels } = origin;
        check_agent(config, self.agent_id.as_deref())?;
        check_session(config, self.session_key.as_deref(), self.key_is_callers)?;
        if !CHANNELS.contains(&self.channel.as_str()) && !channels.contains(&self.channel) {
            let known: Vec<&str> = std::iter::once("last").chain(channels.iter().map(String::as_str)).collect();
            return Err(format!("channel must be {}", known.join("|")));
        }
        self.idempotency_key = named(call, self.idempotency_key.take())?;
        if self.session_key.is_none() {
            self.session_key.clone_from(&config.default_session_key);
        }
        let mail = self.session_key.as_deref().is_some_and(|key| key.starts_with("hook:gmail:"));
        if mail {
            self.model = self.model.take().or_else(|| config.gmail.model.clone());
            self.thinking = self.thinking.take().or_else(|| config.gmail.thinking.clone());
            self.trusted |= config.gmail.allow_unsafe_external_content;
        }
        Ok(())
    }

    /// Begins the turn. A call that was named begins it once, however often it comes.
    pub(super) async fn run(&self, gateway: &Gateway, origin: &Origin<'_>) -> Result<HookAgentResponse, tonic::Status> {
        let delivery = self.deliver.then(|| HookDelivery {
            channel: self.channel.clone(),
            to: self.to.clone().unwrap_or_default(),
            account_id: self.account_id.clone(),
        });
        let request = HookAgentRequest {
            message: self.message.clone(),
            name: self.name.clone(),
            idempotency_key: self.run_id(origin),
            session_key: self.session_key.clone().unwrap_or_default(),
            agent_id: self.agent_id.clone(),
            wake_mode: self.mode.as_str().to_owned(),
            model: self.model.clone(),
            thinking: self.thinking.clone(),
            timeout_seconds: self.timeout_seconds,
            trusted: self.trusted,
            wait_ms: self.wait.then_some(WAIT_MS),
            delivery,
        };
        gateway.services.call(request).await
    }

    /// The run's name follows from the call's and from what it wants, so that the journal of runs, which is on disk, knows a repeat.
    fn run_id(&self, origin: &Origin<'_>) -> String {
        let Some(key) = &self.idempotency_key else { return uuid::Uuid::new_v4().to_string() };
        let secret = origin.config.token.as_ref().map(|token| token.expose().as_str()).unwrap_or_default();
        let mut hash = Sha256::new();
        let fields = [
            Some(secret),
            Some(origin.call.path.trim_matches('/')),
            Some(key.as_str()),
            Some(self.message.as_str()),
            self.session_key.as_deref(),
            self.agent_id.as_deref(),
            self.model.as_deref(),
            self.to.as_deref(),
        ];
        for field in fields {
            hash.update(field.unwrap_or_default().as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// Returns the name of a call: a header's, else its own.
fn named(call: &Call, own: Option<String>) -> Result<Option<String>, String> {
    let named = KEYS.iter().find_map(|name| call.header(name)).map(str::to_owned).or(own);
    match named {
        Some(key) if key.chars().count() > KEY_CHARS_MAX => Err(format!("idempotencyKey must have 1 to {KEY_CHARS_MAX} characters")),
        named => Ok(named),
    }
}

fn check_agent(config: &Config, agent: Option<&str>) -> Result<(), String> {
    match (&config.allowed_agent_ids, agent) {
        (Some(allowed), Some(agent)) if !allowed.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(agent)) => {
            Err("agentId is not allowed by hooks.allowedAgentIds".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_session(config: &Config, key: Option<&str>, key_is_callers: bool) -> Result<(), String> {
    let Some(key) = key.filter(|_| key_is_callers) else { return Ok(()) };
    if is_reserved(key) {
        return Err("sessionKey cannot use reserved internal session namespaces".to_owned());
    }
    if config.allow_request_session_key == Some(false) {
        let words = "sessionKey is disabled for externally supplied hook payload values; set hooks.allowRequestSessionKey=true to enable";
        return Err(words.to_owned());
    }
    let prefixes = &config.allowed_session_key_prefixes;
    if !prefixes.is_empty() && !prefixes.iter().any(|prefix| key.starts_with(prefix.as_str())) {
        return Err(format!("sessionKey must start with one of: {}", prefixes.join(", ")));
    }
    Ok(())
}
