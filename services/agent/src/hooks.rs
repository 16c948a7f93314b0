//! What webhooks may cause: a turn in a session of their own, without anybody's authority.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use verso_proto::agent::v1::{HookAgentRequest, HookAgentResponse, HookCompletion, HookDelivery, Payload};

use crate::delivery::{self, Delivery, Wanted};
use crate::error::Error;
use crate::heartbeat::Heartbeats;
use crate::keys::AgentId;
use crate::messages;
use crate::reply;
use crate::runs::{Ended, Request, Run, Runs, Submission, Submitted};
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
    let wait = request.wait_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let completing = match runs.submit(submission).await? {
        Submitted::New(run) => {
            let report = Report { name, now: request.wake_mode != "next-heartbeat", delivery: request.delivery };
            let (tell, told) = oneshot::channel();
            let heartbeats = heartbeats.clone();
            // Goes on although its caller may have gone.
            runs.spawn("webhook", async move {
                if let Some(completion) = conclude(&heartbeats, &run, &agent, report).await {
                    drop(tell.send(completion));
                }
            });
            async { told.await.ok() }.boxed()
        }
        Submitted::InFlight(run) => async move { run.ended().await.ok().map(|ended| completion(&ended)) }.boxed(),
        Submitted::Ended(ended) => async move { Some(completion(&ended)) }.boxed(),
    };
    let completion = match wait {
        Some(wait) => timeout(wait, completing).await.unwrap_or(None),
        None => None,
    };
    Ok(HookAgentResponse { run_id, session_key, completion })
}

/// What becomes of a turn's end.
struct Report {
    name: String,
    /// Whether the main session wakes for it.
    now: bool,
    delivery: Option<HookDelivery>,
}

/// Returns how a turn has ended, for whoever waits for that.
fn completion(ended: &Ended) -> HookCompletion {
    let said = said(ended);
    let visible = reply::visible(&said);
    let disposition = if !visible.trim().is_empty() {
        "visible"
    } else if said.trim().is_empty() {
        "empty"
    } else {
        "silent"
    };
    HookCompletion {
        status: if ended.error().is_some() { "error" } else { "ok" }.to_owned(),
        reply_disposition: disposition.to_owned(),
        error: ended.error().map(str::to_owned),
        ..HookCompletion::default()
    }
}

fn said(ended: &Ended) -> String {
    let texts = ended.response.result.iter().flat_map(|result| &result.payloads).map(|payload| payload.text.as_str());
    texts.collect::<Vec<_>>().join("\n\n")
}

/// Carries the answer to where it is wanted, and lets the main session know how it went.
async fn conclude(heartbeats: &Heartbeats, run: &Run, agent: &AgentId, report: Report) -> Option<HookCompletion> {
    let ended = run.ended().await.ok()?;
    let mut completion = completion(&ended);
    let words = reply::visible(&said(&ended));
    let delivery = report.delivery.as_ref().filter(|_| completion.error.is_none() && !words.trim().is_empty());
    if let Some(delivery) = delivery
        && let Some(delivered) = deliver(heartbeats, run, agent, delivery, words.clone()).await
    {
        completion.delivery_attempted = Some(true);
        completion.delivered = Some(delivered.is_ok());
        if let Err(reason) = delivered {
            tracing::warn!(run = run.id, channel = delivery.channel, reason, "what a webhook's turn has said was not delivered");
            "error".clone_into(&mut completion.status);
            completion.delivery_error = Some("delivery-failed".to_owned());
            completion.error = Some(format!("delivery failed: {reason}"));
        }
    }
    let told = completion.error.as_deref().map_or(("", words.as_str()), |error| (" (error)", error));
    tell_main(heartbeats, run, agent, &report, told).await;
    Some(completion)
}

/// Sends words to the place that is meant; none when that is wherever somebody wrote last, and nobody has.
async fn deliver(heartbeats: &Heartbeats, run: &Run, agent: &AgentId, delivery: &HookDelivery, text: String) -> Option<Result<(), String>> {
    let runs = &heartbeats.runs;
    let HookDelivery { channel, to, account_id } = delivery.clone();
    let named = channel != delivery::LAST || !to.is_empty();
    let wanted = Wanted { channel: Some(channel), to: Some(to), account: account_id, thread: None };
    let route = match delivery::route(runs, agent, &run.key, wanted).await {
        Ok(route) => route,
        Err(error) => return named.then(|| Err(error.to_string())),
    };
    let payload = Payload { text, ..Payload::default() };
    let words = Delivery::new(&format!("{}:reply", run.id), (agent, &run.key), route, vec![payload], runs.parts.clock.now_ms())?;
    Some(delivery::send(&runs.parts, &words).await)
}

async fn tell_main(heartbeats: &Heartbeats, run: &Run, agent: &AgentId, report: &Report, (mark, said): (&str, &str)) {
    if said.trim().is_empty() {
        return;
    }
    let runs: &Runs = &heartbeats.runs;
    let key = runs.parts.roster.naming.main(agent);
    let line = format!("Hook {}{mark}: {}", report.name, messages::shorten(said, SUMMARY_CHARS_MAX));
    match system_events::queue(&runs.parts, &key, &line, None).await {
        Ok(true) if report.now => heartbeats.want(agent),
        Ok(_) => {}
        Err(error) => tracing::warn!(run = run.id, error = &error as &dyn std::error::Error, "could not report on a webhook"),
    }
}
