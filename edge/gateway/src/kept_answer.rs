//! An answer of a service that the edge repeats for a moment, as long as nothing has happened that could change it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an answer is repeated: entries also age, and nobody tells of that.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The copy of one answer.
#[derive(Debug, Default)]
pub(crate) struct KeptAnswer {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<(String, Instant)>,
    /// Counts what could have changed the answer.
    changes: u64,
}

/// When a service was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

impl KeptAnswer {
    /// Returns the answer, if it still counts.
    pub(crate) fn get(&self) -> Option<String> {
        let state = self.state();
        state.answer.as_ref().filter(|(_, at)| at.elapsed() <= AGE_MAX).map(|(answer, _)| answer.clone())
    }

    /// Is taken before a service is asked.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.state().changes)
    }

    /// Keeps an answer, unless something has happened since the ticket was taken.
    pub(crate) fn put(&self, ticket: Ticket, answer: String) {
        let mut state = self.state();
        if state.changes == ticket.0 {
            state.answer = Some((answer, Instant::now()));
        }
    }

    /// Notes that the answer may be another one now.
    pub(crate) fn void(&self) {
        let mut state = self.state();
        state.changes += 1;
        state.answer = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repeats_an_answer_until_something_happens_or_it_is_old() {
        let copy = KeptAnswer::default();
        let ticket = copy.ticket();
        copy.put(ticket, "one".to_owned());
        assert_eq!(copy.get().as_deref(), Some("one"));
        copy.void();
        assert_eq!(copy.get(), None);
        copy.put(ticket, "overtaken".to_owned());
        assert_eq!(copy.get(), None, "it was asked for before the change");
        copy.put(copy.ticket(), "two".to_owned());
        tokio::time::advance(AGE_MAX + Duration::from_millis(1)).await;
        assert_eq!(copy.get(), None);
    }
}
