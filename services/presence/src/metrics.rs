//! What the service counts: who is there.

use std::sync::Weak;

use verso_kit::metrics::{self, whole};

use crate::board::Board;

verso_kit::metrics! {
    /// Entries of the list of who is connected.
    ENTRIES: Gauge = "verso_presence_entries" [];
    /// Changes of the list.
    VERSION: Gauge = "verso_presence_version" [];
    /// Clients of this service's events.
    SUBSCRIBERS: Gauge = "verso_presence_event_subscribers" [];
}

/// Makes what the service counts a part of what its process answers.
pub(crate) fn start(board: Weak<Board>) {
    metrics::register(METRICS);
    metrics::reading("presence", move || {
        let Some(board) = board.upgrade() else { return };
        let (entries, version) = board.size();
        ENTRIES.set([], whole(entries));
        VERSION.set([], whole(version));
        SUBSCRIBERS.set([], whole(board.hub().subscribers()));
    });
}
