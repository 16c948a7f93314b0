//! The tool `sessions_spawn`: work in a session of its own, whose result comes back as a message.

use std::sync::{Arc, LazyLock};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments};

use super::sessions::{Reach, outcome};
use crate::keys::{AgentId, SessionKey};
use crate::runs::{Request, Submitted};
use crate::store::SessionHints;

/// The tool `sessions_spawn`.
#[derive(Debug)]
pub(super) struct Spawn {
    pub(super) reach: Reach,
    /// Whether the session that spawns is in a sandbox.
    pub(super) sandboxed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    task: String,
    label: Option<String>,
    agent_id: Option<String>,
    model: Option<String>,
    thinking: Option<String>,
    run_timeout_seconds: Option<u64>,
}

impl Tool for Spawn {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "task": {"type": "string"}, "label": {"type": "string"}, "agentId": {"type": "string"}, "model": {"type": "string"},
                "thinking": {"type": "string"}, "runTimeoutSeconds": {"type": "number"},
            });
            Spec::new(
                "sessions_spawn",
                "Has a subagent work on a task in a session of its own. Its result comes back as a message.",
                properties,
                &["task"],
            )
            .into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            let agent = self.agent(scene, wanted.agent_id.as_deref())?;
            let key = SessionKey::stored(&format!("agent:{agent}:subagent:{}", uuid::Uuid::new_v4()));
            let run_id = uuid::Uuid::new_v4().to_string();
            let hints = SessionHints { label: wanted.label.clone(), spawned_by: Some(scene.session.clone()), ..SessionHints::default() };
            let context =
                format!("You are a subagent of {}. Do the task, nothing else; your last message is what is reported.", scene.session);
            let request = Request {
                message: wanted.task.clone(),
                extra_system_prompt: Some(context),
                timeout_ms: wanted.run_timeout_seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1_000)),
                model: wanted.model.filter(|model| !model.trim().is_empty()),
                thinking: wanted.thinking,
                ..Request::default()
            };
            let submitted = self.reach.submit(run_id.clone(), key.clone(), hints, request).await?;
            self.report(scene, submitted, wanted.label.unwrap_or(wanted.task));
            Ok(Answer::json(json!({"status": "accepted", "runId": run_id, "childSessionKey": key.as_str()})))
        }
        .boxed()
    }
}

impl Spawn {
    /// Returns the agent that is to do it. Nobody leaves a sandbox by having another agent do the work.
    fn agent(&self, scene: &Scene, wanted: Option<&str>) -> Result<AgentId, Refused> {
        let wanted = wanted.map(str::trim).filter(|agent| !agent.is_empty()).unwrap_or(&scene.agent);
        let agent = AgentId::normalize(wanted);
        let allowed = self.reach.spawnable(&scene.agent);
        let known = self.reach.runs.parts.roster.agents().iter().any(|other| other.id == agent);
        if !known || !allowed.iter().any(|name| name == "*" || AgentId::normalize(name) == agent) {
            return Err(Refused::Forbidden(format!("agentId \"{wanted}\" is not allowed for sessions_spawn")));
        }
        if self.sandboxed && !self.reach.sandboxes(agent.as_str()) {
            return Err(Refused::Forbidden(format!("agentId \"{wanted}\" has no sandbox, and this session is in one")));
        }
        Ok(agent)
    }

    /// Brings the result to the session that has asked for it, when there is one.
    fn report(&self, scene: &Scene, submitted: Submitted, title: String) {
        let (reach, key) = (self.reach.clone(), SessionKey::stored(&scene.session));
        self.reach.runs.spawn("subagent report", async move {
            let ended = match submitted {
                Submitted::Ended(ended) => ended,
                Submitted::New(run) | Submitted::InFlight(run) => match run.ended().await {
                    Ok(ended) => ended,
                    // The next incarnation goes on with it; its result is then in its own session only.
                    Err(_) => return,
                },
            };
            let (status, text) = outcome(&ended);
            let message = format!("[A subagent has ended: {title}]\nStatus: {status}\n\n{text}");
            let request = Request { message, ..Request::default() };
            let run_id = format!("report-{}", ended.response.run_id);
            if let Err(error) = reach.submit(run_id, key, SessionHints::default(), request).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the result of a subagent could not be reported");
            }
        });
    }
}
