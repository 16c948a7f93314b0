//! Receiving by polling: the Bot API is asked for what is new, and keeps the question until there is something.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use verso_kit::CancellationToken;

use super::Bot;
use super::api::Failure;
use super::reading::{KnownPoll, Reader};
use super::updates::Update;
use crate::adapter::Fault;
use crate::link::Link;

/// How long the Bot API may keep a question for updates.
const POLL_SECONDS: u64 = 30;

/// The pause after a failed question for updates.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// The pause after an empty answer that came at once.
const EMPTY_PAUSE: Duration = Duration::from_millis(500);

/// How often a question for updates may fail in a row.
const POLL_FAILURES_MAX: u32 = 8;

/// What updates are asked for.
pub(super) const UPDATES: [&str; 5] = ["message", "edited_message", "callback_query", "message_reaction", "poll_answer"];

impl Bot {
    /// Receives until `stop`.
    pub(super) async fn receive_by_polling(&self, reader: &Reader, link: &Link, stop: &CancellationToken) -> Result<(), Fault> {
        // A webhook and polling exclude each other.
        let _done: Value = self.api.call("deleteWebhook", &json!({})).await.map_err(Failure::into_fault)?;
        link.pulse.connected(link.clock.now_ms());
        let mut position = link.position().await?;
        let mut failures = 0;
        while !stop.is_cancelled() {
            link.ready(stop).await?;
            let mut ask = json!({"timeout": POLL_SECONDS, "allowed_updates": UPDATES});
            if let (Some(last), Some(fields)) = (position, ask.as_object_mut()) {
                fields.insert("offset".to_owned(), json!(last + 1));
            }
            let asked_at = Instant::now();
            let answer = stop.run_until_cancelled(self.api.call("getUpdates", &ask)).await;
            let updates: Vec<Value> = match answer {
                None => return Ok(()),
                Some(Ok(updates)) => updates,
                Some(Err(failure)) => {
                    failures += 1;
                    after_failure(failure, failures, stop).await?;
                    continue;
                }
            };
            failures = 0;
            link.pulse.beat(link.clock.now_ms());
            if updates.is_empty() && asked_at.elapsed() < EMPTY_PAUSE {
                // Not every server of this interface keeps a question.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(EMPTY_PAUSE) => {}
                }
            }
            for raw in updates {
                position = self.take(link, raw, reader).await?.or(position);
            }
        }
        Ok(())
    }

    /// Keeps an update. The Bot API may hear that it was kept once this has returned.
    pub(super) async fn take(&self, link: &Link, raw: Value, reader: &Reader) -> Result<Option<i64>, Fault> {
        let id = raw.get("update_id").and_then(Value::as_i64);
        let update = Update::read(raw);
        let poll = match update.as_ref().and_then(|update| update.poll_answer.as_ref()) {
            Some(answer) => link.poll(&answer.poll_id).await?.map(|(to, receipt)| KnownPoll { to, options: receipt.options }),
            None => None,
        };
        let query = update.as_ref().and_then(|update| update.callback_query.as_ref()).map(|query| query.id.clone());
        let incoming = update.and_then(|update| reader.incoming(update, poll.as_ref()));
        link.take(incoming.as_ref(), id).await?;
        if let Some(query) = query {
            // The button stops spinning; what it means is decided like any message.
            drop(self.api.call::<Value>("answerCallbackQuery", &json!({"callback_query_id": query})).await);
        }
        Ok(id)
    }
}

async fn after_failure(failure: Failure, failures: u32, stop: &CancellationToken) -> Result<(), Fault> {
    let pause = match &failure {
        Failure::Refused { retry_after: Some(after), .. } => *after,
        Failure::Refused { code: 401 | 404, .. } => return Err(failure.into_fault()),
        // Another poller (409) may go away, too.
        _ => POLL_PAUSE.saturating_mul(failures),
    };
    if failures >= POLL_FAILURES_MAX {
        return Err(failure.into_fault());
    }
    tracing::info!(error = %failure, pause_ms = pause.as_millis(), "the Bot API gave no updates; it is asked again");
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
    Ok(())
}
