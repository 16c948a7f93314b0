//! What webhooks may cause: a turn in a session of their own, without anybody's authority.

use verso_proto::agent::v1::{HookAgentRequest, HookAgentResponse};

use crate::error::Error;
use crate::heartbeat::Heartbeats;
use crate::keys::AgentId;
use crate::messages;
use crate::reply;
use crate::runs::{Request, Run, Runs, Submission, Submitted};
use crate::store::SessionHints;
use crate::system_events;

/// How much of the result the main session hears, in characters.
const SUMMARY_CHARS_MAX: usize = 2_000;

/// Starts a turn for a webhook.
pub(crate) async fn agent(heartbeats: &Heartbeats, request: HookAgentRequest) -> Result<HookAgentResponse, Error> {
    const METHOD: &str = "hook";
    let runs = &heartbeats.runs;
    let named = runs.parts.roster.named(METHOD, request.agent_id.as_deref())?;
    let asked = if request.session_key.trim().is_empty() { format!("hook:{}", uuid::Uuid::new_v4()) } else { request.session_key };
    let (agent, key) = runs.parts.roster.session(METHOD, named.as_ref(), Some(&asked))?;
    let name = if request.name.trim().is_empty() { "Hook".to_owned() } else { request.name.trim().to_owned() };
    let message = if request.trusted { request.message } else { reply::untrusted(&name, &request.message) };
    let turn = Request {
        message,
        model: request.model.filter(|model| !model.trim().is_empty()),
        thinking: request.thinking,
        timeout_ms: request.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(|seconds| seconds.saturating_mul(1_000)),
        ..Request::default()
    };
    let (run_id, session_key) = (request.idempotency_key, key.to_string());
    let hints = SessionHints { display_name: Some(name.clone()), channel: Some("hook".to_owned()), ..SessionHints::default() };
    let submission = Submission { run_id: run_id.clone(), key, agent: agent.clone(), hints, request: turn };
    if let Submitted::New(run) = runs.submit(submission).await? {
        let (heartbeats, now) = (heartbeats.clone(), request.wake_mode != "next-heartbeat");
        runs.spawn("webhook", async move { report(&heartbeats, &run, &agent, Report { name, now }).await });
    }
    Ok(HookAgentResponse { run_id, session_key })
}

struct Report {
    name: String,
    now: bool,
}

/// Lets the main session know how it went.
async fn report(heartbeats: &Heartbeats, run: &Run, agent: &AgentId, report: Report) {
    let Ok(ended) = run.ended().await else { return };
    let runs: &Runs = &heartbeats.runs;
    let texts = ended.response.result.iter().flat_map(|result| &result.payloads).map(|payload| payload.text.as_str());
    let (mark, said) = match ended.error() {
        Some(error) => (" (error)", error.to_owned()),
        None => ("", texts.collect::<Vec<_>>().join(" ")),
    };
    if said.trim().is_empty() {
        return;
    }
    let key = runs.parts.roster.naming.main(agent);
    let line = format!("Hook {}{mark}: {}", report.name, messages::shorten(&said, SUMMARY_CHARS_MAX));
    match system_events::queue(&runs.parts, &key, &line, None).await {
        Ok(true) if report.now => heartbeats.want(agent),
        Ok(_) => {}
        Err(error) => tracing::warn!(run = run.id, error = &error as &dyn std::error::Error, "could not report on a webhook"),
    }
}
