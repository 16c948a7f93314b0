//! All services of one gateway together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{error, info, warn};
use verso_kit::peer::Caller;
use verso_proto::supervisor::v1::{ApplyRequest, NoticeRequest};

use crate::board::State;
use crate::budget::Budget;
use crate::error::Error;
use crate::keeper::{Command, Keeper, Shared, Sockets, Waiter};
use crate::service_name::ServiceName;
use crate::sockets::{Control, Ports};

/// Commands that may wait for one keeper.
const COMMANDS_MAX: usize = 8;

/// The handle to every keeper.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) shared: Arc<Shared>,
    handles: Arc<BTreeMap<ServiceName, Handle>>,
    /// Whether all services are being restarted one by one.
    pub(crate) rolling: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
}

impl Fleet {
    /// Binds the control sockets and starts all services at once.
    pub(crate) async fn start(services: &[ServiceName], mut ports: Ports, shared: Arc<Shared>) -> Result<Self, Error> {
        let mut handles = BTreeMap::new();
        let mut keepers = Vec::new();
        for &name in services {
            let control = Control::bind(shared.launcher.run_dir(), name)?;
            let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
            let stop = CancellationToken::new();
            keepers.push(Keeper {
                name,
                shared: Arc::clone(&shared),
                sockets: Sockets { control, ports: ports.take(name) },
                commands: receiver,
                stop: stop.clone(),
                budget: Budget::default(),
                waiters: Vec::new(),
                excess: None,
            });
            handles.insert(name, Handle { commands, stop });
        }
        let epochs = shared.epochs.mint_all(services).await?;
        for (keeper, epoch) in keepers.into_iter().zip(epochs) {
            shared.tasks.spawn("keeper", keeper.run(epoch));
        }
        Ok(Self { shared, handles: Arc::new(handles), rolling: Arc::default() })
    }

    /// Returns the service of that name.
    pub(crate) fn named(&self, name: &str) -> Result<ServiceName, Error> {
        let known = || self.handles.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let found = name.parse().ok().filter(|name| self.handles.contains_key(name));
        found.ok_or_else(|| Error::UnknownService { name: name.to_owned(), known: known() })
    }

    /// Restarts the service of that name and waits until it serves again.
    pub(crate) async fn restart(&self, name: &str) -> Result<ServiceName, Error> {
        self.command(self.named(name)?, Command::Restart).await
    }

    /// Stops the service of that name for good, and waits until it has stopped. It may take `deadline`, instead of what any stop may take.
    pub(crate) async fn drain(&self, name: &str, deadline: Option<Duration>) -> Result<ServiceName, Error> {
        let name = self.named(name)?;
        if name == ServiceName::Edge {
            return Err(Error::EdgeStays);
        }
        self.command(name, |waiter| Command::Drain { deadline, waiter }).await
    }

    /// Replaces the process of an incarnation that uses more than it may, and waits until its successor serves.
    pub(crate) async fn recycle(&self, name: ServiceName, epoch: u64, why: String) -> Result<ServiceName, Error> {
        self.command(name, |waiter| Command::Recycle { epoch, why, waiter }).await
    }

    /// Kills the process of an incarnation that uses far more than it may.
    pub(crate) async fn end(&self, name: ServiceName, epoch: u64, why: String) {
        if let Some(handle) = self.handles.get(&name) {
            // A keeper that is gone has ended its process.
            drop(handle.commands.send(Command::End { epoch, why }).await);
        }
    }

    async fn command(&self, name: ServiceName, command: impl FnOnce(Waiter) -> Command) -> Result<ServiceName, Error> {
        let (waiter, done) = oneshot::channel();
        let handle = self.handles.get(&name).ok_or(Error::Stopping)?;
        handle.commands.send(command(waiter)).await.map_err(|_| Error::Stopping)?;
        match done.await {
            Ok(Ok(())) => Ok(name),
            Ok(Err(why)) => Err(Error::NotUp { name, why }),
            Err(_) => Err(Error::Stopping),
        }
    }

    /// Restarts all services one by one, the edge last, so that its clients come back to services that are ready.
    pub(crate) fn roll(&self) {
        if self.rolling.swap(true, Ordering::AcqRel) {
            warn!("rolling restart already under way");
            return;
        }
        let fleet = self.clone();
        self.shared.tasks.spawn("rolling restart", async move {
            for name in fleet.names() {
                if let Err(error) = fleet.restart(name.as_str()).await {
                    // What stopped this one would stop the next one too.
                    error!(service = %name, error = &error as &dyn std::error::Error, "rolling restart abandoned");
                    break;
                }
            }
            fleet.rolling.store(false, Ordering::Release);
            info!("rolling restart over");
        });
    }

    /// The services, the edge last.
    pub(crate) fn names(&self) -> Vec<ServiceName> {
        let (edge, mut names): (Vec<ServiceName>, Vec<ServiceName>) =
            self.handles.keys().copied().partition(|name| *name == ServiceName::Edge);
        names.extend(edge);
        names
    }

    /// Whether the service runs here.
    pub(crate) fn has(&self, name: ServiceName) -> bool {
        self.handles.contains_key(&name)
    }

    /// Has one process put in force what was handed to it. It may refuse, and says why.
    pub(crate) async fn apply(&self, name: ServiceName, generation: u64) -> Result<Option<String>, Status> {
        Ok(self.shared.launcher.peer(name).call(ApplyRequest { generation }, &Caller::default()).await?.refusal)
    }

    /// Tells the edge that there is news about the services. One that does not answer asks by itself sooner or later.
    pub(crate) async fn notice(&self) {
        drop(self.shared.launcher.peer(ServiceName::Edge).call(NoticeRequest {}, &Caller::default()).await);
    }

    /// Tells all processes to read their configuration again.
    pub(crate) fn reload(&self) {
        for (name, handle) in self.handles.iter() {
            if handle.commands.try_send(Command::Reload).is_err() {
                warn!(service = %name, "reload not delivered");
            }
        }
    }

    /// Stops everything: the edge first, so that its clients hear of it, then the others.
    pub(crate) async fn stop(&self) {
        if let Some(edge) = self.handles.get(&ServiceName::Edge) {
            edge.stop.cancel();
            self.shared.board.reached(&[ServiceName::Edge], State::Stopped).await;
        }
        for handle in self.handles.values() {
            handle.stop.cancel();
        }
        self.shared.tasks.clone().join().await;
    }
}
