//! Agents: sessions, transcripts, the journal of runs, and the models that answer.
//!
//! The service's state is one `SQLite` database in its own folder. A run is written there before it is acknowledged, and its end
//! before anybody hears of it; see `README.md` for what that promises.

mod agents;
mod attachments;
mod avatars;
mod chat;
mod commands;
mod compaction;
mod config;
mod cron;
mod delivery;
mod embeddings;
mod enclosures;
mod error;
mod export;
mod grpc;
mod heartbeat;
mod hooks;
mod import;
mod inbound;
mod keys;
mod lanes;
mod messages;
mod metrics;
mod models;
mod parts;
mod prompt;
mod provider;
mod reply;
mod roster;
mod routing;
mod runs;
mod sessions;
mod skills;
mod status;
mod store;
mod summary;
mod system_events;
mod tools;
mod tts;
mod usage;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::service::Routes;
use verso_kit::CancellationToken;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

pub use error::Error;
pub use export::{Report as ExportReport, export};
pub use import::{Left, Report as ImportReport, Taken, import};

use cron::Cron;
use heartbeat::Heartbeats;
use parts::Parts;
use runs::Runs;

/// How long the tasks of a stopping service may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// So many changes of the configuration a turn under way outlives with all of its tools.
const RELOADS_OUTLIVED: usize = 16;

/// The service, ready to be served. Dropping it without [`Service::stop`] is like killing it.
#[derive(Debug)]
pub struct Service {
    tasks: Tasks,
    present: Mutex<Present>,
}

/// What works with the present configuration.
#[derive(Debug, Clone)]
struct Present {
    runs: Runs,
    heartbeats: Heartbeats,
    cron: Arc<Cron>,
    /// What turns that are under way were lent, the newest first.
    lent: Vec<Arc<Cron>>,
    /// Triggered when another configuration is in force: what watches the clock under this one stops.
    replaced: CancellationToken,
}

impl Service {
    /// Opens the database, shuts earlier incarnations out of it and takes over the runs that they left behind.
    pub async fn open(context: &Context, shutdown: CancellationToken) -> Result<Self, Error> {
        let tasks = Tasks::new(shutdown);
        let parts = Arc::new(Parts::open(context, &tasks).await?);
        let runs = Runs::new(Arc::clone(&parts), tasks.clone());
        metrics::start(&runs.parts);
        runs.recover().await?;
        delivery::recover(&runs).await?;
        runs.start_pruning();
        runs.watch_over(&context.config.section("diagnostics")?);
        let replaced = CancellationToken::new();
        let heartbeats = Heartbeats::new(runs.clone());
        heartbeats.start(replaced.clone());
        let cron = Arc::new(Cron::new(heartbeats.clone()));
        parts.toolbox.lend(&cron);
        cron.start(replaced.clone()).await?;
        search_models(&tasks, parts);
        Ok(Self { tasks, present: Mutex::new(Present { runs, heartbeats, cron, lent: Vec::new(), replaced }) })
    }

    /// Puts the configuration of `context` in force, or changes nothing. Runs under way are finished by the one that they began with.
    pub fn take_over(&self, context: &Context) -> Result<Routes, Error> {
        let before = self.present();
        let servers = context.config.section("mcp.servers")?;
        let parts = Arc::new(before.runs.parts.renewed(context)?);
        let runs = before.runs.with_parts(Arc::clone(&parts));
        let replaced = CancellationToken::new();
        let heartbeats = before.heartbeats.renewed(runs.clone());
        let cron = Arc::new(before.cron.renewed(heartbeats.clone()));
        parts.toolbox.lend(&cron);
        parts.toolbox.use_servers(servers);
        before.replaced.cancel();
        heartbeats.start(replaced.clone());
        cron.watch_the_clock(replaced.clone());
        search_models(&self.tasks, parts);
        let lent = std::iter::once(before.cron).chain(before.lent).take(RELOADS_OUTLIVED).collect();
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Present { runs, heartbeats, cron, lent, replaced };
        Ok(self.routes())
    }

    fn present(&self) -> Present {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the service cannot go on.
    pub async fn failed(&self) -> Error {
        self.present().runs.parts.store.failed().await.into()
    }

    /// Ends the service. Runs that are under way stay in the journal, for the next incarnation to go on with.
    pub async fn stop(&self) -> Result<(), Error> {
        self.tasks.shutdown().cancel();
        let panicked = self.tasks.failed();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.clone().join()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        if panicked { Err(Error::Panicked) } else { Ok(()) }
    }
}

/// Nobody waits for this: until it is over, the offline responder is the default model.
fn search_models(tasks: &Tasks, parts: Arc<Parts>) {
    tasks.spawn("model search", async move {
        parts.catalog.default(&parts.clients).await;
    });
}

/// Runs the service until `shutdown`.
pub async fn serve(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    let service = Arc::new(Service::open(&context, shutdown.clone()).await?);
    let (taking, given) = (Arc::clone(&service), context.clone());
    context.reload.on_change(move |config| {
        let taken = taking.take_over(&Context { config, ..given.clone() });
        async move { taken.map(Some).map_err(|error| error.to_string()) }
    });
    let result = tokio::select! {
        result = verso_kit::grpc::serve(&context, service.routes(), shutdown.clone()) => result.map_err(Error::from),
        error = service.failed() => Err(error),
    };
    shutdown.cancel();
    let stopped = service.stop().await;
    result.and(stopped)
}
