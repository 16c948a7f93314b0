//! What all connections of one edge share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use verso_kit::config::File;
use verso_kit::principal::Vouched;
use verso_kit::service::{Context, Error};
use verso_kit::tasks::Tasks;
use verso_proto::Json;
use verso_proto::methods::{METHODS, ServiceEvent};
use verso_proto::presence::v1::AdvertiseRequest;
use verso_proto::wire::v1::StateVersion;
use verso_protocol::auth::SharedMethod;
use verso_protocol::close::Close;

use crate::admission::Admission;
use crate::capabilities::{Capabilities, Grant};
use crate::config::Config;
use crate::connections::Connections;
use crate::control_writes::ControlWrites;
use crate::devices::Devices;
use crate::event::Rendered;
use crate::fence::Fence;
use crate::handover::{Handover, void_when_changed};
use crate::health::Health;
use crate::http::{Hooks, Remembered, api_caller};
use crate::kept_answer::KeptAnswer;
use crate::limits::Limits;
use crate::local::Local;
use crate::outlet::Outlet;
use crate::preferences::Preferences;
use crate::rate_limit::FailedAuth;
use crate::roster::Roster;
use crate::services::Services;
use crate::tailscale::Daemon;

/// The edge's shared state.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) context: Context,
    config: ArcSwap<Config>,
    /// The file that `config` was read from.
    running: ArcSwap<File>,
    pub(crate) limits: Limits,
    pub(crate) admission: Arc<Admission>,
    pub(crate) control_writes: ControlWrites,
    pub(crate) services: Services,
    pub(crate) connections: Arc<Connections>,
    pub(crate) devices: Devices,
    pub(crate) preferences: Preferences,
    pub(crate) local: Local,
    pub(crate) health: Health,
    pub(crate) roster: Roster,
    pub(crate) failed_auth: FailedAuth,
    /// Where clients reach the port, once it is open.
    pub(crate) reachable: OnceLock<AdvertiseRequest>,
    /// Secret addresses of the canvas.
    pub(crate) capabilities: Capabilities,
    /// Where responses of the HTTP API stand, for those that go on from them.
    pub(crate) remembered: Remembered,
    pub(crate) hooks: Hooks,
    /// For whom the HTTP APIs call services.
    pub(crate) api_caller: Vouched,
    /// Knows whose address is whose.
    pub(crate) tailnet: Daemon,
    pub(crate) tasks: Tasks,
    /// Names this start of the edge.
    pub(crate) boot_id: String,
    pub(crate) started: Instant,
    /// The presence list that was last heard of, for when the presence service is away.
    pub(crate) presence: ArcSwap<Json>,
    /// The list as the presence service renders it for clients.
    pub(crate) presence_list: KeptAnswer,
    /// What `last-heartbeat` answers.
    pub(crate) last_heartbeat: ArcSwap<Option<String>>,
    /// Whether, and where, connections go on elsewhere.
    pub(crate) handover: Handover,
    /// Who may write the edge's files.
    pub(crate) fence: Fence,
    versions: Versions,
    draining: AtomicBool,
}

/// The versions that clients mirror. They live here because they must outlive the services behind them.
#[derive(Debug)]
struct Versions {
    presence: AtomicU64,
    health: AtomicU64,
}

impl Gateway {
    pub(crate) fn new(context: Context, config: Config, tasks: Tasks) -> Result<Self, Error> {
        let fence = Fence::new(&context.state_dir, context.epoch);
        if context.env.get("VERSO_REPLACES_PID").is_none() {
            fence.claim()?;
        }
        let devices = Devices::open(&context.state_dir, fence.clone(), context.clock.clone())?;
        let preferences = Preferences::open(&context.state_dir, fence.clone(), context.clock.clone())?;
        let capabilities = Capabilities::open(&context.state_dir, context.clock.clone())?;
        Ok(Self {
            services: Services::new(&context),
            devices,
            preferences,
            tailnet: Daemon::of(&context.env),
            limits: config.limits.limits(),
            admission: Arc::default(),
            control_writes: ControlWrites::default(),
            config: ArcSwap::from_pointee(config),
            running: ArcSwap::new(Arc::clone(&context.config)),
            connections: Arc::default(),
            local: Local::new(),
            health: Health::default(),
            roster: Roster::default(),
            failed_auth: FailedAuth::default(),
            capabilities,
            reachable: OnceLock::new(),
            remembered: Remembered::default(),
            hooks: Hooks::default(),
            api_caller: context.vouch(api_caller()),
            tasks,
            boot_id: uuid::Uuid::new_v4().to_string(),
            started: Instant::now(),
            presence: ArcSwap::default(),
            presence_list: KeptAnswer::default(),
            last_heartbeat: ArcSwap::default(),
            handover: Handover::default(),
            fence,
            versions: Versions { presence: AtomicU64::new(1), health: AtomicU64::new(1) },
            draining: AtomicBool::new(false),
            context,
        })
    }

