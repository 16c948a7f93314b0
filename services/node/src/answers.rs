//! How calls ended, for repetitions: the same call again gets the same answer, or waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use verso_proto::node::v1::InvokeResponse;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_mins(5);

/// How many answers are kept.
const ANSWERS_MAX: usize = 1_024;

/// How many bytes the kept answers may have together.
const BYTES_MAX: usize = 32 << 20;

/// How a command ended that has reached its node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// As the node says.
    Answered(InvokeResponse),
    /// The node could not do it.
    Failed {
        /// The node's own code.
        code: Option<String>,
        /// The node's words.
        message: String,
    },
    /// The node said nothing in time. A later answer replaces this.
    TimedOut,
}

impl Outcome {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Answered(answer) => {
                answer.payload.as_ref().map_or(0, |payload| payload.text.len()) + answer.payload_json.as_ref().map_or(0, String::len)
            }
            Self::Failed { message, .. } => message.len(),
            Self::TimedOut => 0,
        }
    }
}

/// Names one call: who makes it, and everything that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallKey([u8; 32]);

impl CallKey {
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// The calls under way and the answers of earlier ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<CallKey, Kept>,
    /// In the order in which they ended.
    ended: VecDeque<(Instant, CallKey)>,
    size_bytes: usize,
}

#[derive(Debug)]
enum Kept {
    UnderWay(watch::Receiver<Option<Outcome>>),
    Ended(Outcome),
}

/// What a call finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is the first: it has to be made, and its outcome told.
    New(Turn),
    /// The same call is being made.
    UnderWay(watch::Receiver<Option<Outcome>>),
    /// The same call was made.
    Ended(Outcome),
}

/// The right to make a call; dropping it lets the next one try.
#[derive(Debug)]
pub(crate) struct Turn {
    answers: Answers,
    key: CallKey,
    outcome: watch::Sender<Option<Outcome>>,
    told: bool,
}

impl Answers {
    /// Looks a call up, and begins it if it is new.
    pub(crate) fn begin(&self, key: CallKey) -> Found {
        let mut table = self.table();
        table.prune();
        match table.calls.get(&key) {
            Some(Kept::UnderWay(outcome)) => Found::UnderWay(outcome.clone()),
            Some(Kept::Ended(outcome)) => Found::Ended(outcome.clone()),
            None => {
                let (sender, receiver) = watch::channel(None);
                table.calls.insert(key, Kept::UnderWay(receiver));
                Found::New(Turn { answers: self.clone(), key, outcome: sender, told: false })
            }
        }
    }

    /// A node has answered after its time: a repetition of the call gets that answer.
    pub(crate) fn amend(&self, key: CallKey, outcome: Outcome) {
        let mut table = self.table();
        if matches!(table.calls.get(&key), Some(Kept::Ended(Outcome::TimedOut))) {
            table.size_bytes += outcome.size_bytes();
            table.calls.insert(key, Kept::Ended(outcome));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Tells how the call ended.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        self.told = true;
        let mut table = self.answers.table();
        table.size_bytes += outcome.size_bytes();
        table.calls.insert(self.key, Kept::Ended(outcome.clone()));
        table.ended.push_back((Instant::now(), self.key));
        table.prune();
        drop(table);
        self.outcome.send_replace(Some(outcome.clone()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.told {
            self.answers.table().calls.remove(&self.key);
        }
    }
}

impl Table {
    fn prune(&mut self) {
        let now = Instant::now();
        while let Some((ended, key)) = self.ended.front().copied() {
            let old = now.duration_since(ended) >= KEPT;
            if !old && self.ended.len() <= ANSWERS_MAX && self.size_bytes <= BYTES_MAX {
                return;
            }
            self.ended.pop_front();
            if let Some(Kept::Ended(outcome)) = self.calls.remove(&key) {
                self.size_bytes = self.size_bytes.saturating_sub(outcome.size_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(answers: &Answers, key: &str) -> Found {
        answers.begin(CallKey::of(&["anna", key]))
    }

    #[tokio::test]
    async fn the_same_call_again_gets_the_same_answer() {
        let answers = Answers::default();
        let Found::New(turn) = begin(&answers, "k") else { panic!("a new call") };
        let Found::UnderWay(mut waiting) = begin(&answers, "k") else { panic!("under way") };
        turn.end(&Outcome::TimedOut);
        assert_eq!(*waiting.wait_for(Option::is_some).await.unwrap(), Some(Outcome::TimedOut));
        let late = Outcome::Failed { code: None, message: "late".to_owned() };
        answers.amend(CallKey::of(&["anna", "k"]), late.clone());
        assert!(matches!(begin(&answers, "k"), Found::Ended(outcome) if outcome == late));
        assert!(matches!(begin(&answers, "other"), Found::New(_)));
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_is_made_again() {
        let answers = Answers::default();
        let Found::New(turn) = begin(&answers, "k") else { panic!("a new call") };
        let Found::UnderWay(mut waiting) = begin(&answers, "k") else { panic!("under way") };
        drop(turn);
        assert!(waiting.wait_for(Option::is_some).await.is_err());
        assert!(matches!(begin(&answers, "k"), Found::New(_)));
    }

    #[tokio::test]
    async fn never_more_answers_than_may_be_kept() {
        let answers = Answers::default();
        for number in 0..=ANSWERS_MAX {
            let Found::New(turn) = begin(&answers, &number.to_string()) else { panic!("a new call") };
            turn.end(&Outcome::TimedOut);
        }
        assert_eq!(answers.table().calls.len(), ANSWERS_MAX);
        assert!(matches!(begin(&answers, "0"), Found::New(_)), "the oldest is gone");
    }
}
