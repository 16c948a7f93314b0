//! `connect`: every check in the order that clients rely on, then the connection's place among the others.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use verso_kit::trace::{self, TraceContext};
use verso_proto::edge::v1::{ConnectRequest, DevicePairResolved, GrantedAuth};
use verso_proto::methods::Call as _;
use verso_proto::presence::v1::AnnounceRequest as PresenceAnnounce;
use verso_proto::wire::v1::Principal;
use verso_protocol::auth::{
    Challenge, Deviceless, Peer, PeerRole, Refusal as Refused, RefusalFacts, ScopeSet, SharedMethod, VerifiedDevice, Waiting,
    admit_without_device, check_origin, check_shared, device_token_candidates, is_web_client, pairing_required, requested_scopes,
    verify_device,
};
use verso_protocol::close::Close;
use verso_protocol::frames::{Rejected, RequestFrame, response_error};
use verso_protocol::{Adapter, ErrorShape, Version, validation};

use super::{Refusal, hello};
use crate::devices::Claim;
use crate::error::fault;
use crate::gateway::Gateway;
use crate::outlet::Outlet;
use crate::request_facts::Facts;

/// How long the presence service may take to answer a handshake; after that the last known list has to do.
const PRESENCE_WAIT: Duration = Duration::from_millis(500);

/// A failed `connect`: the error for the client, and how the connection then closes.
type Failure = (ErrorShape, Close);

/// One attempt to connect.
struct Attempt<'a> {
    gateway: &'a Arc<Gateway>,
    facts: &'a Facts,
    nonce: &'a str,
    request: ConnectRequest,
    version: Version,
    role: PeerRole,
}

/// Who a connection turned out to be.
struct Identity {
    device: Option<VerifiedDevice>,
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
    let refuse = |version: Version, (error, close): Failure| Refusal {
        response: Some(response_error(&frame.id, &Adapter::new(version).error(error))),
        close,
    };
    let (request, version) = parse(&frame, wording).map_err(|failure| refuse(wording, failure))?;
    let role = PeerRole::parse(request.role.as_deref()).map_err(|error| refuse(version, closing(error)))?;
    let attempt = Attempt { gateway, facts, nonce, request, version, role };
    let identity = attempt.identify().await.map_err(|failure| refuse(version, failure))?;
    Ok(attempt.settle(identity, &frame.id, conn_id).await)
}

/// Tells the node service of a new node, once the connection has its place: what the service has to say to it finds it there, behind
/// the greeting. A service that is away is told when it is back.
pub(super) async fn introduce(gateway: &Arc<Gateway>, conn_id: &str) {
    if let Some(node) = gateway.roster.node(conn_id) {
        let telling = tokio::time::timeout(PRESENCE_WAIT, gateway.services.call(node));
        drop(trace::scope(TraceContext::generate(), telling).await);
    }
}

