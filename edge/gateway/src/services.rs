//! The other services, by the name of their gRPC service.

use std::collections::BTreeMap;

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
}

impl Services {
    pub(crate) fn new(context: &Context) -> Self {
        let names = METHODS.iter().map(|method| method.service).filter(|service| !service.starts_with(LOCAL));
        Self { peers: names.map(process_name).map(|process| (process, context.peer(process))).collect() }
    }

    /// Returns the service that answers a method.
    pub(crate) fn of(&self, service: &str) -> Result<&Peer, Status> {
        self.peers.get(process_name(service)).ok_or_else(|| Status::unimplemented(format!("no process serves {service}")))
    }

    /// Returns every process but the edge's own.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&'static str, &Peer)> {
        self.peers.iter().filter(|(name, _)| !OF_NO_PROCESS.contains(name)).map(|(name, peer)| (*name, peer))
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
