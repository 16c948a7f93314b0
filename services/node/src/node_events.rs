//! What nodes tell on their own account, and what comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use verso_kit::events::Hub;
use verso_kit::peer::{Caller, Peer};
use verso_kit::principal::Vouched;
use verso_proto::agent::v1::{RunRequest, WakeRequest};
use verso_proto::node::v1::{ChatFollowed, Event, ExecQuestion};

use crate::approvals::Approvals;
use crate::invokes::Invokes;
use crate::run_permit::Asked;
use crate::told::Told;

/// How long a message from a node may be, in characters.
const MESSAGE_CHARS_MAX: usize = 20_000;

/// How much of a run's output an agent is told, in characters.
const OUTPUT_CHARS_MAX: usize = 400;

/// How long the agent service may take to accept a run.
const ACCEPTANCE: Duration = Duration::from_secs(5);

/// How much a spoken request is thought about.
const SPOKEN_THINKING: &str = "low";

/// What came of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// What the event is for has happened.
    Handled,
    /// The same, and this is what the node needs to know.
    Named(String),
    /// It has not, and why.
    Ignored(String),
}

/// Where events go.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    pub(crate) agent: &'a Peer,
    pub(crate) approvals: &'a Approvals,
    pub(crate) invokes: &'a Invokes,
    pub(crate) told: &'a Told,
    pub(crate) hub: &'a Hub<Event>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transcript {
    text: String,
    session_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chat {
    session_key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentRequest {
    message: String,
    session_key: Option<String>,
    thinking: Option<String>,
    #[serde(default)]
    deliver: bool,
    to: Option<String>,
    channel: Option<String>,
    timeout_seconds: Option<i64>,
    key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Presence {
    trigger: Option<String>,
    action: Option<String>,
    idle_seconds: Option<f64>,
}

/// A node that asks whether it may run something that it was told to run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunQuestion {
    command: String,
    #[serde(default)]
    command_argv: Vec<String>,
    cwd: Option<String>,
    #[serde(default)]
    env_keys: Vec<String>,
    resolved_path: Option<String>,
    agent_id: Option<String>,
    session_key: Option<String>,
    security: Option<String>,
    ask: Option<String>,
    timeout_ms: Option<i64>,
}

/// What a node says of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RunReport {
    run_id: Option<String>,
    command: Option<String>,
    exit_code: Option<i64>,
    timed_out: bool,
    output: Option<String>,
    reason: Option<String>,
}

impl RunReport {
    /// The report as an agent reads it.
    fn text(&self, node_id: &str, event: &str) -> String {
        let id = self.run_id.as_deref().unwrap_or_default();
        let about = |said: &Option<String>| said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
        match event {
            "exec.started" => format!("Exec started (node={node_id} id={id}){}", about(&self.command)),
            "exec.denied" => {
                let reason = self.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
                format!("Exec denied (node={node_id} id={id}{reason}){}", about(&self.command))
            }
            _ => {
                let end = if self.timed_out {
                    "timeout".to_owned()
                } else {
                    format!("code {}", self.exit_code.map_or_else(|| "?".to_owned(), |code| code.to_string()))
                };
                let output = self.output.as_deref().map(str::trim_end).filter(|output| !output.is_empty());
                let output = output.map(|output| format!("\n{}", tail(output))).unwrap_or_default();
                format!("Exec finished (node={node_id} id={id}, {end}){output}")
            }
        }
    }
}

