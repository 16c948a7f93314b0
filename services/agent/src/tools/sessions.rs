//! The tools `sessions_list`, `sessions_history` and `sessions_send`: other conversations, as far as an agent may see them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_proto::agent::v1::{SessionRow, SessionsListRequest};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments};

use super::Turn;
use super::config::Config;
use super::spawn::Spawn;
use crate::keys::{AgentId, SessionKey};
use crate::messages;
use crate::runs::{Ended, Request, Runs, Submission, Submitted};
use crate::store::{PageRequest, SessionHints};

/// Sessions that are listed unless the call says otherwise.
const LISTED: i64 = 50;

/// Messages that are shown at most.
const MESSAGES_MAX: usize = 200;

/// Bytes of a transcript that are read.
const HISTORY_BYTES_MAX: usize = 512 << 10;

/// The longest that a reply is waited for, in seconds.
const WAIT_SECONDS_MAX: u64 = 300;

/// How long a reply is waited for unless the call says otherwise, in seconds.
const WAIT_SECONDS: u64 = 30;

/// Where a turn may look.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    pub(super) runs: Runs,
    config: Config,
    visibility: Visibility,
}

/// Which sessions a session's tools may see, the narrowest first. Those of other agents need `tools.agentToAgent` besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Visibility {
    /// Its own.
    Own,
    /// That and those that it has started.
    Tree,
    /// Those of its agent.
    Agent,
    All,
}

impl Visibility {
    /// Reads a word of the configuration. One that means nothing opens nothing.
    pub(super) fn parse(word: &str) -> Self {
        match word.trim() {
            "all" => Self::All,
            "agent" => Self::Agent,
            "tree" => Self::Tree,
            _ => Self::Own,
        }
    }
}

/// Returns the tools for sessions.
pub(super) fn tools(turn: &Turn<'_>, config: &Config, sandboxed: bool) -> Vec<Arc<dyn Tool>> {
    let reach = Reach::of(turn, config, sandboxed);
    let mut tools: Vec<Arc<dyn Tool>> =
        vec![Arc::new(List(reach.clone())), Arc::new(History(reach.clone())), Arc::new(Send(reach.clone()))];
    if !turn.key.is_subagent() {
        tools.push(Arc::new(Spawn { reach, sandboxed }));
    }
    tools
}

impl Reach {
    /// Says where a turn may look.
    pub(super) fn of(turn: &Turn<'_>, config: &Config, sandboxed: bool) -> Self {
        let visibility = config.visibility(turn.profile.id.as_str(), sandboxed);
        Self { runs: turn.runs.clone(), config: config.clone(), visibility }
    }

    /// Whether a session of the agent `owner`, started by `spawned_by`, may be seen.
    fn sees(&self, scene: &Scene, (key, owner): (&str, &str), spawned_by: Option<&str>) -> bool {
        let own = key == scene.session;
        match self.visibility {
            Visibility::Own => own,
            Visibility::Tree => own || (spawned_by == Some(&scene.session) && self.config.may_reach(&scene.agent, owner)),
            Visibility::Agent => owner == scene.agent,
            Visibility::All => self.config.may_reach(&scene.agent, owner),
        }
    }

    /// Lists the sessions that may be seen, the newest first.
    async fn list(&self, scene: &Scene, request: SessionsListRequest) -> Result<Vec<SessionRow>, Refused> {
        let narrowed = match self.visibility {
            Visibility::Own => SessionsListRequest { search: Some(scene.session.clone()), ..request },
            Visibility::Tree => SessionsListRequest { spawned_by: Some(scene.session.clone()), ..request },
            Visibility::Agent => SessionsListRequest { agent_id: Some(scene.agent.clone()), ..request },
            Visibility::All => request,
        };
        let found = crate::sessions::list(&self.runs, narrowed).await.map_err(|error| Refused::Failed(error.to_string()))?;
        let naming = &self.runs.parts.roster.naming;
        // What the list holds under `Tree` was started by this session: it was asked for nothing else.
        let spawned_by = (self.visibility == Visibility::Tree).then_some(scene.session.as_str());
        let seen = |row: &SessionRow| self.sees(scene, (&row.key, naming.agent_of(&row.key).as_str()), spawned_by);
        Ok(found.sessions.into_iter().filter(seen).collect())
    }