    /// Returns the configuration that is in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Returns the whole configuration that is in force.
    pub(crate) fn running_config(&self) -> Arc<File> {
        self.running.load_full()
    }

    /// Puts another configuration in force: for WebSocket and HTTP at once. Connections that the new one would not have let in by what
    /// they presented are closed; devices with a token of their own stay.
    pub(crate) fn replace_config(&self, file: Arc<File>, config: Config) {
        self.running.store(file);
        let new = Arc::new(config);
        let old = self.config.swap(Arc::clone(&new));
        let closed: Vec<_> = void_methods(&old, &new).collect();
        self.connections.close_admitted_by(&closed, &Close::AUTH_CHANGED);
    }

    /// Closes a connection that was let in under `config` when another came into force before it was among the live ones: whoever put that
    /// in force could not see it.
    pub(crate) fn close_if_overtaken(&self, outlet: &Outlet, config: &Config) {
        if void_methods(config, &self.config()).any(|method| method == outlet.method) {
            outlet.close(Close::AUTH_CHANGED);
        }
    }

    /// Returns what a secret address of the canvas is good for. One that was made under other settings of who is let in does not count, nor
    /// does one whose connection has ended, also while nobody was here to see it.
    pub(crate) async fn canvas_grant(&self, token: &str) -> Option<Grant> {
        let (grant, conn_id) = self.capabilities.present(token, &admitted(&self.config())).await?;
        let lives = |conn_id: &String| self.connections.get(conn_id).is_some() || self.connections.expects_more();
        conn_id.as_ref().is_none_or(lives).then_some(grant)
    }

    /// Makes a secret address of the canvas; with `conn_id` it ends with that connection.
    pub(crate) async fn mint_canvas_address(&self, grant: Grant, conn_id: Option<&str>) -> std::io::Result<String> {
        self.capabilities.mint(grant, conn_id, &admitted(&self.config())).await
    }

    /// Returns the versions as they are now.
    pub(crate) fn state_version(&self) -> StateVersion {
        let (presence, health) = (&self.versions.presence, &self.versions.health);
        StateVersion { presence: presence.load(Ordering::Relaxed), health: health.load(Ordering::Relaxed) }
    }

    /// Takes over the presence service's version; an older one changes nothing.
    pub(crate) fn saw_presence(&self, version: u64) {
        self.presence_list.void();
        self.versions.presence.fetch_max(version, Ordering::Relaxed);
    }

    /// Takes over the presence service's list, unless a newer one is known: answers may overtake each other.
    pub(crate) fn saw_presence_list(&self, version: u64, entries: Option<Json>) {
        self.presence_list.void();
        if self.versions.presence.fetch_max(version, Ordering::Relaxed) <= version {
            self.presence.store(Arc::new(entries.unwrap_or_default()));
        }
    }

    /// Counts a health refresh.
    pub(crate) fn bump_health(&self) {
        self.versions.health.fetch_add(1, Ordering::Relaxed);
    }

    /// Emits an event of the edge's own.
    pub(crate) fn emit(&self, event: impl Into<verso_proto::edge::v1::Event>) {
        let rendered = event.into().payload();
        if let Ok(Some((kind, payload))) = rendered {
            let event = Rendered::new(kind, &payload);
            let event = if kind.name == "health" { event.with_state_version(&self.state_version()) } else { event };
            self.connections.publish(event, &self.limits);
        }
    }

    /// Whether the edge is about to stop: no new work is begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// How long the edge has been running, in milliseconds.
    pub(crate) fn uptime_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The names of all methods that clients are told of.
    pub(crate) fn listed_methods() -> Vec<String> {
        METHODS.iter().filter(|method| method.listed).map(|method| method.name.to_owned()).collect()
    }

    /// Where the configuration is.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.context.config.path().to_owned()
    }
}

/// Stands for the settings that decide who is let in.
fn admitted(config: &Config) -> [u8; 32] {
    Sha256::digest(void_when_changed(config).encode_to_vec()).into()
}

/// What let connections in under the old configuration and does not count under the new one.
fn void_methods(old: &Config, new: &Config) -> impl Iterator<Item = SharedMethod> {
    let secret = old.auth.server_secret() != new.auth.server_secret();
    let proxy = old.auth.mode() != new.auth.mode()
        || old.auth.trusted_proxy != new.auth.trusted_proxy
        || old.trusted_proxies != new.trusted_proxies;
    let tailnet = old.allows_tailscale() && !new.allows_tailscale();
    [
        (secret, SharedMethod::None),
        (secret, SharedMethod::Token),
        (secret, SharedMethod::Password),
        (proxy, SharedMethod::TrustedProxy),
        (tailnet, SharedMethod::Tailscale),
    ]
    .into_iter()
    .filter_map(|(is_void, method)| is_void.then_some(method))
}
