//! The other services, by the name of their gRPC service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Status;
use verso_kit::peer::{Caller, Peer};
use verso_kit::service::Context;
use verso_proto::methods::{Call, METHODS, Method};

/// Methods of the services in this package are answered by the edge itself.
const LOCAL: &str = "verso.edge.v1.";

/// Packages that no process of their own serves: adapters of chat networks do, and every edge for its successor.
const OF_NO_PROCESS: [&str; 2] = ["adapter", "upkeep"];

/// Connections to every service that the contract knows.
#[derive(Debug)]
pub(crate) struct Services {
    peers: BTreeMap<&'static str, Peer>,
    /// Calls of clients that each process is answering.
    answering: BTreeMap<&'static str, Arc<AtomicUsize>>,
}

/// One call that is being answered; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Answering(Arc<AtomicUsize>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Services {
    pub(crate) fn new(context: &Context) -> Self {
        let names = METHODS.iter().map(|method| method.service).filter(|service| !service.starts_with(LOCAL));
        let peers: BTreeMap<_, _> = names.map(process_name).map(|process| (process, context.peer(process))).collect();
        let answering = peers.keys().map(|process| (*process, Arc::default())).collect();
        Self { peers, answering }
    }

    /// Returns the service that answers a method.
    pub(crate) fn of(&self, service: &str) -> Result<&Peer, Status> {
        self.peers.get(process_name(service)).ok_or_else(|| Status::unimplemented(format!("no process serves {service}")))
    }

    /// Returns every process but the edge's own.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&'static str, &Peer)> {
        self.peers.iter().filter(|(name, _)| !OF_NO_PROCESS.contains(name)).map(|(name, peer)| (*name, peer))
    }

    /// Begins a client's call of a process; none when that has as many as it may have at once.
    pub(crate) fn begin(&self, process: &str, most: usize) -> Option<Answering> {
        let count = self.answering.get(process)?;
        let before = count.fetch_add(1, Ordering::Relaxed);
        // One that is refused takes a place for a moment, and gives it back right away.
        let answering = Answering(Arc::clone(count));
        (before < most).then_some(answering)
    }

    /// Calls another service on the edge's own behalf.
    pub(crate) async fn call<C: Call>(&self, request: C) -> Result<C::Response, Status> {
        self.of(C::METHOD.service)?.call(request, &Caller::default()).await
    }
}

/// `verso.agent.v1.Agent` runs in the process `agent`.
pub(crate) fn process_name(service: &str) -> &str {
    service.split('.').nth(1).unwrap_or(service)
}

/// Whether the edge answers a method itself.
pub(crate) fn is_local(method: &Method) -> bool {
    method.service.starts_with(LOCAL)
}
