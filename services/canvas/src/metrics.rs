//! What the service counts: open pages, and what they were served.

use verso_kit::metrics::{self, whole};

use crate::live::Live;

verso_kit::metrics! {
    /// Pages that are told of changes.
    PAGES: Gauge = "verso_canvas_pages" [];
    /// Pages that there may be.
    PAGES_MAX: Gauge = "verso_canvas_pages_max" [];
    /// Requests that were answered, by status.
    SERVED: Counter = "verso_canvas_http_requests" ["status"];
}

/// Makes what the service counts a part of what its process answers.
pub(crate) fn start(live: Live) {
    metrics::register(METRICS);
    metrics::reading("canvas", move || {
        PAGES.set([], whole(live.pages()));
        PAGES_MAX.set([], whole(crate::live::PAGES_MAX));
    });
}

/// Counts an answer.
pub(crate) fn served(status: u16) {
    SERVED.one_more([&status.to_string()]);
}
