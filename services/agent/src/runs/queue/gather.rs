//! Messages that become part of another's turn, and those that make room.
//!
//! **Invariant:** who speaks with more authority lends it to nobody: only messages of one sender's authority and one place share a turn
//! (`queue::sec_66_a_strangers_message_never_joins_the_owners_turn`).

use std::sync::Arc;
use std::time::Duration;

use super::super::emitter::StopReason;
use super::super::run::{Claim, Phase, Request, Run};
use super::super::{Runs, drive};
use super::{Drops, Mode, words};
use crate::error::Error;
use crate::lanes::Turn;
use crate::messages::Image;
use crate::store::Dropped;

/// What a turn answers besides its own message.
#[derive(Debug)]
pub(in crate::runs) struct Gathered {
    /// The runs that it answers together with its own.
    pub(in crate::runs) others: Vec<Arc<Run>>,
    /// What all of them say.
    pub(in crate::runs) text: String,
    pub(in crate::runs) pictures: Vec<Image>,
}

/// Waits until nobody has said more for a while, and takes what waits with `run` into its turn. None: nothing else waits.
pub(in crate::runs) async fn gather(runs: &Runs, run: &Run, request: &Request, turn: &mut Turn) -> Result<Option<Gathered>, Error> {
    let Some(queue) = request.queue.filter(|queue| queue.mode == Mode::Collect && !run.begun_before) else { return Ok(None) };
    let debounce_ms = i64::try_from(queue.debounce_ms).unwrap_or(i64::MAX);
    loop {
        let waiting = runs.queued_in(&run.key);
        let newest = waiting.iter().filter(|other| mode(other) == Some(Mode::Collect)).map(|other| other.accepted_at_ms).max();
        let quiet_at_ms = newest.unwrap_or(0).max(run.accepted_at_ms).saturating_add(debounce_ms);
        let Ok(left_ms @ 1..) = u64::try_from(quiet_at_ms - runs.parts.clock.now_ms()) else { break };
        turn.pause(Duration::from_millis(left_ms.min(queue.debounce_ms))).await?;
    }
    let mut others = Vec::new();
    for other in runs.queued_in(&run.key) {
        // What stands behind somebody else's message does not overtake it.
        if mode(&other) != Some(Mode::Collect) || !together(request, &other.request) {
            break;
        }
        if other.claim(Claim::Absorbed) {
            others.push(other);
        }
    }
    if others.is_empty() {
        return Ok(None);
    }
    let requests = std::iter::once(request).chain(others.iter().map(|other| &*other.request));
    let (text, pictures) = words::together(requests);
    Ok(Some(Gathered { others, text, pictures }))
}

/// Takes what was said for the turn under way into it, the oldest first.
pub(in crate::runs) fn steer(runs: &Runs, run: &Run, request: &Request) -> Vec<Arc<Run>> {
    let mut heard = Vec::new();
    for other in runs.queued_in(&run.key) {
        let taken = match mode(&other) {
            Some(Mode::Steer) if same_authority(request, &other.request) => other.claim(Claim::Absorbed),
            Some(Mode::SteerBacklog) if same_authority(request, &other.request) => other.hear_once(),
            _ => false,
        };
        if taken {
            heard.push(other);
        }
    }
    heard
}

/// Makes room for a message that has just come. Its session's oldest are dropped until no more wait than may.
pub(in crate::runs) async fn make_room(runs: &Runs, run: &Run, request: &Request) -> Result<(), Error> {
    let Some(queue) = request.queue else { return Ok(()) };
    let waiting = runs.queued_in(&run.key);
    let surplus = waiting.len().saturating_sub(queue.cap);
    for oldest in waiting.into_iter().filter(|other| other.id != run.id).take(surplus) {
        if !oldest.claim(Claim::Absorbed) {
            continue;
        }
        let remembered = (queue.drops == Drops::Summarize).then(|| (oldest.request.authority(), words::line(&oldest.request)));
        let response = drive::given_up(&oldest, StopReason::Dropped);
        let (run_id, key) = (oldest.id.clone(), oldest.key.clone());
        let dropped = Dropped { run_id, key, response: response.clone(), remembered, lines_max: queue.cap };
        if let Err(error) = runs.parts.store.drop_queued(dropped, runs.parts.clock.now_ms()).await {
            drive::leave(runs, &oldest);
            return Err(error.into());
        }
        tracing::warn!(run = oldest.id, session = %oldest.key, waiting_max = queue.cap, "too many messages wait: the oldest is dropped");
        drive::end_dropped(runs, &oldest, response);
    }
    Ok(())
}

fn mode(run: &Run) -> Option<Mode> {
    run.request.queue.map(|queue| queue.mode)
}

/// Whether two messages can be answered in one turn.
fn together(one: &Request, other: &Request) -> bool {
    let plain = other.model == one.model && other.thinking == one.thinking && other.timeout_ms == one.timeout_ms;
    let alike = other.extra_system_prompt == one.extra_system_prompt && other.inline == one.inline;
    same_authority(one, other) && plain && alike && !other.reset && other.tools.is_empty() && one.tools.is_empty()
}

/// Whether two messages come from the same place with the same authority.
fn same_authority(one: &Request, other: &Request) -> bool {
    one.authority() == other.authority() && one.route == other.route
}

/// Whether a run is written down and waits: what is not written down cannot be answered by somebody else. Nor can what an earlier incarnation
/// has begun: its message stands in the transcript and has its answer there.
pub(in crate::runs) fn waits(run: &Run) -> bool {
    run.request.queue.is_some() && !run.begun_before && run.is_unclaimed() && matches!(run.phase(), Phase::Accepted)
}