    /// Returns a session that the scene's own may see.
    async fn session(&self, scene: &Scene, key: &str) -> Result<SessionKey, Refused> {
        let naming = &self.runs.parts.roster.naming;
        let resolved = naming.resolve(key, &AgentId::normalize(&scene.agent)).map_err(|error| Refused::Arguments(error.to_string()))?;
        let owner = naming.agent_of(resolved.as_str());
        // The same words for what is not there and what may not be seen.
        let unknown = || Refused::Arguments(format!("there is no session \"{key}\" that can be seen from here"));
        let found = self.runs.parts.store.session(&resolved).await.map_err(|error| Refused::failed("the session cannot be read", error))?;
        let spawned_by = found.as_ref().and_then(|session| session.settings.spawned_by.as_deref());
        if found.is_none() || !self.sees(scene, (resolved.as_str(), owner.as_str()), spawned_by) {
            return Err(unknown());
        }
        Ok(resolved)
    }

    pub(super) fn sandboxes(&self, agent: &str) -> bool {
        self.config.sandbox(agent).mode.as_deref().unwrap_or("off") != "off"
    }

    pub(super) fn spawnable(&self, agent: &str) -> Vec<String> {
        self.config.spawnable(agent)
    }

    /// Has a session answer a message.
    pub(super) async fn submit(
        &self,
        run_id: String,
        key: SessionKey,
        hints: SessionHints,
        request: Request,
    ) -> Result<Submitted, Refused> {
        let agent = self.runs.parts.roster.naming.agent_of(key.as_str());
        let submission = Submission { run_id, key, agent, hints, request };
        self.runs.submit(submission).await.map_err(|error| Refused::Failed(error.to_string()))
    }
}

/// Returns what a run has said, or what went wrong.
pub(super) fn outcome(ended: &Ended) -> (&'static str, String) {
    if let Some(error) = ended.error() {
        return ("error", error.to_owned());
    }
    let payloads = ended.response.result.as_ref().map(|result| result.payloads.as_slice()).unwrap_or_default();
    ("ok", payloads.iter().map(|payload| payload.text.as_str()).collect::<Vec<_>>().join("\n\n"))
}

#[derive(Debug)]
struct List(Reach);

#[derive(Debug)]
struct History(Reach);

#[derive(Debug)]
struct Send(Reach);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListArguments {
    limit: Option<i64>,
    active_minutes: Option<i64>,
    #[serde(default)]
    kinds: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryArguments {
    session_key: String,
    limit: Option<usize>,
    #[serde(default)]
    include_tools: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendArguments {
    session_key: Option<String>,
    label: Option<String>,
    message: String,
    timeout_seconds: Option<u64>,
}

impl Tool for List {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "limit": {"type": "number"}, "activeMinutes": {"type": "number"},
                "kinds": {"type": "array", "items": {"type": "string"}, "description": "direct, group, …"},
            });
            Spec::new("sessions_list", "Lists conversations, the newest first.", properties, &[]).into()
        });
        Arc::clone(&SPEC)
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: ListArguments = arguments(value)?;
            let request = SessionsListRequest {
                limit: Some(wanted.limit.unwrap_or(LISTED).clamp(1, LISTED * 10)),
                active_minutes: wanted.active_minutes.filter(|minutes| *minutes > 0),
                ..SessionsListRequest::default()
            };
            let seen = self.0.list(scene, request).await?.into_iter();
            let seen = seen.filter(|row| wanted.kinds.is_empty() || wanted.kinds.contains(&row.kind));
            let rows: Vec<Value> = seen
                .map(|row| json!({"key": row.key, "kind": row.kind, "channel": row.channel, "label": row.label, "displayName": row.display_name, "updatedAt": row.updated_at_ms, "sessionId": row.session_id, "model": row.model, "totalTokens": row.total_tokens}))
                .collect();
            Ok(Answer::json(json!({"count": rows.len(), "sessions": rows})))
        }
        .boxed()
    }
}

