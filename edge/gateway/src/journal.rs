//! The events of the last minutes, for clients whose connection broke.
//!
//! A connection counts the events that it gets, and nothing remembers which those were. They are found again by going back from the
//! end: whether a connection got an event depends on the connection and the event alone, as long as it follows the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::Rendered;
use crate::outlet::{Outlet, Reception};

/// Events that are kept.
const EVENTS_MAX: usize = 4_096;

/// What they may take, renderings included, in bytes.
const BYTES_MAX: usize = 6 << 20;

/// How long an event, and a connection that is gone, are remembered.
const AGE_MAX: Duration = Duration::from_mins(5);

/// Connections that are remembered.
const LEFT_MAX: usize = 1_024;

/// What a client says that comes back.
#[derive(Debug, Clone)]
pub(crate) struct Resume {
    /// The last number that it heard.
    pub(crate) seq: u64,
    /// On this connection. None: on its last one.
    pub(crate) conn_id: Option<String>,
}

impl Resume {
    /// Whether `earlier` is the connection that the client of `now` means.
    pub(crate) fn means(&self, earlier: &Outlet, now: &Outlet) -> bool {
        let named = self.conn_id.as_ref().is_none_or(|conn_id| *conn_id == earlier.conn_id);
        named && earlier.conn_id != now.conn_id && earlier.same_client(now)
    }
}

/// Why what a client missed cannot be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// No such connection is remembered, or it never had that number.
    Unknown,
    /// The events are gone.
    Expired,
    /// The connection followed something else then.
    Changed,
}

impl Lost {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Changed => "changed",
        }
    }
}

/// The events of the last minutes, and who was there.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    events: VecDeque<Kept>,
    size_bytes: usize,
    /// How many events there were since the start.
    count: u64,
    left: VecDeque<Left>,
}

#[derive(Debug)]
struct Kept {
    at: Instant,
    event: Arc<Rendered>,
}

/// A connection that is gone.
#[derive(Debug)]
struct Left {
    outlet: Arc<Outlet>,
    /// How many events there were then.
    count: u64,
    at: Instant,
}

impl Journal {
    /// Adds an event that was given out.
    pub(crate) fn add(&mut self, event: Arc<Rendered>) {
        let now = Instant::now();
        self.count += 1;
        self.size_bytes += event.footprint_bytes();
        self.events.push_back(Kept { at: now, event });
        while let Some(oldest) = self.events.front() {
            if self.events.len() <= EVENTS_MAX && self.size_bytes <= BYTES_MAX && now - oldest.at <= AGE_MAX {
                break;
            }
            self.size_bytes -= oldest.event.footprint_bytes();
            self.events.pop_front();
        }
        self.forget(now);
    }

    /// Remembers a connection that is gone, if its client could come back for what it missed.
    pub(crate) fn left(&mut self, outlet: Arc<Outlet>) {
        let now = Instant::now();
        if outlet.principal.instance_id.is_some() {
            self.left.push_back(Left { outlet, count: self.count, at: now });
        }
        self.forget(now);
    }

    /// Returns what the client of `now` did not hear on the connection that it means, and lets it follow the same.
    pub(crate) fn missed(&mut self, now: &Outlet, half_open: Option<Arc<Outlet>>, resume: &Resume) -> Result<Vec<Arc<Rendered>>, Lost> {
        let gone = || self.left.iter().rev().find(|left| resume.means(&left.outlet, now));
        let (earlier, end) = match half_open {
            Some(outlet) => (outlet, self.count),
            None => gone().map(|left| (Arc::clone(&left.outlet), left.count)).ok_or(Lost::Unknown)?,
        };
        let missed = self.after(&earlier, end, resume.seq)?;
        now.following().take_over(&earlier.following());
        // The rights of the new connection count.
        Ok(missed.into_iter().filter(|event| now.reception(event) == Reception::Counted).collect())
    }

    /// Goes back from now: first what came after the connection's end, then what it had, down to the number that was heard.
    fn after(&self, earlier: &Outlet, end: u64, heard: u64) -> Result<Vec<Arc<Rendered>>, Lost> {
        let mut seq = earlier.seq();
        if heard > seq {
            return Err(Lost::Unknown);
        }
        let since = earlier.following().since_seq();
        let (mut missed, mut place) = (Vec::new(), self.count);
        for kept in self.events.iter().rev() {
            if place <= end && seq == heard {
                break;
            }
            if earlier.reception(&kept.event) == Reception::Counted {
                if place <= end {
                    if seq <= since {
                        return Err(Lost::Changed);
                    }
                    seq -= 1;
                }
                missed.push(Arc::clone(&kept.event));
            }
            place -= 1;
        }
        if place > end || seq > heard {
            return Err(Lost::Expired);
        }
        missed.reverse();
        Ok(missed)
    }

    fn forget(&mut self, now: Instant) {
        while self.left.front().is_some_and(|left| self.left.len() > LEFT_MAX || now - left.at > AGE_MAX) {
            self.left.pop_front();
        }
    }
}
