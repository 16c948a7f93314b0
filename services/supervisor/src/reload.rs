//! Follows the configuration: reads it when it changes, and has the services that the change concerns take it over.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use verso_config::{Action, Plan, Problem, ReloadMode, SERVICES, Settings, Watch, changed_paths};
use verso_kit::files;

use crate::config::{Reading, Source};
use crate::fleet::Fleet;
use crate::service_name::ServiceName;

/// The configuration that the services work with.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: Source,
    fleet: Fleet,
    state: Mutex<State>,
    asked: Notify,
    restart_on_signal: AtomicBool,
}

/// What is known of it.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Counts the accepted changes, from 1.
    pub(crate) generation: u64,
    pub(crate) value: Value,
    files: Vec<PathBuf>,
    /// Why the file as it is now is not in effect.
    pub(crate) problem: Option<String>,
}

impl Reloader {
    pub(crate) fn new(source: Source, first: &Reading, fleet: Fleet) -> Self {
        let state = State { generation: 1, value: first.value.clone(), files: first.files.clone(), problem: None };
        let restart_on_signal = AtomicBool::new(first.restart_on_signal);
        Self { source, fleet, state: Mutex::new(state), asked: Notify::new(), restart_on_signal }
    }

    /// Returns what is in effect.
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    /// Whether a signal may restart the services.
    pub(crate) fn restart_on_signal(&self) -> bool {
        self.restart_on_signal.load(Ordering::Relaxed)
    }

    /// Reads the file soon, changed or not.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Follows the file until `shutdown`.
    pub(crate) async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut watch = Watch::new(&self.state().files);
        loop {
            let rest = Duration::from_millis(Settings::of(&self.state().value).debounce_ms);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.asked.notified() => {}
                () = watch.changed(rest) => {}
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.reload() => {}
            }
            watch.follow(&self.state().files);
        }
    }

    /// Reads the file and does what it asks for.
    async fn reload(&self) {
        let next = match (self.source.read)() {
            Ok(next) => next,
            Err(problems) => return self.refuse(&problems),
        };
        let before = self.state();
        let changed = changed_paths(&before.value, &next.value);
        {
            let mut state = self.lock();
            state.files.clone_from(&next.files);
            state.problem = None;
        }
        if changed.is_empty() {
            return;
        }
        let paths = changed.join(", ");
        info!("config change detected; evaluating reload ({paths})");
        let mode = Settings::of(&next.value).mode;
        let plan = Plan::of(&changed, mode);
        self.restart_on_signal.store(next.restart_on_signal, Ordering::Relaxed);
        let pending = pending(&plan, mode);
        if mode == ReloadMode::Off {
            info!("config reload disabled (gateway.reload.mode=off)");
            // What is in effect stays as it was, but for the mode itself.
            self.lock().problem = pending;
            return;
        }
        if let Some(pending) = &pending {
            warn!("{pending}");
        }
        if !plan.unknown.is_empty() {
            warn!("no rule says what a change of {} does; every service is restarted", plan.unknown.join(", "));
        }
        let generation = before.generation + 1;
        {
            let mut state = self.lock();
            (state.generation, state.problem) = (generation, pending);
            state.value = next.value.clone();
        }
        self.fleet.shared.launcher.set_secrets(next.secrets);
        self.carry_out(&plan, generation, &before.value, &next.value).await;
    }

    async fn carry_out(&self, plan: &Plan, generation: u64, before: &Value, after: &Value) {
        if plan.is_empty() {
            info!("config change applied (dynamic reads: {})", plan.unnoticed.join(", "));
        }
        for name in SERVICES.iter().filter_map(|name| name.parse::<ServiceName>().ok()).filter(|name| self.fleet.has(*name)) {
            if let Err(error) = self.fleet.shared.launcher.hand_over(name, after) {
                let problem = format!("could not hand the configuration over: {error}");
                error!(service = %name, error = &error as &dyn std::error::Error, "configuration not handed over; the service keeps its own");
                self.fleet.shared.board.update(name, |entry| entry.config_problem = Some(problem));
                continue;
            }
            match plan.services.get(name.as_str()) {
                Some(Action::Hot) => {
                    self.fleet.reload_one(name);
                    info!(service = %name, "config hot reload applied");
                }
                Some(Action::Restart) => {
                    info!(service = %name, "config change requires a restart of the service");
                    if !self.restart(name, generation, before).await {
                        continue;
                    }
                }
                None => {}
            }
            self.fleet.shared.board.update(name, |entry| (entry.config_generation, entry.config_problem) = (generation, None));
        }
    }

    /// Restarts one service with what was handed over; one that does not come up goes back to what it had, alone.
    async fn restart(&self, name: ServiceName, generation: u64, before: &Value) -> bool {
        let Err(error) = self.fleet.restart(name.as_str()).await else { return true };
        let problem = format!("generation {generation} was taken back: {error}");
        error!(service = %name, error = &error as &dyn std::error::Error, generation, "the service does not come up with the new configuration; it goes back to the last good one");
        self.fleet.shared.board.update(name, |entry| entry.config_problem = Some(problem));
        if let Err(error) = self.fleet.shared.launcher.hand_over(name, before) {
            error!(service = %name, error = &error as &dyn std::error::Error, "the last good configuration could not be handed over");
        }
        // The edge's previous process is still there, with what it had.
        if name != ServiceName::Edge
            && let Err(error) = self.fleet.restart(name.as_str()).await
        {
            error!(service = %name, error = &error as &dyn std::error::Error, "the service does not come up with the last good configuration either");
        }
        false
    }

    fn refuse(&self, problems: &[Problem]) {
        let words = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        warn!("config reload skipped (invalid config): {words}");
        self.lock().problem = Some(format!("invalid config: {words}"));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What only the next start of the gateway takes over.
fn pending(plan: &Plan, mode: ReloadMode) -> Option<String> {
    if !plan.gateway.is_empty() {
        return Some(format!("config change requires gateway restart ({})", plan.gateway.join(", ")));
    }
    let why = if mode == ReloadMode::Off {
        "gateway.reload.mode=off leaves"
    } else {
        "config reload requires gateway restart; hot mode ignoring"
    };
    (!plan.ignored.is_empty()).then(|| format!("{why} ({})", plan.ignored.join(", ")))
}

/// Writes a configuration for one service, whose included files are in their places; variables are not replaced.
pub(crate) fn write(path: &Path, value: &Value) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    files::write_atomic(path, value.to_string().as_bytes(), 0o600)
}
