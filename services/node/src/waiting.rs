//! Calls that wait until somebody else answers: bounded, and gone when they stop waiting for whatever reason.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How many calls are remembered whose time was over.
const OVERDUE_MAX: usize = 512;

/// Who waits for an `A`, by id, and what about. Clones share the table.
#[derive(Debug)]
pub(crate) struct Waiting<M, A> {
    table: Arc<Mutex<Table<M, A>>>,
    max: usize,
}

#[derive(Debug)]
struct Table<M, A> {
    calls: HashMap<String, Call<M, A>>,
    /// The number of the last call: an id may be used again, a number is not.
    last: u64,
    /// Calls whose time was over, the newest last.
    overdue: VecDeque<(String, M)>,
}

#[derive(Debug)]
struct Call<M, A> {
    number: u64,
    about: M,
    answer: oneshot::Sender<A>,
}

/// Why a call cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another one waits under the same id.
    Taken,
    /// As many wait as may.
    Full,
}

/// A place among those who wait; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Place<M, A> {
    table: Arc<Mutex<Table<M, A>>>,
    id: String,
    number: u64,
    answer: oneshot::Receiver<A>,
}

impl<M, A> Waiting<M, A> {
    /// Lets `max` calls wait at a time.
    pub(crate) fn new(max: usize) -> Self {
        Self { table: Arc::new(Mutex::new(Table { calls: HashMap::new(), last: 0, overdue: VecDeque::new() })), max }
    }

    /// Takes a place under an id that nobody else waits under.
    pub(crate) fn enter(&self, id: String, about: M) -> Result<Place<M, A>, Refused> {
        let mut table = locked(&self.table);
        let full = table.calls.len() >= self.max;
        let number = table.last + 1;
        let (sender, answer) = oneshot::channel();
        match table.calls.entry(id.clone()) {
            Entry::Occupied(_) => return Err(Refused::Taken),
            Entry::Vacant(_) if full => return Err(Refused::Full),
            Entry::Vacant(vacant) => vacant.insert(Call { number, about, answer: sender }),
        };
        table.last = number;
        Ok(Place { table: Arc::clone(&self.table), id, number, answer })
    }

    /// Counts those who wait.
    pub(crate) fn len(&self) -> usize {
        locked(&self.table).calls.len()
    }

    /// Answers the call under `id` if it is the right one; false when nobody got the answer.
    pub(crate) fn answer(&self, id: &str, right: impl FnOnce(&M) -> bool, answer: A) -> bool {
        let mut table = locked(&self.table);
        if !table.calls.get(id).is_some_and(|call| right(&call.about)) {
            return false;
        }
        table.calls.remove(id).is_some_and(|call| call.answer.send(answer).is_ok())
    }

    /// Answers every call that `which` picks.
    pub(crate) fn answer_each(&self, which: impl Fn(&M) -> bool, answer: impl Fn() -> A) {
        for (_, call) in locked(&self.table).calls.extract_if(|_, call| which(&call.about)) {
            // Whoever has just stopped waiting needs no answer.
            drop(call.answer.send(answer()));
        }
    }

    /// Lets go of every call that `which` picks: they get no answer.
    pub(crate) fn abandon(&self, which: impl Fn(&M) -> bool) {
        locked(&self.table).calls.retain(|_, call| !which(&call.about));
    }
}

impl<M: Clone, A> Waiting<M, A> {
    /// What the call under `id` is about; none when nobody waits under it.
    pub(crate) fn about(&self, id: &str) -> Option<M> {
        locked(&self.table).calls.get(id).map(|call| call.about.clone())
    }

    /// Finds a call by what it is about.
    pub(crate) fn find(&self, which: impl Fn(&M) -> bool) -> Option<(String, M)> {
        let table = locked(&self.table);
        table.calls.iter().find(|(_, call)| which(&call.about)).map(|(id, call)| (id.clone(), call.about.clone()))
    }

    /// What the call under `id` was about whose time was over before it was answered; only once.
    pub(crate) fn late(&self, id: &str) -> Option<M> {
        let mut table = locked(&self.table);
        let place = table.overdue.iter().position(|(overdue, _)| overdue == id)?;
        table.overdue.remove(place).map(|(_, about)| about)
    }
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended<A> {
    /// With an answer.
    Answered(A),
    /// Nobody answered in time.
    TimedOut,
    /// Nobody will answer any more.
    Abandoned,
}

impl<M, A> Place<M, A> {
    /// Waits for the answer. Whoever answered before the time was over is heard.
    pub(crate) async fn wait(mut self, limit: Duration) -> Ended<A> {
        match timeout(limit, &mut self.answer).await {
            Ok(Ok(answer)) => Ended::Answered(answer),
            Ok(Err(_)) => Ended::Abandoned,
            Err(_) => {
                self.give_up();
                self.answer.try_recv().map_or(Ended::TimedOut, Ended::Answered)
            }
        }
    }
}

impl<M, A> Place<M, A> {
    fn leave(&self) {
        drop(self.leave_table());
    }

    /// Leaves because the time is over: the answer may still come.
    fn give_up(&self) {
        let Some(about) = self.leave_table() else { return };
        let mut table = locked(&self.table);
        table.overdue.push_back((self.id.clone(), about));
        if table.overdue.len() > OVERDUE_MAX {
            table.overdue.pop_front();
        }
    }

    fn leave_table(&self) -> Option<M> {
        let mut table = locked(&self.table);
        let mine = table.calls.get(&self.id).is_some_and(|call| call.number == self.number);
        if mine { table.calls.remove(&self.id).map(|call| call.about) } else { None }
    }
}

impl<M, A> Drop for Place<M, A> {
    fn drop(&mut self) {
        self.leave();
    }
}

fn locked<M, A>(table: &Mutex<Table<M, A>>) -> MutexGuard<'_, Table<M, A>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_id_is_free_again_when_its_call_is_over() {
        let waiting = Waiting::<(), u8>::new(2);
        let first = waiting.enter("a".to_owned(), ()).unwrap();
        assert_eq!(waiting.enter("a".to_owned(), ()).unwrap_err(), Refused::Taken);
        assert!(waiting.answer("a", |()| true, 1));
        let second = waiting.enter("a".to_owned(), ()).unwrap();
        assert_eq!(first.wait(Duration::from_secs(5)).await, Ended::Answered(1));
        assert!(waiting.answer("a", |()| true, 2), "the first call's end does not take the second one's place");
        assert_eq!(second.wait(Duration::from_secs(5)).await, Ended::Answered(2));
        assert!(!waiting.answer("a", |()| true, 3));
    }

    #[tokio::test]
    async fn never_more_than_may_wait() {
        let waiting = Waiting::<(), u8>::new(1);
        let first = waiting.enter("a".to_owned(), ()).unwrap();
        assert_eq!(waiting.enter("b".to_owned(), ()).unwrap_err(), Refused::Full);
        drop(first);
        let second = waiting.enter("b".to_owned(), ()).unwrap();
        assert_eq!(second.wait(Duration::ZERO).await, Ended::TimedOut);
        let third = waiting.enter("c".to_owned(), ()).unwrap();
        waiting.abandon(|()| true);
        assert_eq!(third.wait(Duration::from_secs(5)).await, Ended::Abandoned);
    }
}
