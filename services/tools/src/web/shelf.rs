//! Answers that are kept for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Answers that are kept at most.
const ANSWERS_MAX: usize = 100;

/// Answers by what was asked.
#[derive(Debug)]
pub(super) struct Shelf {
    keep: Duration,
    answers: Mutex<HashMap<String, (Instant, String)>>,
}

impl Shelf {
    /// Keeps answers for so long.
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, answers: Mutex::default() }
    }

    pub(super) fn get(&self, question: &str) -> Option<String> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(question).filter(|(at, _)| at.elapsed() < self.keep).map(|(_, answer)| answer.clone())
    }

    pub(super) fn put(&self, question: String, answer: String) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, (at, _)| at.elapsed() < self.keep);
        if answers.len() < ANSWERS_MAX {
            answers.insert(question, (Instant::now(), answer));
        }
    }
}
