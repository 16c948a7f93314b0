//! `connect`: every check in the order that clients rely on, then the connection's place among the others.

mod identify;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tracing::info;
use verso_kit::trace::{self, TraceContext};
use verso_proto::edge::v1::{ConnectRequest, GrantedAuth};
use verso_proto::methods::Call as _;
use verso_proto::presence::v1::AnnounceRequest as PresenceAnnounce;
use verso_proto::wire::v1::Principal;
use verso_protocol::auth::{Peer, PeerRole, ScopeSet, SharedMethod, VerifiedDevice};
use verso_protocol::close::Close;
use verso_protocol::frames::{Rejected, RequestFrame, response_error};
use verso_protocol::{Adapter, ErrorShape, Version, validation};

use super::{Refusal, hello};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::journal::Resume;
use crate::metrics;
use crate::outlet::Outlet;
use crate::request_facts::Facts;
use crate::roster;

/// How long the presence service may take to answer a handshake; after that the last known list has to do.
const PRESENCE_WAIT: Duration = Duration::from_millis(500);

/// A failed `connect`: the error for the client, and how the connection then closes.
type Failure = (ErrorShape, Close);

/// One attempt to connect.
struct Attempt<'a> {
    gateway: &'a Arc<Gateway>,
    /// In force when the attempt began.
    config: Arc<Config>,
    facts: &'a Facts,
    nonce: &'a str,
    request: ConnectRequest,
    version: Version,
    role: PeerRole,
}

/// Who a connection turned out to be.
struct Identity {
    device: Option<VerifiedDevice>,
    /// The person whom somebody vouched for.
    user: Option<String>,
    method: SharedMethod,
    scopes: Vec<String>,
    auth: GrantedAuth,
}

/// Answers the first frame of a connection.
pub(super) async fn connect(
    gateway: &Arc<Gateway>,
    text: &str,
    nonce: &str,
    facts: &Facts,
    conn_id: String,
) -> Result<Arc<Outlet>, Refusal> {
    let frame = RequestFrame::parse(text, Version::V3).map_err(|rejected| match rejected {
        Rejected::NotJson => Close::NORMAL,
        Rejected::NotARequest { .. } => Close::INVALID_FRAME,
    })?;
    let wording = Version::announced(frame.params);
    let refuse = |version: Version, (error, close): Failure| {
        metrics::refused(&error);
        Refusal { response: Some(response_error(&frame.id, &Adapter::new(version).error(error))), close }
    };
    let (request, version) = parse(&frame, wording).map_err(|failure| refuse(wording, failure))?;
    let role = PeerRole::parse(request.role.as_deref()).map_err(|error| refuse(version, closing(error)))?;
    let attempt = Attempt { gateway, config: gateway.config(), facts, nonce, request, version, role };
    let identity = attempt.identify().await.map_err(|failure| {
        attempt.note(&failure.0);
        refuse(version, failure)
    })?;
    Ok(attempt.settle(identity, &frame.id, conn_id).await)
}

/// Tells the node service of a new node, once the connection has its place: what the service has to say to it finds it there, behind
/// the greeting. A service that is away is told when it is back.
pub(super) async fn introduce(gateway: &Arc<Gateway>, conn_id: &str) {
    if let Some(node) = gateway.roster.node(conn_id) {
        let telling = tokio::time::timeout(PRESENCE_WAIT, gateway.services.call(node));
        if !matches!(trace::scope(TraceContext::generate(), telling).await, Ok(Ok(_))) {
            gateway.roster.missed_by(roster::NODE, None);
        }
    }
}

/// Forgets a connection, and tells the services that it is gone.
pub(crate) fn leave(gateway: &Arc<Gateway>, conn_id: &str) {
    gateway.capabilities.left(conn_id);
    let Some(announced) = gateway.roster.remove(conn_id) else { return };
    let told = Arc::clone(gateway);
    gateway.tasks.spawn("farewell", async move {
        if let Some(presence) = announced.presence {
            // A presence service that is away rebuilds its list without this connection; one that stands still forgets it in a while.
            drop(told.services.call(roster::presence_farewell(*presence, told.context.clock.now_ms())).await);
            told.presence_list.void();
        }
        if let Some(node) = announced.node.map(|node| roster::node_farewell(*node))
            && told.services.call(node.clone()).await.is_err()
        {
            told.roster.missed_by(roster::NODE, Some(node));
        }
    });
}

