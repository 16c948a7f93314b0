//! One wizard: under way, or how it ended.

use std::time::Duration;

use tokio::time::Instant;
use verso_proto::edge::v1::WizardStep;

use super::questions::Questions;

/// How long a wizard waits for its next answer, and how long its ending is remembered.
pub(super) const IDLE_MAX: Duration = Duration::from_mins(30);

/// One wizard.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) state: State,
    touched: Instant,
}

/// How a wizard fares.
#[derive(Debug)]
pub(super) enum State {
    /// It waits for an answer.
    Running(Box<Questions>),
    /// It waits for nothing.
    Ended(Ending),
}

/// How a wizard ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The configuration is written.
    Done,
    /// Nothing was written, as somebody wished.
    Cancelled,
    /// Nothing was written, and why.
    Failed(String),
}

impl Session {
    pub(super) fn new(questions: Questions, now: Instant) -> Self {
        Self { id: uuid::Uuid::new_v4().to_string(), state: State::Running(Box::new(questions)), touched: now }
    }

    /// Whether nobody has cared for it for so long that it is as if it had never been.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        now >= self.forgotten_at()
    }

    /// When that will be, unless somebody answers before.
    pub(super) fn forgotten_at(&self) -> Instant {
        self.touched + IDLE_MAX
    }

    /// Whether another wizard would have to wait for this one.
    pub(super) fn is_running(&self, now: Instant) -> bool {
        matches!(self.state, State::Running(_)) && !self.is_forgotten(now)
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.touched = now;
    }

    /// The question that waits for its answer.
    pub(super) fn step(&self) -> Option<WizardStep> {
        match &self.state {
            State::Running(questions) => Some(questions.step()),
            State::Ended(_) => None,
        }
    }

    pub(super) fn status(&self) -> &'static str {
        match &self.state {
            State::Running(_) => "running",
            State::Ended(Ending::Done) => "done",
            State::Ended(Ending::Cancelled) => "cancelled",
            State::Ended(Ending::Failed(_)) => "error",
        }
    }

    pub(super) fn error(&self) -> Option<String> {
        match &self.state {
            State::Ended(Ending::Failed(error)) => Some(error.clone()),
            State::Running(_) | State::Ended(Ending::Done | Ending::Cancelled) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use verso_proto::edge::v1::WizardStartRequest;

    use super::*;
    use crate::local::wizard::answers::Present;

    #[test]
    fn a_wizard_that_nobody_answers_gives_way_to_another() {
        let begun = Instant::now();
        let questions = Questions::new(Present::default(), &WizardStartRequest::default()).unwrap();
        let mut session = Session::new(questions, begun);
        let almost = begun + IDLE_MAX - Duration::from_millis(1);
        assert!(session.is_running(almost) && !session.is_forgotten(almost));
        assert!(!session.is_running(begun + IDLE_MAX) && session.is_forgotten(begun + IDLE_MAX));
        session.touch(almost);
        assert!(session.is_running(begun + IDLE_MAX), "an answer begins the wait anew");
    }
}
