//! Who may run when: one run at a time in each session, so many in all, the others in bounded queues in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use verso_kit::metrics::REACHED;

use crate::error::Error;
use crate::keys::SessionKey;

#[cfg(test)]
mod tests;

/// Runs that may wait in one session, unless its queue has a limit of its own.
pub(crate) const SESSION_WAITING_MAX: usize = 20;

/// Runs that may wait in all.
pub(crate) const WAITING_MAX: usize = 1_024;

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
    /// Those who have paused and want to go on. They go first: their sessions wait for them.
    returning: VecDeque<oneshot::Sender<Running>>,
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
    /// Whether it counts among those that run.
    running: bool,
}

/// A place among those that run, on its way to somebody who has paused. Dropping it lets somebody else run.
#[derive(Debug)]
struct Running(Option<Lanes>);

impl Lanes {
    /// Makes lanes for `running_max` runs at once.
    pub(crate) fn new(running_max: usize) -> Self {
        let state =
            State { lanes: HashMap::new(), ready: VecDeque::new(), returning: VecDeque::new(), running: 0, running_max, waiting: 0 };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Lets so many run at once from now on. Those that run are not stopped.
    pub(crate) fn set_running_max(&self, running_max: usize) {
        let mut state = self.state();
        state.running_max = running_max;
        self.admit(&mut state);
    }

    /// Takes the next place in the queue of a session.
    /// No more than `session_max` may wait in it.
    pub(crate) fn join(&self, key: &SessionKey, session_max: usize) -> Result<Place, Error> {
        let mut state = self.state();
        if state.waiting >= WAITING_MAX {
            state.forget_the_gone();
        }
        if state.waiting >= WAITING_MAX {
            REACHED.one_more(["runs_waiting"]);
            return Err(Error::QueueFull { max: WAITING_MAX });
        }
        let lane = state.lanes.entry(key.clone()).or_default();
        if lane.queue.len() >= session_max {
            let before = lane.queue.len();
            lane.queue.retain(|place| !place.is_closed());
            let gone = before - lane.queue.len();
            if gone == 0 {
                REACHED.one_more(["session_runs_waiting"]);
                return Err(Error::SessionQueueFull { max: session_max });
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

    /// Returns how many may run at once.
    pub(crate) fn running_max(&self) -> usize {
        self.state().running_max
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives turns away while there are some.
    fn admit(&self, state: &mut State) {
        while state.running < state.running_max
            && let Some(waiting) = state.returning.pop_front()
        {
            state.running += 1;
            if let Err(mut given_up) = waiting.send(Running(Some(self.clone()))) {
                given_up.0 = None;
                state.running -= 1;
            }
        }
        while state.running < state.running_max
            && let Some(key) = state.ready.pop_front()
        {
            let Some(lane) = state.lanes.get_mut(&key) else { continue };
            while let Some(place) = lane.queue.pop_front() {
                state.waiting -= 1;
                let turn = Turn { lanes: Some(self.clone()), key: key.clone(), running: true };
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

    fn pause(&self) {
        let mut state = self.state();
        state.running -= 1;
        self.admit(&mut state);
    }

    fn ask_back(&self) -> oneshot::Receiver<Running> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.returning.push_back(sender);
        self.admit(&mut state);
        receiver
    }

    fn release(&self, key: &SessionKey, running: bool) {
        let mut state = self.state();
        state.running -= usize::from(running);
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

impl Turn {
    /// Lets others run for a while. Nobody else of its session does.
    pub(crate) async fn pause(&mut self, pause: Duration) -> Result<(), Error> {
        let Some(lanes) = self.lanes.clone() else { return Ok(()) };
        if std::mem::take(&mut self.running) {
            lanes.pause();
        }
        tokio::time::sleep(pause).await;
        let mut place = lanes.ask_back().await.map_err(|_| Error::Restarting)?;
        place.0 = None;
        self.running = true;
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lanes) = self.lanes.take() {
            lanes.release(&self.key, self.running);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(lanes) = self.0.take() {
            lanes.pause();
        }
    }
}
