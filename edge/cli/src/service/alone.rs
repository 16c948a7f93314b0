//! A service without our supervisor follows the configuration file by itself: in a unit or a container of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{info, warn};
use verso_config::{Action, Plan, Settings, Snapshot, Watch, changed_paths};
use verso_kit::CancellationToken;
use verso_kit::config::File;
use verso_kit::service::{Context, reload_requests};
use verso_kit::tasks::Tasks;
use verso_supervisor::ServiceName;

/// Tells whoever runs services here that this one ended to be started again with another configuration.
const STARTED_AGAIN: u8 = 75;

/// What became of following.
pub(super) struct Follower {
    to_be_restarted: Arc<AtomicBool>,
}

impl Follower {
    /// How the process ends.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.to_be_restarted.load(Ordering::Relaxed) { ExitCode::from(STARTED_AGAIN) } else { ExitCode::SUCCESS }
    }
}

/// Follows SIGHUP; without a supervisor, the file too. What cannot be taken over while the service runs ends it.
pub(super) fn follow(name: ServiceName, context: &Context, shutdown: &CancellationToken) -> Follower {
    let to_be_restarted = Arc::new(AtomicBool::new(false));
    let follower = Following {
        name,
        alone: context.env.get("VERSO_SUPERVISOR_PID").is_none(),
        context: context.clone(),
        shutdown: shutdown.clone(),
        to_be_restarted: Arc::clone(&to_be_restarted),
    };
    Tasks::new(shutdown.clone()).spawn("reload", follower.run());
    Follower { to_be_restarted }
}

struct Following {
    name: ServiceName,
    alone: bool,
    context: Context,
    shutdown: CancellationToken,
    to_be_restarted: Arc<AtomicBool>,
}

impl Following {
    async fn run(self) {
        let mut asked = reload_requests();
        let mut present = (*self.context.config).clone();
        let mut watch = self.alone.then(|| Watch::new(&self.files(&present)));
        loop {
            let rest = Duration::from_millis(Settings::of(present.value()).debounce_ms);
            let touched = async {
                match &mut watch {
                    Some(watch) => watch.changed(rest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                heard = asked.changed() => if heard.is_err() { return },
                () = touched => {}
            }
            if let Some(file) = self.take_over(&present).await {
                present = file;
            }
            if let Some(watch) = &mut watch {
                watch.follow(&self.files(&present));
            }
        }
    }

    fn files(&self, file: &File) -> Vec<std::path::PathBuf> {
        let files = file.files().to_vec();
        if files.is_empty() { vec![self.context.config.path().to_owned()] } else { files }
    }

    /// Reads the configuration and does what the difference asks of this service. Returns what is in force then, if that is another.
    async fn take_over(&self, present: &File) -> Option<File> {
        if self.alone {
            let snapshot = Snapshot::read(self.context.config.path(), &self.context.env);
            if !snapshot.is_valid() {
                let words = snapshot.problems.iter().chain(&snapshot.legacy).map(ToString::to_string).collect::<Vec<_>>().join(", ");
                warn!("config reload skipped (invalid config): {words}");
                return None;
            }
        }
        let file = match self.context.reread_config() {
            Ok(file) => file,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "config reload skipped (invalid config)");
                return None;
            }
        };
        let plan = Plan::of(&changed_paths(present.value(), file.value()), Settings::of(file.value()).mode);
        let action = plan.services.get(self.name.as_str());
        if self.alone && action == Some(&Action::Restart) {
            info!("config change requires a restart of the service; it stops to be started again");
            self.to_be_restarted.store(true, Ordering::Relaxed);
            self.shutdown.cancel();
            return None;
        }
        if self.alone && !plan.gateway.is_empty() && self.name == ServiceName::Edge {
            warn!("config change requires a restart of this process ({})", plan.gateway.join(", "));
        }
        // Under a supervisor, which compares, a signal means: read it again.
        if self.alone && action.is_none() {
            return Some(file);
        }
        match self.context.reload.apply(file.clone()).await {
            Ok(()) => Some(file),
            Err(reason) => {
                warn!(reason, "configuration refused; the present one stays");
                None
            }
        }
    }
}
