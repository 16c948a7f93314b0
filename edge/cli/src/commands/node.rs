//! `verso node`: this machine as a node, in the foreground or kept by the system.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use verso_client::{DeviceTokens, Fingerprint, Identity, Options, Trust};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::{files, service, telemetry};

use super::Session;
use super::node_service;
use crate::args::{self, NodeInstall, NodeRun};
use crate::client::Target;
use crate::failure::Failure;

/// Where a gateway listens unless somebody says otherwise.
const PORT: u16 = 18_789;

/// What the node was told last, for the next time: `<state>/node.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Remembered {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Place>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Place {
    host: String,
    port: u16,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_fingerprint: Option<String>,
}

/// Is a node until a signal, or until the gateway will not have it.
pub(super) async fn run(session: &Session, arguments: &NodeRun) -> anyhow::Result<()> {
    // Fails only when there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let state_dir = &session.instance.state_dir;
    files::create_private_dir(state_dir)?;
    let telemetry = telemetry::start("node-host", state_dir, &session.snapshot.file, &session.snapshot.env)?;
    let shutdown = CancellationToken::new();
    service::stop_on_signals(shutdown.clone())?;
    let told = remember(state_dir, arguments)?;
    let config = verso_nodehost::Config {
        options: options(session, &told)?,
        folder: state_dir.join("node-host"),
        env: session.snapshot.env.clone(),
    };
    let ended = verso_nodehost::run(config, shutdown).await;
    telemetry.finish().await;
    Ok(ended?)
}

/// Installs the service that runs the node as it is told.
pub(super) fn install(session: &Session, arguments: &NodeInstall) -> anyhow::Result<()> {
    if !arguments.flags.print {
        files::create_private_dir(&session.instance.state_dir)?;
        remember(&session.instance.state_dir, &arguments.node)?;
    }
    node_service::install(session, arguments)
}

/// Keeps what is said for the next time, beside what was said before.
fn remember(state_dir: &Path, arguments: &NodeRun) -> anyhow::Result<Remembered> {
    let path = state_dir.join("node.json");
    let known = Remembered::load(&path);
    let told = known.told(arguments);
    if told != known {
        files::write_atomic(&path, (serde_json::to_string_pretty(&told)? + "\n").as_bytes(), 0o600)?;
    }
    Ok(told)
}

impl Remembered {
    /// A file that cannot be read counts for nothing: everything in it can be told again.
    fn load(path: &Path) -> Self {
        std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn told(&self, arguments: &NodeRun) -> Self {
        let mut told = Self { version: 1, ..self.clone() };
        told.node_id = arguments.node_id.clone().or(told.node_id);
        told.display_name = arguments.display_name.clone().or(told.display_name);
        if arguments.host.is_some() || arguments.port.is_some() {
            let tls_fingerprint = arguments.tls_fingerprint.clone();
            let host = arguments.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
            let tls = arguments.tls || tls_fingerprint.is_some();
            told.gateway = Some(Place { host, port: arguments.port.unwrap_or(PORT), tls, tls_fingerprint });
        }
        told
    }
}

impl Place {
    fn url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(host)) => format!("{scheme}://[{host}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }

    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
    }
}

fn options(session: &Session, told: &Remembered) -> anyhow::Result<Options> {
    let ours = Target::find(session, &args::Target { url: None, token: None, password: None })?;
    let (url, trust, own) = match &told.gateway {
        None => (ours.url.clone(), ours.trust, true),
        Some(place) => {
            let fingerprint = place.tls_fingerprint.as_deref().map(str::parse::<Fingerprint>).transpose();
            let fingerprint = fingerprint.map_err(|error| Failure::new(format!("--tls-fingerprint: {error}")))?;
            // What we keep for the gateway of this machine goes nowhere else.
            (place.url(), fingerprint.map_or(Trust::System, Trust::Pinned), place.is_here())
        }
    };
    let env = &session.snapshot.env;
    let named = |name: &str| env.get(name).map(str::to_owned);
    let mut options = Options::new(url).with_client("node-host", "node").with_trust(trust);
    options.token = named("VERSO_GATEWAY_TOKEN").or_else(|| ours.token.filter(|_| own).map(|token| token.expose().clone()));
    options.password = named("VERSO_GATEWAY_PASSWORD").or_else(|| ours.password.filter(|_| own).map(|password| password.expose().clone()));
    options.client.display_name = Some(told.display_name.clone().unwrap_or_else(machine));
    options.client.device_family = Some(if cfg!(target_os = "macos") { "Mac" } else { "Linux" }.to_owned());
    options.client.instance_id.clone_from(&told.node_id);
    let state_dir: &PathBuf = &session.instance.state_dir;
    options.identity = Some(Identity::load_or_create(state_dir, Clock::system().now_ms())?);
    options.device_tokens = Some(DeviceTokens::in_state_dir(state_dir));
    Ok(options)
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
