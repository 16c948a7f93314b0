//! The tool `cron`: an agent's own jobs.

use std::sync::{Arc, LazyLock, Weak};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use verso_proto::agent::v1::{
    CronGetRequest, CronJob, CronListRequest, CronRemoveRequest, CronRunRequest, CronRunsRequest, CronUpdateRequest, WakeRequest,
};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments};

use super::sessions::Reach;
use crate::cron::Cron;
use crate::messages;
use crate::store::PageRequest;

/// Messages of the conversation that a new job's text may come with, and their lengths, in characters.
const CONTEXT_MESSAGES_MAX: usize = 10;
const CONTEXT_LINE_CHARS_MAX: usize = 220;
const CONTEXT_CHARS_MAX: usize = 700;

/// Bytes of the transcript that are read for them.
const CONTEXT_BYTES_MAX: usize = 64 << 10;

/// Log entries that are shown unless the call says otherwise.
const RUNS: i64 = 20;

/// The tool `cron`.
#[derive(Debug)]
pub(super) struct CronTool {
    pub(super) cron: Weak<Cron>,
    pub(super) reach: Reach,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    action: String,
    #[serde(alias = "jobId")]
    id: Option<String>,
    job: Option<Map<String, Value>>,
    patch: Option<Map<String, Value>>,
    #[serde(default)]
    include_disabled: bool,
    #[serde(default)]
    context_messages: usize,
    limit: Option<i64>,
    text: Option<String>,
    mode: Option<String>,
}

type Outcome<T> = std::result::Result<T, Refused>;

impl CronTool {
    /// Returns a job that is the agent's own. That of another agent is as good as none.
    async fn own(&self, cron: &Cron, scene: &Scene, id: Option<&String>) -> Outcome<CronJob> {
        let id = id.map(|id| id.trim()).filter(|id| !id.is_empty()).ok_or_else(|| Refused::Arguments("jobId is required".to_owned()))?;
        let found = cron.get(CronGetRequest { id: Some(id.to_owned()) }).await.map_err(failed)?;
        if self.is_own(scene, &found) { Ok(found) } else { Err(Refused::Arguments(format!("there is no job {id}"))) }
    }

    fn is_own(&self, scene: &Scene, job: &CronJob) -> bool {
        let default = self.reach.runs.parts.roster.naming.default_agent.as_str();
        job.agent_id.as_deref().unwrap_or(default) == scene.agent
    }

    async fn add(&self, cron: &Cron, scene: &Scene, wanted: &Arguments) -> Outcome<Value> {
        let mut job = complete(wanted.job.clone().ok_or_else(|| Refused::Arguments("job is required".to_owned()))?);
        if let Some(other) = job.get("agentId").and_then(Value::as_str).filter(|other| *other != scene.agent) {
            return Err(Refused::Forbidden(format!("a job of the agent {other} is for that agent to make")));
        }
        job.insert("agentId".to_owned(), json!(scene.agent));
        if wanted.context_messages > 0 {
            let context = self.context(scene, wanted.context_messages.min(CONTEXT_MESSAGES_MAX)).await?;
            append(&mut job, &context);
        }
        value(&cron.add(parsed(Value::Object(job))?).await.map_err(failed)?)
    }

    async fn update(&self, cron: &Cron, scene: &Scene, wanted: &Arguments) -> Outcome<Value> {
        let id = self.own(cron, scene, wanted.id.as_ref()).await?.id;
        let mut patch = wanted.patch.clone().ok_or_else(|| Refused::Arguments("patch is required".to_owned()))?;
        if patch.contains_key("agentId") {
            return Err(Refused::Forbidden("a job stays with its agent".to_owned()));
        }
        if let Some(schedule) = patch.get_mut("schedule") {
            name_kind(schedule);
        }
        let request = CronUpdateRequest { id: Some(id), patch: Some(parsed(Value::Object(patch))?) };
        value(&cron.update(request).await.map_err(failed)?)
    }

    /// Returns the newest lines of the conversation, short.
    async fn context(&self, scene: &Scene, count: usize) -> Outcome<String> {
        let key = crate::keys::SessionKey::stored(&scene.session);
        let request = PageRequest { messages_max: count, bytes_max: CONTEXT_BYTES_MAX, offset: 0 };
        let page = self.reach.runs.parts.store.history(&key, request).await;
        let page = page.map_err(|error| Refused::failed("the conversation cannot be read", error))?;
        let said = page.messages.iter().filter(|message| matches!(message.role.as_str(), "user" | "assistant"));
        let lines =
            said.map(|message| format!("- {}: {}", message.role, messages::shorten(&messages::text_of(message), CONTEXT_LINE_CHARS_MAX)));
        let mut kept: Vec<String> = lines.collect();
        while kept.iter().map(|line| line.chars().count() + 1).sum::<usize>() > CONTEXT_CHARS_MAX {
            kept.remove(0);
        }
        Ok(kept.join("\n"))
    }

