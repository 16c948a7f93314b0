//! What those hear who follow a session when a turn begins.

use std::pin::pin;
use std::task::Poll;

use tokio::task::yield_now;

use crate::runs::{Run, Runs};
use crate::sessions;
use crate::store::Head;

/// News that a turn has begun. They are told when this is dropped, whatever has become of the turn by then.
#[derive(Debug)]
pub(in crate::runs) struct News<'a> {
    runs: &'a Runs,
    run: &'a Run,
    head: &'a Head,
}

impl<'a> News<'a> {
    pub(in crate::runs) fn of(runs: &'a Runs, run: &'a Run, head: &'a Head) -> Self {
        Self { runs, run, head }
    }

    /// Begins with `work`, and tells the news while whoever was asked for it is busy: nobody waits for them.
    pub(super) async fn beside<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let early = futures_util::poll!(&mut work);
        // What sends the question has its turn first.
        yield_now().await;
        drop(self);
        match early {
            Poll::Ready(done) => done,
            Poll::Pending => work.await,
        }
    }
}

impl Drop for News<'_> {
    fn drop(&mut self) {
        // Those who follow have heard the message of a run that an earlier incarnation had begun.
        let user = self.head.user.clone().filter(|_| !self.run.recovered);
        sessions::events::run_began(self.runs, self.run, self.head, user);
    }
}
