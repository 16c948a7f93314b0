//! Questions whether a program may be run, until somebody decides or their time is over.

use std::time::Duration;

use verso_kit::clock::Clock;
use verso_kit::events::Hub;
use verso_proto::node::v1::{Event, ExecApprovalRequestResponse, ExecApprovalRequested, ExecApprovalResolved, ExecQuestion};

use crate::error::Error;
use crate::waiting::{Ended, Refused, Waiting};

/// How many questions may be open.
const PENDING_MAX: usize = 512;

/// How long a question stays open unless its asker says otherwise, in milliseconds.
const WAIT_MS: i64 = 120_000;

/// The longest that a question stays open, in milliseconds: a day.
const WAIT_MS_MAX: i64 = 86_400_000;

/// What may be decided.
const DECISIONS: [&str; 3] = ["allow-once", "allow-always", "deny"];

/// The open questions.
#[derive(Debug)]
pub(crate) struct Approvals {
    clock: Clock,
    hub: Hub<Event>,
    open: Waiting<(), String>,
}

impl Approvals {
    pub(crate) fn new(clock: Clock, hub: Hub<Event>) -> Self {
        Self { clock, hub, open: Waiting::new(PENDING_MAX) }
    }

    /// Asks, and waits for the decision.
    pub(crate) async fn request(
        &self,
        id: Option<String>,
        request: ExecQuestion,
        timeout_ms: Option<i64>,
    ) -> Result<ExecApprovalRequestResponse, Error> {
        let given = id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        let id = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let wait_ms = timeout_ms.unwrap_or(WAIT_MS).clamp(1, WAIT_MS_MAX);
        let created_at_ms = self.clock.now_ms();
        let expires_at_ms = created_at_ms + wait_ms;
        let place = self.open.enter(id.clone(), ()).map_err(|refused| match refused {
            Refused::Taken => Error::ApprovalPending,
            Refused::Full => Error::Busy { what: "approvals", max: PENDING_MAX },
        })?;
        self.hub.emit(ExecApprovalRequested { id: id.clone(), request: Some(request), created_at_ms, expires_at_ms });
        let decision = match place.wait(Duration::from_millis(wait_ms.unsigned_abs())).await {
            Ended::Answered(decision) => Some(decision),
            Ended::TimedOut | Ended::Abandoned => None,
        };
        Ok(ExecApprovalRequestResponse { id, decision, created_at_ms, expires_at_ms })
    }

    /// Decides.
    pub(crate) fn resolve(&self, id: &str, decision: &str, resolved_by: Option<String>) -> Result<(), Error> {
        if !DECISIONS.contains(&decision) {
            return Err(Error::InvalidDecision);
        }
        if !self.open.answer(id, |()| true, decision.to_owned()) {
            return Err(Error::UnknownApproval);
        }
        let (id, decision) = (id.to_owned(), decision.to_owned());
        self.hub.emit(ExecApprovalResolved { id, decision, resolved_by, ts_ms: self.clock.now_ms() });
        Ok(())
    }
}
