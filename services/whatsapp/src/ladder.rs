//! When a connection that is over is made again.

use std::time::Duration;

use whatsapp_rust::wacore::types::events::{ConnectFailureReason, Event};

use crate::settings::Reconnect;

/// A link that another program takes over so often is left to it …
const CONFLICTS_MAX: u32 = 3;

/// … for so long: two programs would throw each other out for ever.
const CONFLICT_PAUSE: Duration = Duration::from_mins(10);

/// Somebody whom the network has banned asks no more often than this.
const BAN_PAUSE_MAX: Duration = Duration::from_hours(1);

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The network does not let the device in any more.
    Unlinked {
        status: i32,
        reason: String,
        /// The device is removed for good, and its keys are of no use.
        removed: bool,
    },
    /// Another program uses the link.
    Replaced,
    /// The account may not do anything for a while.
    Banned { reason: String, pause: Duration },
    /// Anything else.
    Lost { status: i32, reason: String },
}

impl End {
    /// Reads the end of a connection from what the library tells. `status` is what the server said before it hung up.
    pub(crate) fn of(event: &Event, status: Option<i32>) -> Option<Self> {
        Some(match event {
            Event::LoggedOut(out) => {
                let (status, reason) = match out.reason {
                    ConnectFailureReason::AccountLocked => (403, "WhatsApp has locked the account"),
                    ConnectFailureReason::UnknownLogout => (406, "WhatsApp has logged the device out"),
                    _ => (401, "the device is not linked any more"),
                };
                Self::Unlinked { status, reason: reason.to_owned(), removed: status == 401 }
            }
            Event::StreamReplaced(_) => Self::Replaced,
            Event::TemporaryBan(ban) => {
                let pause = ban.expire.to_std().unwrap_or(BAN_PAUSE_MAX).min(BAN_PAUSE_MAX);
                Self::Banned { reason: format!("WhatsApp has banned the account for a while: {}", ban.code), pause }
            }
            Event::ClientOutdated(_) => Self::Lost { status: 405, reason: "WhatsApp wants a newer client".to_owned() },
            Event::ConnectFailure(failure) => {
                let status = code(failure.reason);
                let said = failure.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
                Self::Lost { status, reason: format!("WhatsApp refused the connection ({status}){said}") }
            }
            Event::Disconnected(lost) => {
                let clean = if lost.reason.is_clean_shutdown() { 428 } else { 408 };
                let status = status.unwrap_or(clean);
                Self::Lost { status, reason: format!("the connection was lost ({status}): {}", lost.reason) }
            }
            _ => return None,
        })
    }

    /// Returns the network's number for it.
    pub(crate) fn status(&self) -> i32 {
        match self {
            Self::Unlinked { status, .. } | Self::Lost { status, .. } => *status,
            Self::Replaced => 440,
            Self::Banned { .. } => 402,
        }
    }

    /// Says it in words.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unlinked { reason, .. } | Self::Banned { reason, .. } | Self::Lost { reason, .. } => reason.clone(),
            Self::Replaced => "conflict: another program uses the same link".to_owned(),
        }
    }
}

fn code(reason: ConnectFailureReason) -> i32 {
    match reason {
        ConnectFailureReason::Generic => 400,
        ConnectFailureReason::LoggedOut => 401,
        ConnectFailureReason::TempBanned => 402,
        ConnectFailureReason::AccountLocked => 403,
        ConnectFailureReason::ClientOutdated => 405,
        ConnectFailureReason::UnknownLogout => 406,
        ConnectFailureReason::BadUserAgent => 409,
        ConnectFailureReason::CatExpired => 413,
        ConnectFailureReason::CatInvalid => 414,
        ConnectFailureReason::NotFound => 415,
        ConnectFailureReason::ClientUnknown => 418,
        ConnectFailureReason::InternalServerError => 500,
        ConnectFailureReason::Experimental => 501,
        ConnectFailureReason::ServiceUnavailable => 503,
        ConnectFailureReason::Unknown(code) => code,
    }
}

/// What is done after a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is made again after a pause.
    Again(Duration),
    /// Nothing, until the owner links the device again.
    Stop,
    /// The account is to be started anew, by whoever started it.
    GiveUp,
}

/// Counts the failures of one run.
#[derive(Debug)]
pub(crate) struct Ladder {
    reconnect: Reconnect,
    held: Duration,
    failures: u32,
    conflicts: u32,
}

