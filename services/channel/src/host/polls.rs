//! The polls that an account in a process of its own has sent: the networks tell votes by a poll's id and the numbers of its answers alone.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;
use verso_kit::files::write_atomic;

use crate::message::{Address, Receipt};

/// Polls that are remembered; the oldest is forgotten first.
const POLLS_MAX: usize = 500;

/// One poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Poll {
    to: Address,
    receipt: Receipt,
}

/// The polls of one account. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Polls {
    path: Arc<PathBuf>,
    known: Arc<Mutex<VecDeque<Poll>>>,
}

impl Polls {
    /// Reads what an earlier process has kept. What cannot be read is forgotten: only votes would be missed.
    pub(crate) async fn open(path: PathBuf) -> Self {
        let reading = path.clone();
        let text = tokio::task::spawn_blocking(move || std::fs::read(reading)).await;
        let known = text.ok().and_then(Result::ok).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { path: Arc::new(path), known: Arc::new(Mutex::new(known)) }
    }

    /// Keeps a poll, if the receipt is that of one.
    pub(crate) async fn keep(&self, to: &Address, receipt: &Receipt) {
        if receipt.poll_id.is_none() {
            return;
        }
        let all = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= POLLS_MAX {
                known.pop_front();
            }
            known.push_back(Poll { to: to.clone(), receipt: receipt.clone() });
            serde_json::to_vec(&*known).unwrap_or_default()
        };
        let path = Arc::clone(&self.path);
        let written = tokio::task::spawn_blocking(move || write_atomic(&path, &all, 0o600)).await;
        if let Ok(Err(error)) = written {
            warn!(%error, "the votes of a poll will not be understood after a restart");
        }
    }

    /// Returns where a poll was sent to, and its receipt.
    pub(crate) fn get(&self, poll_id: &str) -> Option<(Address, Receipt)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let poll = known.iter().rev().find(|poll| poll.receipt.poll_id.as_deref() == Some(poll_id))?;
        Some((poll.to.clone(), poll.receipt.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn polls_are_known_after_a_restart_and_the_oldest_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("polls.json");
        let to = Address { peer: "-100".into(), thread: Some("7".into()) };
        let receipt = |id: usize| Receipt {
            poll_id: Some(format!("p{id}")),
            options: vec!["tea".into(), "milk".into()],
            ..Receipt::new(id.to_string(), "-100".into())
        };
        let polls = Polls::open(path.clone()).await;
        polls.keep(&to, &Receipt::new("1".into(), "-100".into())).await;
        assert!(!path.exists(), "a message that is no poll is not kept");
        for id in 0..=POLLS_MAX {
            polls.keep(&to, &receipt(id)).await;
        }
        let again = Polls::open(path.clone()).await;
        assert_eq!(again.get("p1"), Some((to, receipt(1))));
        assert_eq!((again.get("p0"), again.get("nobody's")), (None, None));
        std::fs::write(&path, "nonsense").unwrap();
        assert_eq!(Polls::open(path).await.get("p1"), None);
    }
}