/// Reads and checks the parameters, and settles the version.
fn parse(frame: &RequestFrame<'_>, wording: Version) -> Result<(ConnectRequest, Version), Failure> {
    if frame.method != "connect" {
        return Err(closing(ErrorShape::invalid("invalid handshake: first request must be connect")));
    }
    let params = frame.params.map_or("{}", RawValue::get);
    validation::check(wording, ConnectRequest::METHOD, frame.params).map_err(|message| closing(ErrorShape::invalid(message)))?;
    let request: ConnectRequest =
        serde_json::from_str(params).map_err(|error| closing(ErrorShape::invalid(validation::unreadable("connect", &error))))?;
    let version = Version::negotiate(request.min_protocol, request.max_protocol).map_err(|error| (error, Close::PROTOCOL_MISMATCH))?;
    Ok((request, version))
}

/// Most refusals close with their own message.
fn closing(error: ErrorShape) -> Failure {
    let close = Close::refused(&error);
    (error, close)
}

impl Attempt<'_> {
    /// Writes down who was refused and why, so that an operator can find out later. What he presented is not written.
    fn note(&self, error: &ErrorShape) {
        info!(
            client = self.request.client.as_ref().map(|client| client.id.as_str()).unwrap_or_default(),
            device = self.request.device.as_ref().map(|device| device.id.as_str()).unwrap_or_default(),
            address = %self.facts.client_ip,
            code = error.detail("code").as_deref().unwrap_or(error.code.as_str()),
            reason = error.message.as_ref(),
            "connect refused"
        );
    }

    /// Gives the connection its place: announced, greeted, and reached by events from here on.
    async fn settle(self, identity: Identity, frame_id: &str, conn_id: String) -> Arc<Outlet> {
        let gateway = self.gateway;
        let peer = Peer { version: self.version, role: self.role, scopes: ScopeSet::from_names(&identity.scopes) };
        let principal = self.principal(&identity, &conn_id);
        let announced = hello::announcements(&self.request, &identity.auth, &principal, self.facts, gateway.context.clock.now_ms());
        gateway.roster.add(&conn_id, announced.clone());
        trace::scope(TraceContext::generate(), announce_presence(gateway, announced.presence)).await;
        let outlet = Outlet::new(conn_id, peer, gateway.context.vouch(principal))
            .admitted_by(identity.method)
            .reading(&self.request.caps)
            .reached_at(self.facts.base());
        let outlet = Arc::new(outlet);
        let canvas = hello::canvas(gateway, &outlet, self.facts).await;
        let greeting = hello::response(gateway, &outlet, identity.auth, self.facts, canvas);
        outlet.respond(hello::frame(frame_id, self.version, &greeting), &gateway.limits);
        let resume = self.request.resume.clone().map(Resume::from);
        gateway.connections.add(Arc::clone(&outlet), resume.as_ref(), &gateway.limits);
        gateway.close_if_overtaken(&outlet, &self.config);
        if let Some(device_id) = &outlet.device_id {
            gateway.devices.saw(device_id, "connect");
        }
        gateway.health.request_refresh();
        outlet
    }

    fn principal(&self, identity: &Identity, conn_id: &str) -> Principal {
        let client = self.request.client.clone().unwrap_or_default();
        Principal {
            conn_id: conn_id.to_owned(),
            role: self.role.as_str().to_owned(),
            scopes: identity.scopes.clone(),
            device_id: identity.device.as_ref().map(|device| device.id.clone()),
            client_id: client.id,
            client_mode: client.mode,
            display_name: client.display_name,
            instance_id: client.instance_id,
            protocol: self.version.number(),
            user: identity.user.clone(),
        }
    }
}

/// Tells the presence service of a new connection. A service that is away is told when it is back.
async fn announce_presence(gateway: &Arc<Gateway>, presence: Option<Box<PresenceAnnounce>>) {
    let Some(presence) = presence else { return };
    match tokio::time::timeout(PRESENCE_WAIT, gateway.services.call(*presence)).await {
        Ok(Ok(answer)) => gateway.saw_presence_list(answer.version, answer.entries),
        Ok(Err(_)) | Err(_) => gateway.roster.missed_by(roster::PRESENCE, None),
    }
}