    async fn act(&self, cron: &Cron, scene: &Scene, wanted: &Arguments) -> Outcome<Value> {
        match wanted.action.as_str() {
            "status" => value(&cron.status().await.map_err(failed)?),
            "list" => {
                let request = CronListRequest { include_disabled: Some(wanted.include_disabled), ..CronListRequest::default() };
                let found = cron.list(request).await.map_err(failed)?;
                let jobs: Vec<Value> = found.jobs.iter().filter(|job| self.is_own(scene, job)).map(value).collect::<Outcome<_>>()?;
                Ok(json!({"jobs": jobs}))
            }
            "add" => self.add(cron, scene, wanted).await,
            "update" => self.update(cron, scene, wanted).await,
            "remove" => {
                let id = self.own(cron, scene, wanted.id.as_ref()).await?.id;
                value(&cron.remove(CronRemoveRequest { id: Some(id) }).await.map_err(failed)?)
            }
            "run" => {
                let id = self.own(cron, scene, wanted.id.as_ref()).await?.id;
                let mode = Some(wanted.mode.clone().unwrap_or_else(|| "force".to_owned()));
                value(&cron.run(CronRunRequest { id: Some(id), mode, ..CronRunRequest::default() }).await.map_err(failed)?)
            }
            "runs" => {
                let id = self.own(cron, scene, wanted.id.as_ref()).await?.id;
                let limit = Some(wanted.limit.unwrap_or(RUNS).clamp(1, 200));
                value(&cron.log(CronRunsRequest { id: Some(id), limit, ..CronRunsRequest::default() }).await.map_err(failed)?)
            }
            "wake" => {
                let text = wanted.text.clone().filter(|text| !text.trim().is_empty());
                let text = text.ok_or_else(|| Refused::Arguments("text is required".to_owned()))?;
                let mode = wanted.mode.clone().unwrap_or_else(|| "next-heartbeat".to_owned());
                if !["now", "next-heartbeat"].contains(&mode.as_str()) {
                    return Err(Refused::Arguments("mode is now or next-heartbeat".to_owned()));
                }
                let request = WakeRequest { text, mode, agent_id: Some(scene.agent.clone()), ..WakeRequest::default() };
                value(&cron.heartbeats().wake(request).await.map_err(failed)?)
            }
            other => Err(Refused::Arguments(format!("there is no action \"{other}\""))),
        }
    }
}

impl Tool for CronTool {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "action": {"type": "string", "enum": ["status", "list", "add", "update", "remove", "run", "runs", "wake"]},
                "jobId": {"type": "string"},
                "job": {"type": "object", "description": "For add: {name, schedule, payload, sessionTarget?, enabled?}. schedule: {kind: \"at\", at: ISO time} | {kind: \"every\", everyMs} | {kind: \"cron\", expr, tz?}. payload: {kind: \"systemEvent\", text} (heard in the main session) | {kind: \"agentTurn\", message, deliver?, channel?, to?} (a turn in a session of its own)"},
                "patch": {"type": "object", "description": "For update: members of a job"},
                "contextMessages": {"type": "number", "description": "For add: so many recent messages go along with the text, at most 10"},
                "includeDisabled": {"type": "boolean"}, "limit": {"type": "number"},
                "text": {"type": "string", "description": "For wake"}, "mode": {"type": "string"},
            });
            Spec::new("cron", "Makes and changes your own jobs and reminders, and tells how they went.", properties, &["action"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            let cron = self.cron.upgrade().ok_or_else(|| Refused::Failed("the gateway is stopping".to_owned()))?;
            Ok(Answer::json(self.act(&cron, scene, &wanted).await?))
        }
        .boxed()
    }
}

/// Fills in what models leave out: each of it follows from the rest.
fn complete(mut job: Map<String, Value>) -> Map<String, Value> {
    if let Some(schedule) = job.get_mut("schedule") {
        name_kind(schedule);
    }
    let payload = job.entry("payload").or_insert_with(|| json!({}));
    if payload["kind"].is_null() {
        let turn = payload["message"].is_string();
        payload["kind"] = json!(if turn { "agentTurn" } else { "systemEvent" });
    }
    let turn = payload["kind"] == "agentTurn";
    let words = payload[if turn { "message" } else { "text" }].as_str().unwrap_or("job").to_owned();
    job.entry("sessionTarget").or_insert_with(|| json!(if turn { "isolated" } else { "main" }));
    job.entry("wakeMode").or_insert_with(|| json!("next-heartbeat"));
    job.entry("name").or_insert_with(|| json!(messages::shorten(&words, 60)));
    job
}

/// A schedule's members say of which kind it is.
fn name_kind(schedule: &mut Value) {
    if !schedule.is_object() || !schedule["kind"].is_null() {
        return;
    }
    let kind =
        [("at", "at"), ("atMs", "at"), ("everyMs", "every"), ("expr", "cron")].iter().find(|(member, _)| !schedule[*member].is_null());
    if let Some((_, kind)) = kind {
        schedule["kind"] = json!(kind);
    }
}

fn append(job: &mut Map<String, Value>, context: &str) {
    let Some(payload) = job.get_mut("payload") else { return };
    let member = if payload["kind"] == "agentTurn" { "message" } else { "text" };
    if let (Some(text), false) = (payload[member].as_str(), context.is_empty()) {
        payload[member] = json!(format!("{text}\n\nRecent context:\n{context}"));
    }
}

fn parsed<T: DeserializeOwned>(value: Value) -> Outcome<T> {
    serde_json::from_value(value).map_err(|error| Refused::Arguments(format!("the job does not fit: {error}")))
}

fn value<T: serde::Serialize>(answer: &T) -> Outcome<Value> {
    serde_json::to_value(answer).map_err(|error| Refused::failed("the answer cannot be shown", error))
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn failed(error: crate::error::Error) -> Refused {
    Refused::Failed(error.to_string())
}
