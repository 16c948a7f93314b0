//! Tools that tell: how the session is doing, and which agents there are.

use std::sync::{Arc, LazyLock};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool};

use crate::keys::SessionKey;
use crate::models::Model;
use crate::runs::Runs;

/// The tool `session_status`.
#[derive(Debug)]
pub(super) struct SessionStatus {
    pub(super) runs: Runs,
    pub(super) model: Arc<Model>,
}

/// The tool `agents_list`.
#[derive(Debug)]
pub(super) struct AgentsList {
    pub(super) runs: Runs,
    /// Which of them may be started.
    pub(super) allowed: Vec<String>,
}

impl Tool for SessionStatus {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let description = "Tells how this conversation and this gateway are doing: model, tokens used, context left, time, uptime.";
            Spec::new("session_status", description, json!({}), &[]).into()
        });
        Arc::clone(&SPEC)
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, _: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let key = SessionKey::stored(&scene.session);
            let text = self.runs.parts.status_text(&key, &self.model).await;
            let text = text.map_err(|error| Refused::failed("the session cannot be read", error))?;
            Ok(Answer::text(text.clone()).with_details(json!({"ok": true, "sessionKey": scene.session, "statusText": text})))
        }
        .boxed()
    }
}

impl Tool for AgentsList {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> =
            LazyLock::new(|| Spec::new("agents_list", "Lists the agents that sessions_spawn can start.", json!({}), &[]).into());
        Arc::clone(&SPEC)
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, _: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let any = self.allowed.iter().any(|id| id == "*");
            let agents =
                self.runs.parts.roster.agents().iter().filter(|agent| any || self.allowed.iter().any(|id| id == agent.id.as_str()));
            let agents: Vec<Value> = agents.map(|agent| json!({"id": agent.id.as_str(), "name": agent.display_name()})).collect();
            Ok(Answer::json(json!({"requester": scene.agent, "allowAny": any, "agents": agents})))
        }
        .boxed()
    }
}