/// Forgets a connection, and tells the services that it is gone.
pub(super) fn leave(gateway: &Arc<Gateway>, conn_id: &str) {
    let Some(announced) = gateway.roster.remove(conn_id) else { return };
    let told = Arc::clone(gateway);
    gateway.tasks.spawn("farewell", async move {
        if let Some(mut presence) = announced.presence {
            if let Some(entry) = &mut presence.entry {
                entry.reason = Some("disconnect".to_owned());
                entry.ts_ms = told.context.clock.now_ms();
            }
            presence.broadcast = true;
            // A presence service that is away rebuilds its list without this connection.
            drop(told.services.call(*presence).await);
        }
        if let Some(mut node) = announced.node {
            if let Some(info) = &mut node.node {
                info.connected = false;
            }
            drop(told.services.call(*node).await);
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
    /// Finds out who is asking and what he may do.
    async fn identify(&self) -> Result<Identity, Failure> {
        let client = self.request.client.clone().unwrap_or_default();
        check_origin(&self.facts.rules(self.gateway), &client, self.version).map_err(closing)?;
        let Some(proof) = &self.request.device else {
            return self.identify_without_device().await;
        };
        let challenge =
            Challenge { nonce: self.nonce, now_ms: self.gateway.context.clock.now_ms(), local: self.facts.local, version: self.version };
        let device = verify_device(&self.request, proof, &challenge).map_err(closing)?;
        self.identify_device(device).await
    }

    async fn identify_without_device(&self) -> Result<Identity, Failure> {
        let client = self.request.client.clone().unwrap_or_default();
        self.refuse_locked().map_err(closing)?;
        let shared = self.check_shared();
        let admitted = admit_without_device(&Deviceless {
            version: self.version,
            role: self.role,
            client: &client,
            credentials: self.request.auth.as_ref(),
            scopes: self.asked_scopes(),
            shared,
            direct_local: self.facts.local,
            control_ui: self.gateway.config.control_ui.policy,
        });
        let scopes = match admitted {
            Ok(scopes) => scopes,
            Err(error) => {
                self.count_failure(shared.err()).await;
                return Err(closing(error));
            }
        };
        self.gateway.failed_auth.succeeded(self.facts.client_ip);
        let method = shared.map_or(SharedMethod::None, |method| method);
        Ok(Identity { device: None, auth: self.granted(method, &scopes), scopes })
    }

    /// A device that has proven its key still needs a secret, and to be paired.
    async fn identify_device(&self, device: VerifiedDevice) -> Result<Identity, Failure> {
        self.refuse_locked().map_err(closing)?;
        let scopes = requested_scopes(self.version, self.role, self.asked_scopes());
        let claim = self.claim(&device, scopes.clone());
        let method = match self.check_shared() {
            Ok(method) => method,
            Err(refusal) => self.check_device_token(&claim, refusal).await.map_err(closing)?,
        };
        self.gateway.failed_auth.succeeded(self.facts.client_ip);
        self.pair(&claim).await?;
        let mut auth = self.granted(method, &scopes);
        let token = self.gateway.devices.token(&claim).await.map_err(|error| closing(fault(&error)))?;
        auth.issued_at_ms = Some(token.issued_at_ms());
        auth.device_token = Some(token.value);
        Ok(Identity { device: Some(device), scopes, auth })
    }

    fn check_shared(&self) -> Result<SharedMethod, Refused> {
        check_shared(self.gateway.config.auth.server_secret(), self.request.auth.as_ref())
    }

    /// The shared secret was missing or wrong: the device's own token may stand in for it.
    async fn check_device_token(&self, claim: &Claim, refusal: Refused) -> Result<SharedMethod, ErrorShape> {
        for token in self.request.auth.iter().flat_map(device_token_candidates) {
            if self.gateway.devices.accepts(claim, token).await {
                return Ok(SharedMethod::DeviceToken);
            }
        }
        self.count_failure(Some(refusal)).await;
        let tried = self.request.auth.as_ref().is_some_and(|auth| auth.device_token.is_some());
        let client = self.request.client.clone().unwrap_or_default();
        Err(refusal.error(RefusalFacts { client: &client, may_try_device_token: !tried }))
    }

    /// Makes sure that the device is paired for what it asks. Whoever sits at this machine and knows the secret is not asked again.
    async fn pair(&self, claim: &Claim) -> Result<(), Failure> {
        let Some(missing) = self.gateway.devices.missing(self.version, claim).await else { return Ok(()) };
        if self.facts.local && !self.is_foreign_page() {
            self.gateway.devices.pair(claim).await.map_err(|error| closing(fault(&error)))?;
            self.gateway.emit(DevicePairResolved {
                request_id: uuid::Uuid::new_v4().to_string(),
                device_id: claim.device_id.clone(),
                decision: "approved".to_owned(),
                ts_ms: self.gateway.context.clock.now_ms(),
            });
            return Ok(());
        }
        let (request, is_new) = self.gateway.devices.ask(claim).await.map_err(|error| closing(fault(&error)))?;
        let request_id = request.request_id.clone();
        if is_new {
            self.gateway.emit(request);
        }
        let waiting = Waiting {
            reason: missing.reason,
            request_id: &request_id,
            asked: claim.asked(),
            approved_roles: &missing.roles,
            approved_scopes: &missing.scopes,
        };
        Err(pairing_required(self.version, &waiting))
    }

    /// Whether a page asks that is not a user interface of ours: its owner is somebody else than the owner of this machine.
    fn is_foreign_page(&self) -> bool {
        self.facts.origin.is_some() && !self.request.client.as_ref().is_some_and(is_web_client)
    }

    fn refuse_locked(&self) -> Result<(), ErrorShape> {
        let Some(left) = self.gateway.failed_auth.locked_for(self.facts.client_ip) else { return Ok(()) };
        let retry_after_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let client = self.request.client.clone().unwrap_or_default();
        Err(Refused::RateLimited { retry_after_ms }.error(RefusalFacts { client: &client, may_try_device_token: false }))
    }

    async fn count_failure(&self, refusal: Option<Refused>) {
        if refusal.is_some_and(Refused::counts_as_failure) {
            let delay = self.gateway.failed_auth.failed(self.facts.client_ip);
            tokio::time::sleep(delay).await;
        }
    }

    fn asked_scopes(&self) -> Option<&[String]> {
        self.request.scopes.as_ref().map(|scopes| scopes.values.as_slice())
    }

    fn granted(&self, method: SharedMethod, scopes: &[String]) -> GrantedAuth {
        GrantedAuth {
            method: Some(method.as_str().to_owned()),
            device_token: None,
            role: self.role.as_str().to_owned(),
            scopes: scopes.to_vec(),
            issued_at_ms: None,
        }
    }

    fn claim(&self, device: &VerifiedDevice, scopes: Vec<String>) -> Claim {
        let client = self.request.client.clone().unwrap_or_default();
        Claim {
            device_id: device.id.clone(),
            public_key: device.public_key.clone(),
            display_name: client.display_name,
            platform: Some(client.platform),
            device_family: client.device_family,
            client_id: Some(client.id),
            client_mode: Some(client.mode),
            role: self.role.as_str().to_owned(),
            scopes,
            remote_ip: (!self.facts.local).then(|| self.facts.client_ip.to_string()),
        }
    }

    /// Gives the connection its place: announced, greeted, and reached by events from here on.
    async fn settle(self, identity: Identity, frame_id: &str, conn_id: String) -> Arc<Outlet> {
        let gateway = self.gateway;
        let peer = Peer { version: self.version, role: self.role, scopes: ScopeSet::from_names(&identity.scopes) };
        let principal = self.principal(&identity, &conn_id);
        let announced = hello::announcements(&self.request, &identity.auth, &principal, self.facts, gateway.context.clock.now_ms());
        gateway.roster.add(&conn_id, announced.clone());
        trace::scope(TraceContext::generate(), announce_presence(gateway, announced.presence)).await;
        let outlet = Arc::new(Outlet::new(conn_id, peer, principal));
        let greeting = hello::response(gateway, &outlet, identity.auth, self.facts);
        outlet.respond(hello::frame(frame_id, self.version, &greeting), &gateway.limits);
        gateway.connections.add(Arc::clone(&outlet));
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
            user: None,
        }
    }
}

/// Tells the presence service of a new connection. A service that is away is told when it is back.
async fn announce_presence(gateway: &Arc<Gateway>, presence: Option<Box<PresenceAnnounce>>) {
    if let Some(presence) = presence
        && let Ok(Ok(answer)) = tokio::time::timeout(PRESENCE_WAIT, gateway.services.call(*presence)).await
    {
        gateway.saw_presence_list(answer.version, answer.entries);
    }
}
