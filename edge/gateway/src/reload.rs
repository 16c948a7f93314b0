//! Takes over changes of the configuration that need no restart.

use std::sync::Arc;

use tracing::{info, warn};
use verso_config::{Action, Plan, Settings, Snapshot, Watch, changed_paths};
use verso_kit::config::File;
use verso_kit::service::reload_requests;

use crate::config::Config;
use crate::gateway::Gateway;

/// Follows the supervisor's word that the configuration has changed; without a supervisor, the file itself.
pub(crate) fn follow(gateway: &Arc<Gateway>) {
    let house = Arc::clone(gateway);
    let shutdown = gateway.tasks.shutdown().clone();
    gateway.tasks.spawn("reload", async move {
        let mut asked = reload_requests();
        let alone = house.context.env.get("VERSO_SUPERVISOR_PID").is_none();
        let mut watch = alone.then(|| Watch::new(&files(&house)));
        loop {
            let rest = std::time::Duration::from_millis(Settings::of(house.running_config().value()).debounce_ms);
            let touched = async {
                match &mut watch {
                    Some(watch) => watch.changed(rest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                heard = asked.changed() => if heard.is_err() { return },
                () = touched => {}
            }
            take_over(&house, alone);
            if let Some(watch) = &mut watch {
                watch.follow(&files(&house));
            }
        }
    });
}

fn files(gateway: &Gateway) -> Vec<std::path::PathBuf> {
    let files = gateway.running_config().files().to_vec();
    if files.is_empty() { vec![gateway.config_path()] } else { files }
}

/// Reads the configuration and puts it in force. One that cannot be used changes nothing.
fn take_over(gateway: &Gateway, alone: bool) {
    if alone {
        let snapshot = Snapshot::read(&gateway.config_path(), &gateway.context.env);
        if !snapshot.is_valid() {
            let words = snapshot.problems.iter().chain(&snapshot.legacy).map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return warn!("config reload skipped (invalid config): {words}");
        }
    }
    let read = gateway.context.reread_config().and_then(|file| Ok((Config::load(&file, &gateway.context.env)?, file)));
    let (config, file) = match read {
        Ok(read) => read,
        Err(error) => return warn!(error = &error as &dyn std::error::Error, "config reload skipped (invalid config)"),
    };
    if alone {
        warn_of_the_rest(&gateway.running_config(), &file);
    }
    gateway.replace_config(Arc::new(file), config);
    info!("config hot reload applied");
}

/// Nobody restarts a process that runs alone; its operator hears what waits for that.
fn warn_of_the_rest(before: &File, after: &File) {
    let plan = Plan::of(&changed_paths(before.value(), after.value()), Settings::of(after.value()).mode);
    if !plan.gateway.is_empty() || plan.services.get("edge") == Some(&Action::Restart) {
        warn!("config change requires a restart of this process ({})", plan.gateway.join(", "));
    }
}