impl Ladder {
    /// `held` is how long a connection must last to count as a good one.
    pub(crate) fn new(reconnect: Reconnect, held: Duration) -> Self {
        Self { reconnect, held, failures: 0, conflicts: 0 }
    }

    /// Decides after a connection that lasted for so long; `chance` is from 0 to 1.
    pub(crate) fn next(&mut self, end: &End, lasted: Duration, chance: f64) -> Step {
        if lasted >= self.held {
            (self.failures, self.conflicts) = (0, 0);
        }
        let failures = self.failures;
        self.failures = self.failures.saturating_add(1);
        match end {
            End::Unlinked { .. } => return Step::Stop,
            End::Banned { pause, .. } => return Step::Again(*pause),
            End::Replaced => {
                self.conflicts += 1;
                if self.conflicts >= CONFLICTS_MAX {
                    self.failures = 0;
                    return Step::Again(CONFLICT_PAUSE);
                }
            }
            End::Lost { .. } => {}
        }
        if self.reconnect.max_attempts > 0 && failures >= self.reconnect.max_attempts {
            return Step::GiveUp;
        }
        Step::Again(self.reconnect.pause(failures, chance))
    }
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::wacore::net::DisconnectReason;
    use whatsapp_rust::wacore::types::events::{ConnectFailure, Disconnected, LoggedOut, StreamReplaced};

    use super::*;

    const SHORT: Duration = Duration::ZERO;

    fn lost() -> End {
        End::Lost { status: 503, reason: "x".into() }
    }

    fn ladder() -> Ladder {
        Ladder::new(Reconnect::default(), Duration::from_mins(1))
    }

    #[test]
    fn a_lost_connection_is_made_again_with_longer_pauses_and_given_back_after_twelve() {
        let mut ladder = ladder();
        let steps: Vec<Step> = (0..13).map(|_| ladder.next(&lost(), SHORT, 0.5)).collect();
        assert_eq!(steps[..3], [2_000, 3_600, 6_480].map(|ms| Step::Again(Duration::from_millis(ms))));
        assert_eq!(steps[11..], [Step::Again(Duration::from_secs(30)), Step::GiveUp]);
    }

    #[test]
    fn a_connection_that_held_begins_with_the_shortest_pause() {
        let mut ladder = ladder();
        for _ in 0..8 {
            ladder.next(&lost(), SHORT, 0.5);
        }
        assert_eq!(ladder.next(&lost(), Duration::from_mins(1), 0.5), Step::Again(Duration::from_secs(2)));
    }

    #[test]
    fn a_link_that_another_program_takes_is_left_to_it() {
        let mut ladder = ladder();
        let steps: Vec<Step> = (0..4).map(|_| ladder.next(&End::Replaced, SHORT, 0.5)).collect();
        assert_eq!(steps[2..], [Step::Again(CONFLICT_PAUSE), Step::Again(CONFLICT_PAUSE)]);
    }

    #[test]
    fn what_the_library_tells_is_read_by_its_status() {
        let read = |event: Event, status| End::of(&event, status).map(|end| (end.status(), end.reason())).unwrap();
        let out = |reason| Event::LoggedOut(LoggedOut::builder().on_connect(true).reason(reason).build());
        assert_eq!(read(out(ConnectFailureReason::LoggedOut), None).0, 401);
        assert_eq!(read(out(ConnectFailureReason::AccountLocked), None), (403, "WhatsApp has locked the account".into()));
        let removed = |reason| matches!(End::of(&out(reason), None), Some(End::Unlinked { removed: true, .. }));
        assert!(removed(ConnectFailureReason::LoggedOut) && !removed(ConnectFailureReason::AccountLocked));
        let gone = |reason| Event::Disconnected(Disconnected::builder().reason(reason).build());
        assert_eq!(read(gone(DisconnectReason::StreamEnded), None).0, 428);
        assert_eq!(read(gone(DisconnectReason::ReadError("reset".into())), None).0, 408);
        assert_eq!(read(gone(DisconnectReason::StreamEnded), Some(503)).0, 503);
        assert_eq!(read(Event::StreamReplaced(StreamReplaced::builder().build()), None).0, 440);
        let refused = ConnectFailure::builder().reason(ConnectFailureReason::InternalServerError).message("later".to_owned()).build();
        assert_eq!(read(Event::ConnectFailure(refused), None), (500, "WhatsApp refused the connection (500): later".into()));
        assert_eq!(ladder().next(&End::of(&out(ConnectFailureReason::LoggedOut), None).unwrap(), SHORT, 0.5), Step::Stop);
    }
}
