//! Follows the configuration: reads it when it changes, and has the services that the change concerns take it over.

mod carry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use verso_config::{Plan, Problem, ReloadMode, Settings, Watch, changed_paths};
use verso_kit::files;

use crate::config::{Reading, Source};
use crate::fleet::Fleet;
use crate::service_name::ServiceName;

/// How many paths a line of the log names.
const PATHS_NAMED: usize = 20;

/// The configuration that the services work with.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: Source,
    fleet: Fleet,
    state: Mutex<State>,
    /// One change at a time, whoever makes it.
    turn: tokio::sync::Mutex<()>,
    asked: Notify,
    restart_on_signal: AtomicBool,
}

/// What is known of it.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Counts the accepted changes, from 1.
    pub(crate) generation: u64,
    pub(crate) value: Arc<Value>,
    /// What each service works with: the newest, unless it did not get on with that.
    own: BTreeMap<ServiceName, Arc<Value>>,
    files: Vec<PathBuf>,
    /// Why the file as it is now is not in effect.
    pub(crate) problem: Option<String>,
}

impl Reloader {
    pub(crate) fn new(source: Source, first: &Reading, fleet: Fleet) -> Self {
        let value = Arc::new(first.value.clone());
        let own = ServiceName::ALL.into_iter().map(|name| (name, Arc::clone(&value))).collect();
        let state = State { generation: 1, value, own, files: first.files.clone(), problem: None };
        let restart_on_signal = AtomicBool::new(first.restart_on_signal);
        Self { source, fleet, state: Mutex::new(state), turn: tokio::sync::Mutex::default(), asked: Notify::new(), restart_on_signal }
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
        let _turn = self.turn.lock().await;
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
        info!("config change detected; evaluating reload ({})", named(&changed));
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
            warn!("no rule says what a change of {} does; every service is restarted", named(&plan.unknown));
        }
        if plan.is_empty() {
            info!("config change applied (dynamic reads: {})", named(&plan.unnoticed));
        }
        let generation = before.generation + 1;
        let value = Arc::new(next.value);
        {
            let mut state = self.lock();
            (state.generation, state.problem) = (generation, pending);
            state.value = Arc::clone(&value);
        }
        let old_secrets = self.fleet.shared.launcher.set_secrets(next.secrets);
        self.carry_out(&carry::Change { generation, value, mode, old_secrets }).await;
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

/// Names paths; of very many, the first ones.
fn named(paths: &[String]) -> String {
    let shown = paths.iter().take(PATHS_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if paths.len() > PATHS_NAMED { format!("{shown} and {} more", paths.len() - PATHS_NAMED) } else { shown }
}

/// What only the next start of the gateway takes over.
fn pending(plan: &Plan, mode: ReloadMode) -> Option<String> {
    if !plan.gateway.is_empty() {
        return Some(format!("config change requires gateway restart ({})", named(&plan.gateway)));
    }
    let why = if mode == ReloadMode::Off {
        "gateway.reload.mode=off leaves"
    } else {
        "config reload requires gateway restart; hot mode ignoring"
    };
    (!plan.ignored.is_empty()).then(|| format!("{why} ({})", named(&plan.ignored)))
}

/// Writes a configuration for one service, whose included files are in their places; variables are not replaced.
pub(crate) fn write(path: &Path, value: &Value) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    files::write_atomic(path, value.to_string().as_bytes(), 0o600)
}