impl Tool for History {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "sessionKey": {"type": "string"}, "limit": {"type": "number", "description": "Messages"},
                "includeTools": {"type": "boolean"},
            });
            Spec::new("sessions_history", "Shows the messages of a conversation.", properties, &["sessionKey"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: HistoryArguments = arguments(value)?;
            let key = self.0.session(scene, &wanted.session_key).await?;
            let request = PageRequest {
                messages_max: wanted.limit.unwrap_or(MESSAGES_MAX).clamp(1, MESSAGES_MAX),
                bytes_max: HISTORY_BYTES_MAX,
                offset: 0,
            };
            let page = self.0.runs.parts.store.history(&key, request).await;
            let page = page.map_err(|error| Refused::failed("the conversation cannot be read", error))?;
            let shown = page.messages.iter().filter(|message| wanted.include_tools || message.role != "toolResult");
            let lines =
                shown.map(|message| json!({"role": message.role, "text": messages::text_of(message), "timestamp": message.timestamp_ms}));
            let lines: Vec<Value> = lines.filter(|line| line["text"].as_str().is_some_and(|text| !text.trim().is_empty())).collect();
            Ok(Answer::json(json!({"sessionKey": key.as_str(), "messages": lines})))
        }
        .boxed()
    }
}

impl Tool for Send {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "sessionKey": {"type": "string"}, "label": {"type": "string", "description": "Instead of sessionKey"},
                "message": {"type": "string"},
                "timeoutSeconds": {"type": "number", "description": "How long to wait for the reply (default 30); 0: do not wait"},
            });
            Spec::new("sessions_send", "Sends a message to another conversation, and waits for its reply.", properties, &["message"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: SendArguments = arguments(value)?;
            let key = self.target(scene, &wanted).await?;
            if key.as_str() == scene.session {
                return Err(Refused::Arguments("a session cannot send to itself".to_owned()));
            }
            let run_id = format!("{}-{}", scene.run, scene.call);
            let context =
                format!("This message comes from another session ({}), not from a person. Your reply goes back to it.", scene.session);
            let request = Request { message: wanted.message, extra_system_prompt: Some(context), ..Request::default() };
            let submitted = self.0.submit(run_id.clone(), key.clone(), SessionHints::default(), request).await?;
            let seconds = wanted.timeout_seconds.unwrap_or(WAIT_SECONDS).min(WAIT_SECONDS_MAX);
            let accepted = || Answer::json(json!({"status": "accepted", "runId": run_id, "sessionKey": key.as_str()}));
            let ended = match submitted {
                Submitted::Ended(ended) => ended,
                Submitted::New(_) | Submitted::InFlight(_) if seconds == 0 => return Ok(accepted()),
                Submitted::New(run) | Submitted::InFlight(run) => {
                    match tokio::time::timeout(Duration::from_secs(seconds), run.ended()).await {
                        Ok(ended) => ended.map_err(|error| Refused::Failed(error.to_string()))?,
                        Err(_) => return Ok(Answer::json(json!({"status": "timeout", "runId": run_id, "sessionKey": key.as_str()}))),
                    }
                }
            };
            let (status, reply) = outcome(&ended);
            Ok(Answer::json(json!({"status": status, "runId": run_id, "sessionKey": key.as_str(), "reply": reply})))
        }
        .boxed()
    }
}

impl Send {
    async fn target(&self, scene: &Scene, wanted: &SendArguments) -> Result<SessionKey, Refused> {
        if let Some(key) = wanted.session_key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
            return self.0.session(scene, key).await;
        }
        let label = wanted.label.as_deref().map(str::trim).filter(|label| !label.is_empty());
        let label = label.ok_or_else(|| Refused::Arguments("sessionKey or label is required".to_owned()))?;
        let request = SessionsListRequest { label: Some(label.to_owned()), limit: Some(1), ..SessionsListRequest::default() };
        let found = crate::sessions::list(&self.0.runs, request).await.map_err(|error| Refused::Failed(error.to_string()))?;
        let row = found.sessions.first().ok_or_else(|| Refused::Arguments(format!("there is no session labelled \"{label}\"")))?;
        self.0.session(scene, &row.key).await
    }
}
