//! Who may run when: one run at a time in each session, so many in all, the others in bounded queues in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::keys::SessionKey;

#[cfg(test)]
mod tests;

/// Runs that may wait in one session.
const SESSION_WAITING_MAX: usize = 20;

/// Runs that may wait in all.
const WAITING_MAX: usize = 1_024;

/// All lanes. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    lanes: HashMap<SessionKey, Lane>,
    /// Sessions with somebody waiting and nobody running, the longest-waiting first.
    ready: VecDeque<SessionKey>,
    running: usize,
    running_max: usize,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Lane {
    busy: bool,
    queue: VecDeque<oneshot::Sender<Turn>>,
}

/// A place in a session's queue. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Place {
    turn: oneshot::Receiver<Turn>,
}

/// The right to run. Dropping it lets the next one run.
#[derive(Debug)]
pub(crate) struct Turn {
    /// None once somebody else has taken the right back.
    lanes: Option<Lanes>,
    key: SessionKey,
}

impl Lanes {
    /// Makes lanes for `running_max` runs at once.
    pub(crate) fn new(running_max: usize) -> Self {
        let state = State { lanes: HashMap::new(), ready: VecDeque::new(), running: 0, running_max, waiting: 0 };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Lets so many run at once from now on. Those that run are not stopped.
    pub(crate) fn set_running_max(&self, running_max: usize) {
        let mut state = self.state();
        state.running_max = running_max;
        self.admit(&mut state);
    }

    /// Takes the next place in the queue of a session.
    pub(crate) fn join(&self, key: &SessionKey) -> Result<Place, Error> {
        let mut state = self.state();
        if state.waiting >= WAITING_MAX {
            state.forget_the_gone();
        }
        if state.waiting >= WAITING_MAX {
            return Err(Error::QueueFull { max: WAITING_MAX });
        }
        let lane = state.lanes.entry(key.clone()).or_default();
        if lane.queue.len() >= SESSION_WAITING_MAX {
            let before = lane.queue.len();
            lane.queue.retain(|place| !place.is_closed());
            let gone = before - lane.queue.len();
            if gone == 0 {
                return Err(Error::SessionQueueFull { max: SESSION_WAITING_MAX });
            }
            state.waiting -= gone;
        }
        let (sender, turn) = oneshot::channel();
        let lane = state.lanes.entry(key.clone()).or_default();
        lane.queue.push_back(sender);
        let first = lane.queue.len() == 1 && !lane.busy;
        state.waiting += 1;
        if first {
            state.ready.push_back(key.clone());
        }
        self.admit(&mut state);
        Ok(Place { turn })
    }

    /// Returns how many runs are running, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.running, state.waiting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives turns away while there are some.
    fn admit(&self, state: &mut State) {
        while state.running < state.running_max
            && let Some(key) = state.ready.pop_front()
        {
            let Some(lane) = state.lanes.get_mut(&key) else { continue };
            while let Some(place) = lane.queue.pop_front() {
                state.waiting -= 1;
                let turn = Turn { lanes: Some(self.clone()), key: key.clone() };
                match place.send(turn) {
                    Ok(()) => {
                        lane.busy = true;
                        state.running += 1;
                        break;
                    }
                    // Given up: it must not release what it never had.
                    Err(mut turn) => turn.lanes = None,
                }
            }
            if !lane.busy && lane.queue.is_empty() {
                state.lanes.remove(&key);
            }
        }
    }

    fn release(&self, key: &SessionKey) {
        let mut state = self.state();
        state.running -= 1;
        if let Some(lane) = state.lanes.get_mut(key) {
            lane.busy = false;
            if lane.queue.is_empty() {
                state.lanes.remove(key);
            } else {
                state.ready.push_back(key.clone());
            }
        }
        self.admit(&mut state);
    }
}

impl State {
    fn forget_the_gone(&mut self) {
        let mut waiting = 0;
        for lane in self.lanes.values_mut() {
            lane.queue.retain(|place| !place.is_closed());
            waiting += lane.queue.len();
        }
        self.waiting = waiting;
    }
}

impl Place {
    /// Returns the turn if it has come.
    pub(crate) fn try_turn(&mut self) -> Option<Turn> {
        self.turn.try_recv().ok()
    }

    /// Waits for the turn.
    pub(crate) async fn turn(self) -> Result<Turn, Error> {
        self.turn.await.map_err(|_| Error::Restarting)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lanes) = self.lanes.take() {
            lanes.release(&self.key);
        }
    }
}
