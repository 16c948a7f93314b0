//! Writing the end of a run down where the disk has no room: it is tried again for a while, and what could not be kept is closed later.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use verso_proto::agent::v1::RunResponse;

use super::Runs;
use crate::store::{Error, Finish, Finished, RunState};

/// How long the end of a run waits for a disk that is full. Its answer has cost money, and most disks are full for moments only.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries, while somebody waits …
const PAUSE: Duration = Duration::from_millis(200);

/// … and afterwards.
const LATER_PAUSE: Duration = Duration::from_secs(5);

/// Writes the end down. None: the service is ending, and the next incarnation goes on with the run.
pub(super) async fn end(runs: &Runs, finish: &Arc<Finish>) -> Option<Result<Option<Finished>, Error>> {
    let (given_up, shutdown) = (Instant::now() + PATIENCE, runs.tasks.shutdown());
    loop {
        let saved = runs.parts.store.finish(Arc::clone(finish)).await;
        match &saved {
            Err(error) if error.may_pass() && Instant::now() < given_up => {
                tracing::warn!(run = finish.run_id, error = error as &dyn std::error::Error, "the end of a run is saved again soon");
                shutdown.run_until_cancelled(sleep(PAUSE)).await?;
            }
            _ => return Some(saved),
        }
    }
}

/// Closes a run in the journal, and those that end with it, as soon as that can be written to: whoever waited for them was told that they failed,
/// so that no later incarnation may answer them.
pub(super) fn close_later(runs: &Runs, finish: &Finish, (response, within): (RunResponse, Vec<(String, RunResponse)>)) {
    let (run_id, key, session_id) = (finish.run_id.clone(), finish.key.clone(), finish.session_id.clone());
    let bare = Finish::bare(run_id, key, session_id, (RunState::Error, response), finish.at_ms);
    let finish = Arc::new(Finish { within, ..bare });
    let (store, shutdown) = (runs.parts.store.clone(), runs.tasks.shutdown().clone());
    runs.tasks.spawn("end of a run", async move {
        while shutdown.run_until_cancelled(sleep(LATER_PAUSE)).await.is_some() {
            match store.finish(Arc::clone(&finish)).await {
                Err(error) if error.may_pass() => {}
                _ => return,
            }
        }
    });
}
