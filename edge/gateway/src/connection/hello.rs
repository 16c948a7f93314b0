//! `hello-ok`, and what the other services learn of a new connection.

use verso_proto::Json;
use verso_proto::edge::v1::{
    AttachmentPolicy, ConnectRequest, ConnectResponse, Features, GrantedAuth, PluginSurfaceUrls, Policy, ServerInfo, Snapshot, StringList,
};
use verso_proto::methods::{EVENTS, Scope};
use verso_proto::node::v1::{AnnounceRequest as NodeAnnounce, NodeInfo};
use verso_proto::presence::v1::{AnnounceRequest as PresenceAnnounce, Entry};
use verso_proto::wire::v1::Principal;
use verso_protocol::auth::PeerRole;
use verso_protocol::frames::response_ok;
use verso_protocol::{Adapter, Version, limits};

use crate::capabilities::Grant;
use crate::gateway::Gateway;
use crate::http::canvas::surface_url;
use crate::outlet::Outlet;
use crate::request_facts::Facts;
use crate::roster::Announced;

/// Builds `hello-ok` in its widest form.
pub(super) fn response(gateway: &Gateway, outlet: &Outlet, auth: GrantedAuth, facts: &Facts, canvas: Option<String>) -> ConnectResponse {
    let summary = gateway.health.latest();
    let admin = outlet.peer.scopes.holds(verso_proto::methods::Scope::Admin);
    let shows_paths = admin || outlet.peer.version == Version::V3;
    let path = |path: std::path::PathBuf| shows_paths.then(|| path.display().to_string());
    ConnectResponse {
        r#type: "hello-ok".to_owned(),
        protocol: i64::from(outlet.peer.version.number()),
        server: Some(ServerInfo {
            version: crate::VERSION.to_owned(),
            host: facts.local.then(hostname),
            boot_id: Some(gateway.boot_id.clone()),
            control_ui_build_source: Some("configured".to_owned()),
            conn_id: outlet.conn_id.clone(),
        }),
        features: Some(Features {
            methods: Gateway::listed_methods(),
            events: EVENTS.iter().filter(|kind| kind.scope != Scope::Unspecified).map(|kind| kind.name.to_owned()).collect(),
            capabilities: Some(StringList { values: CAPABILITIES.map(str::to_owned).to_vec() }),
        }),
        snapshot: Some(Snapshot {
            presence: Some(presence(gateway)),
            health: Some(Json { text: if summary.json.is_empty() { "{}".to_owned() } else { summary.json.clone() } }),
            state_version: Some(gateway.state_version()),
            uptime_ms: gateway.uptime_ms(),
            config_path: path(gateway.config_path()),
            state_dir: path(gateway.context.state_dir.clone()),
            session_defaults: summary.session_defaults.clone(),
            auth_mode: admin.then(|| gateway.config().auth.mode().as_str().to_owned()),
        }),
        canvas_host_url: canvas.clone(),
        plugin_surface_urls: canvas.map(|canvas| PluginSurfaceUrls { canvas: Some(canvas) }),
        auth: Some(auth),
        policy: Some(policy(gateway)),
    }
}

/// Where the canvas is for this client. A node gets a secret address, which ends with its connection; so do newer clients elsewhere.
pub(super) async fn canvas(gateway: &Gateway, outlet: &Outlet, facts: &Facts) -> Option<String> {
    let is_node = outlet.peer.role == PeerRole::Node;
    if !is_node && outlet.peer.version != Version::V3 {
        return None;
    }
    let grant = (is_node && (!facts.local || outlet.peer.version != Version::V3))
        .then(|| Grant { principal: (*outlet.principal).clone(), session_key: MAIN_SESSION.to_owned() });
    surface_url(gateway, outlet.base.as_deref()?, grant, Some(&outlet.conn_id)).await.map(|(url, _)| url)
}

/// The session whose surfaces a node shows, and in which its users act.
pub(crate) const MAIN_SESSION: &str = "main";

/// What newer clients ask for by name before they call: `models.list` knows all models that can be used.
const CAPABILITIES: [&str; 1] = ["published-model-catalog"];

/// Renders the answer to `connect`.
pub(super) fn frame(id: &str, version: Version, greeting: &ConnectResponse) -> String {
    let payload = serde_json::to_string(greeting).unwrap_or_default();
    response_ok(id, &Adapter::new(version).response("connect", &payload))
}

/// What the presence and node services are told. Command-line clients come and go too fast to be worth an entry.
/// `now_ms` is when the connection came: of several connections of one device the newest counts, also when they are told again later.
pub(super) fn announcements(request: &ConnectRequest, auth: &GrantedAuth, principal: &Principal, facts: &Facts, now_ms: i64) -> Announced {
    let client = request.client.clone().unwrap_or_default();
    let remote_ip = (!facts.local).then(|| facts.client_ip.to_string());
    let tracked = client.id != "cli" && client.mode != "cli";
    let presence = tracked.then(|| {
        Box::new(PresenceAnnounce {
            conn_id: principal.conn_id.clone(),
            entry: Some(Entry {
                host: Some(client.display_name.clone().unwrap_or_else(|| client.id.clone())),
                ip: remote_ip.clone(),
                version: Some(client.version.clone()),
                platform: Some(client.platform.clone()),
                device_family: client.device_family.clone(),
                model_identifier: client.model_identifier.clone(),
                mode: Some(client.mode.clone()),
                reason: Some("connect".to_owned()),
                ts_ms: now_ms,
                device_id: principal.device_id.clone(),
                roles: vec![auth.role.clone()],
                scopes: auth.scopes.clone(),
                instance_id: principal.device_id.clone().or_else(|| client.instance_id.clone()),
                ..Entry::default()
            }),
            broadcast: false,
        })
    });
    let node = (auth.role == "node").then(|| {
        Box::new(NodeAnnounce {
            conn_id: principal.conn_id.clone(),
            node: Some(NodeInfo {
                node_id: principal.device_id.clone().unwrap_or_default(),
                display_name: client.display_name,
                client_id: Some(client.id),
                client_mode: Some(client.mode),
                platform: Some(client.platform),
                version: Some(client.version),
                device_family: client.device_family,
                model_identifier: client.model_identifier,
                remote_ip,
                caps: request.caps.clone(),
                commands: request.commands.clone(),
                path_env: request.path_env.clone(),
                permissions: request.permissions.clone(),
                paired: true,
                connected: true,
                connected_at_ms: Some(now_ms),
                ..NodeInfo::default()
            }),
        })
    });
    Announced { presence, node }
}

/// The last known list; an empty one before there was any.
fn presence(gateway: &Gateway) -> Json {
    let known = gateway.presence.load();
    if known.text.is_empty() { Json { text: "[]".to_owned() } } else { known.as_ref().clone() }
}

fn policy(gateway: &Gateway) -> Policy {
    let whole = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    Policy {
        max_payload: whole(gateway.limits.payload_bytes_max),
        max_buffered_bytes: whole(gateway.limits.buffered_bytes_max),
        tick_interval_ms: i64::try_from(gateway.limits.tick.as_millis()).unwrap_or(i64::MAX),
        attachments: Some(AttachmentPolicy {
            max_bytes: whole(limits::ATTACHMENT_BYTES_MAX),
            max_image_bytes: whole(limits::ATTACHMENT_IMAGE_BYTES_MAX),
        }),
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
