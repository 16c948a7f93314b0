//! Where earlier responses stand, for those that go on from them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Responses that are remembered.
const RESPONSES_MAX: usize = 500;

/// How long one is.
const KEPT: Duration = Duration::from_mins(30);

/// Where a response stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) session_key: String,
    pub(super) agent_id: String,
    /// The session that its sender had named.
    pub(super) named_key: Option<String>,
}

/// The responses of the last half hour, in memory: whoever asks later asks afresh.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    places: HashMap<String, Place>,
    /// The oldest first.
    order: VecDeque<(Instant, String)>,
}

impl Remembered {
    pub(super) fn insert(&self, id: &str, place: Place) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget();
        kept.places.insert(id.to_owned(), place);
        kept.order.push_back((Instant::now(), id.to_owned()));
    }

    pub(super) fn get(&self, id: &str) -> Option<Place> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget();
        kept.places.get(id).cloned()
    }
}

impl Kept {
    fn forget(&mut self) {
        while let Some((at, _)) = self.order.front() {
            if self.order.len() < RESPONSES_MAX && at.elapsed() < KEPT {
                return;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.places.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_old_or_too_much_is_forgotten() {
        let remembered = Remembered::default();
        let place = |key: &str| Place { session_key: key.to_owned(), agent_id: "main".to_owned(), named_key: None };
        remembered.insert("first", place("a"));
        assert_eq!(remembered.get("first"), Some(place("a")));
        tokio::time::advance(KEPT).await;
        assert_eq!(remembered.get("first"), None);
        for number in 0..600 {
            remembered.insert(&format!("r{number}"), place("b"));
        }
        assert_eq!((remembered.get("r50"), remembered.get("r599")), (None, Some(place("b"))));
        assert!(remembered.kept.lock().unwrap().places.len() <= RESPONSES_MAX);
    }
}
