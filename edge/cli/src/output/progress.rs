//! A sign of life while something takes long.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::ProgressBar;

/// What takes less needs no sign.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// Between two steps of the sign.
const STEP: Duration = Duration::from_millis(120);

/// Waits for `work`; a person at a terminal sees after a second what is waited for.
pub(crate) async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if !io::stderr().is_terminal() {
        return work.await;
    }
    tokio::select! {
        result = &mut work => return result,
        () = tokio::time::sleep(SHOWN_AFTER) => {}
    }
    let sign = ProgressBar::new_spinner().with_message(what.to_owned());
    sign.enable_steady_tick(STEP);
    let result = work.await;
    sign.finish_and_clear();
    result
}
