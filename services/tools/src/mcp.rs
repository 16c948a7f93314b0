//! Tools of MCP servers: programs on this host and services elsewhere, which nobody here wrote. Each server is a unit of its own that is
//! started, watched and started again; what happens to it happens to nobody else.

mod config;
mod connection;
mod result;
#[cfg(test)]
mod tests;
mod tool;
mod unit;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;
use verso_kit::CancellationToken;
use verso_kit::config::Env;
use verso_kit::tasks::Tasks;

use crate::exec::Notes;
use crate::tool::Tool;
use config::Settings;
use unit::{Reports, State};

/// Servers that are run at most.
const SERVERS_MAX: usize = 64;

/// How long a turn waits for servers that were not heard of yet: a turn without their tools is better than none.
const PATIENCE: Duration = Duration::from_secs(5);

/// All servers of one service. Clones share them.
#[derive(Debug, Clone)]
pub struct Servers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    surroundings: Surroundings,
    units: Mutex<BTreeMap<String, Unit>>,
}

/// What is around every server.
#[derive(Debug, Clone)]
struct Surroundings {
    env: Env,
    /// The folder that programs begin in.
    folder: PathBuf,
    notes: Notes,
    tasks: Tasks,
}

/// One server, as far as others see it.
#[derive(Debug)]
struct Unit {
    /// As configured: another value means another server.
    section: Value,
    reports: watch::Receiver<State>,
    /// Dropped with the unit, which ends the server.
    _leash: DropGuard,
}

/// How a server is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What the configuration calls it.
    pub name: String,
    /// `connecting`, `ready`, `failed` or `off`.
    pub state: &'static str,
    /// Tools that it offers.
    pub tools: usize,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it is not ready.
    pub error: Option<String>,
}

impl Servers {
    /// Starts the servers of a section `mcp.servers`. What an earlier incarnation has left running, by its notes in `folder`, is ended first.
    pub fn open(section: BTreeMap<String, Value>, tasks: Tasks, env: Env, folder: PathBuf) -> Self {
        let notes = Notes::open(folder.join("processes"));
        let surroundings = Surroundings { env, folder, notes, tasks };
        let servers = Self { shared: Arc::new(Shared { surroundings, units: Mutex::default() }) };
        servers.apply(section);
        servers
    }

    /// Takes over a changed section: servers that it changes or no longer has are retired, the others go on.
    pub fn apply(&self, section: BTreeMap<String, Value>) {
        let mut units = self.units();
        units.retain(|name, unit| section.get(name) == Some(&unit.section));
        for (name, section) in section {
            let full = units.len() >= SERVERS_MAX;
            let Entry::Vacant(place) = units.entry(name) else { continue };
            if full {
                tracing::warn!(server = place.key(), max = SERVERS_MAX, "there are too many MCP servers; this one is not started");
            } else {
                let unit = self.start(place.key(), section);
                place.insert(unit);
            }
        }
    }

    /// Returns the tools of all servers that are ready. Waits a little for those that were just started.
    pub async fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let waiting = futures_util::future::join_all(self.reports().into_iter().map(|(_, mut reports)| async move {
            // Its unit has ended, which is as good as any other news.
            drop(reports.wait_for(|state| !matches!(state, State::New)).await);
        }));
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            tracing::info!("a turn begins without an MCP server that is still being started");
        }
        let ready = self.reports().into_iter().flat_map(|(_, reports)| match &*reports.borrow() {
            State::Ready(ready) => ready.tools.clone(),
            State::New | State::Failed { .. } | State::Off => Vec::new(),
        });
        ready.map(|tool| tool as Arc<dyn Tool>).collect()
    }

    /// Says how every server is doing.
    pub fn status(&self) -> Vec<Status> {
        let told = |(name, reports): (String, watch::Receiver<State>)| {
            let state = reports.borrow();
            let plain = |state| Status { name: name.clone(), state, tools: 0, restarts: 0, error: None };
            match &*state {
                State::New => plain("connecting"),
                State::Off => plain("off"),
                State::Ready(ready) => Status { tools: ready.tools.len(), restarts: ready.restarts, ..plain("ready") },
                State::Failed { reason, restarts } => Status { restarts: *restarts, error: Some(reason.clone()), ..plain("failed") },
            }
        };
        self.reports().into_iter().map(told).collect()
    }

    fn start(&self, name: &str, section: Value) -> Unit {
        let leash = CancellationToken::new();
        let (state, reports) = watch::channel(State::New);
        match serde_json::from_value::<Settings>(section.clone()).map_err(|error| error.to_string()).and_then(Settings::checked) {
            Ok(settings) if !settings.on() => drop(state.send_replace(State::Off)),
            Ok(settings) => {
                let (surroundings, retired) = (self.shared.surroundings.clone(), leash.clone());
                let reports = Reports { state, name: name.to_owned() };
                let tasks = surroundings.tasks.clone();
                let (shutdown, work) = (tasks.shutdown().clone(), Box::pin(unit::run(settings, surroundings, reports, retired)));
                tasks.spawn("mcp server", async move {
                    shutdown.run_until_cancelled(work).await;
                });
            }
            Err(reason) => {
                tracing::warn!(server = name, reason, "an MCP server cannot be used as configured");
                drop(state.send_replace(State::Failed { reason, restarts: 0 }));
            }
        }
        Unit { section, reports, _leash: leash.drop_guard() }
    }

    fn reports(&self) -> Vec<(String, watch::Receiver<State>)> {
        self.units().iter().map(|(name, unit)| (name.clone(), unit.reports.clone())).collect()
    }

    fn units(&self) -> MutexGuard<'_, BTreeMap<String, Unit>> {
        self.shared.units.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