impl Listener<'_> {
    /// Takes one event of the node `from`.
    pub(crate) async fn take(&self, from: &Vouched, event: &str, payload: Value) -> Effect {
        let node_id = from.device_id.as_deref().unwrap_or_default();
        match event {
            "voice.transcript" => self.voice(from, payload).await,
            "agent.request" => self.agent_request(from, payload).await,
            "node.host.stats" if self.told.load(node_id, &payload) => Effect::Handled,
            "node.presence.alive" | "node.presence.activity" => self.presence(node_id, payload),
            "exec.approval.request" => self.run_question(node_id, payload),
            "exec.approval.cancel" => {
                self.approvals.withdraw(payload["id"].as_str().unwrap_or_default(), node_id);
                Effect::Handled
            }
            "exec.started" | "exec.finished" | "exec.denied" => self.exec(node_id, event, payload).await,
            "chat.subscribe" => self.follow(from, payload, true),
            "chat.unsubscribe" => self.follow(from, payload, false),
            "node.host.stats" => Effect::Ignored("unreadable payload".to_owned()),
            _ => Effect::Ignored("unknown event".to_owned()),
        }
    }

    /// Tells the edge whose events the node wants: it holds the node's connection, and forgets this with it.
    fn follow(&self, from: &Vouched, payload: Value, follows: bool) -> Effect {
        let Some(Chat { session_key }) = read(payload) else { return unreadable() };
        let Some(session_key) = given(Some(session_key)) else { return unreadable() };
        self.hub.emit(ChatFollowed { conn_id: from.conn_id.clone(), session_key, follows });
        Effect::Handled
    }

    async fn voice(&self, from: &Vouched, payload: Value) -> Effect {
        let Some(Transcript { text, session_key }) = read(payload) else { return unreadable() };
        let request = RunRequest {
            message: text,
            session_key: Some(given(session_key).unwrap_or_else(|| "main".to_owned())),
            thinking: Some(SPOKEN_THINKING.to_owned()),
            deliver: Some(false),
            idempotency_key: format!("voice-{}", uuid::Uuid::new_v4()),
            ..RunRequest::default()
        };
        self.run(from, request).await
    }

    async fn agent_request(&self, from: &Vouched, payload: Value) -> Effect {
        let Some(asked) = read::<AgentRequest>(payload) else { return unreadable() };
        let own = || format!("node-{}", from.device_id.as_deref().unwrap_or_default());
        let (channel, to) = (given(asked.channel), given(asked.to));
        let delivers = asked.deliver && channel.is_some() && to.is_some();
        let request = RunRequest {
            message: asked.message,
            session_key: Some(given(asked.session_key).unwrap_or_else(own)),
            thinking: given(asked.thinking),
            deliver: Some(delivers),
            channel: channel.filter(|_| delivers),
            to: to.filter(|_| delivers),
            timeout: asked.timeout_seconds.filter(|seconds| *seconds > 0),
            idempotency_key: given(asked.key).unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            ..RunRequest::default()
        };
        self.run(from, request).await
    }

    /// Starts a run and does not wait for its end.
    async fn run(&self, from: &Vouched, request: RunRequest) -> Effect {
        let length = request.message.chars().count();
        if request.message.trim().is_empty() || length > MESSAGE_CHARS_MAX {
            return Effect::Ignored(format!("a message has 1 to {MESSAGE_CHARS_MAX} characters"));
        }
        let caller = Caller { principal: Some(from.clone()), trace: None };
        let accepted = timeout(ACCEPTANCE, async { self.agent.open(&request, &caller).await?.next().await }).await;
        match accepted {
            Ok(Ok(Some(_))) => Effect::Handled,
            Ok(Err(status)) => Effect::Ignored(status.message().to_owned()),
            Ok(Ok(None)) | Err(_) => Effect::Ignored("the agent service did not accept the run".to_owned()),
        }
    }

    fn presence(&self, node_id: &str, payload: Value) -> Effect {
        let Some(presence) = read::<Presence>(payload) else { return unreadable() };
        let reason = presence.trigger.or(presence.action.filter(|action| action == "clear"));
        let reason = reason.or_else(|| presence.idle_seconds.map(|_| "activity".to_owned()));
        let Some(reason) = given(reason) else { return unreadable() };
        self.told.alive(node_id, &reason);
        Effect::Handled
    }

    /// What a node says of a run counts only for a run that it was told to make, and goes to the conversation that it was made for.
    async fn exec(&self, node_id: &str, event: &str, payload: Value) -> Effect {
        let Some(report) = read::<RunReport>(payload) else { return unreadable() };
        let Some(run) = self.invokes.run(node_id, report.run_id.as_deref().unwrap_or_default()) else {
            return Effect::Ignored("not a run that this gateway has asked for".to_owned());
        };
        let session_key = given(run.session_key).unwrap_or_else(|| format!("node-{node_id}"));
        let wake =
            WakeRequest { mode: "now".to_owned(), text: report.text(node_id, event), session_key: Some(session_key), agent_id: None };
        match timeout(ACCEPTANCE, self.agent.call(wake, &Caller::default())).await {
            Ok(Ok(_)) => Effect::Handled,
            Ok(Err(status)) => Effect::Ignored(status.message().to_owned()),
            Err(_) => Effect::Ignored("the agent service did not answer".to_owned()),
        }
    }

    /// Asks people on behalf of the node; it hears of the decision by an event of its own.
    fn run_question(&self, node_id: &str, payload: Value) -> Effect {
        let Some(asked) = read::<RunQuestion>(payload) else { return unreadable() };
        let timeout_ms = asked.timeout_ms;
        let question = ExecQuestion {
            command: asked.command,
            command_argv: asked.command_argv,
            cwd: asked.cwd,
            host: Some("node".to_owned()),
            security: asked.security,
            ask: asked.ask,
            agent_id: asked.agent_id,
            resolved_path: asked.resolved_path,
            session_key: asked.session_key,
            env_keys: asked.env_keys,
            node_id: Some(node_id.to_owned()),
            warning_text: None,
        };
        let asked = Asked { question, env: BTreeMap::new(), by_node: Some(node_id.to_owned()) };
        match self.approvals.ask(None, asked, timeout_ms) {
            Ok((id, _)) => Effect::Named(id),
            Err(error) => Effect::Ignored(error.to_string()),
        }
    }
}

fn read<T: DeserializeOwned>(payload: Value) -> Option<T> {
    serde_json::from_value(payload).ok()
}

/// The end of an output: what happened last says most.
fn tail(output: &str) -> &str {
    let skip = output.char_indices().rev().nth(OUTPUT_CHARS_MAX - 1).map_or(0, |(index, _)| index);
    &output[skip..]
}

fn given(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn unreadable() -> Effect {
    Effect::Ignored("unreadable payload".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_told_in_the_words_that_agents_know() {
        let text = |event: &str, report: Value| read::<RunReport>(report).unwrap().text("tv", event);
        assert_eq!(text("exec.started", json!({"runId": "r", "command": "ls"})), "Exec started (node=tv id=r): ls");
        assert_eq!(
            text("exec.finished", json!({"runId": "r", "exitCode": 3, "output": "out"})),
            "Exec finished (node=tv id=r, code 3)\nout"
        );
        assert_eq!(text("exec.finished", json!({"runId": "r", "timedOut": true})), "Exec finished (node=tv id=r, timeout)");
        assert_eq!(text("exec.denied", json!({"runId": "r", "reason": "no", "command": "ls"})), "Exec denied (node=tv id=r, no): ls");
        assert_eq!(tail(&format!("x{}", "é".repeat(OUTPUT_CHARS_MAX))), "é".repeat(OUTPUT_CHARS_MAX));
    }
}
