//! The roster, and who is told of its changes, and when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use verso_kit::CancellationToken;
use verso_kit::events::Hub;
use verso_proto::Json;
use verso_proto::presence::v1::{Entry, Event, PresenceEvent, event};
use verso_proto::wire::v1::StateVersion;

use crate::error::Error;
use crate::roster::{self, Roster};

/// How long connections that come and go wait for each other after one was told: a restarting edge ends thousands at once, and
/// telling is the list times the clients.
const GATHER: Duration = Duration::from_millis(50);

/// The list as it stands, and the number of its last change.
pub(crate) type Snapshot = (Json, u64);

/// The list that everybody sees.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    hub: Hub<Event>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    roster: Roster,
    /// Something is to be told that has not been.
    untold: bool,
}

impl Board {
    /// Puts a roster up.
    pub(crate) fn new(roster: Roster, hub: Hub<Event>) -> Self {
        Self { state: Mutex::new(State { roster, untold: false }), hub, changed: Notify::new() }
    }

    /// Where the changes are told.
    pub(crate) fn hub(&self) -> &Hub<Event> {
        &self.hub
    }

    /// Returns how many entries there are, and the number of the last change.
    pub(crate) fn size(&self) -> (usize, u64) {
        let state = self.state();
        (state.roster.len(), state.roster.version())
    }

    /// Lists every entry, newest first.
    pub(crate) fn list(&self) -> Json {
        self.state().roster.list()
    }

    /// Merges what a device says of itself, and tells everybody before it returns. Returns what is worth passing on to an agent.
    pub(crate) fn beacon(&self, said: Entry) -> Result<Option<String>, Error> {
        let mut state = self.state();
        let news = state.roster.beacon(said)?;
        self.tell(&mut state);
        Ok(news)
    }

    /// Records that a connection came or went. Everybody is told soon if `broadcast` says so. The list is for greeting a newcomer: it is
    /// empty for a connection that went.
    pub(crate) fn announce(&self, conn_id: String, entry: Entry, broadcast: bool) -> Result<Snapshot, Error> {
        let mut state = self.state();
        let gone = roster::gone(&entry);
        if state.roster.announce(conn_id, entry)? && broadcast {
            self.tell_soon(&mut state);
        }
        let entries = if gone { Json { text: "[]".to_owned() } } else { state.roster.list() };
        Ok((entries, state.roster.version()))
    }

    /// Takes over what an edge holds, and tells everybody soon.
    pub(crate) fn restore(&self, connections: Vec<(String, Entry)>, shown: u64) -> Result<Snapshot, Error> {
        let mut state = self.state();
        state.roster.restore(connections, shown)?;
        self.tell_soon(&mut state);
        Ok((state.roster.list(), state.roster.version()))
    }

    /// Tells of connections that came and went, until `shutdown`: the first at once, those that follow closely together.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.changed.notified() => self.tell_rest(),
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn tell_rest(&self) {
        let mut state = self.state();
        if state.untold {
            self.tell(&mut state);
        }
    }

    fn tell_soon(&self, state: &mut State) {
        state.untold = true;
        self.changed.notify_one();
    }

    /// Tells all that there is to tell. The caller holds the state, so events leave in the order of their versions.
    fn tell(&self, state: &mut State) {
        state.untold = false;
        let version = StateVersion { presence: state.roster.version(), health: 0 };
        let presence = event::Event::Presence(PresenceEvent { presence: Some(state.roster.list()) });
        self.hub.emit_with(Event { meta: None, event: Some(presence) }, |meta| meta.state_version = Some(version));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
