//! Being found: the gateway's announcement on the local network (mDNS, DNS-SD).
//!
//! It lives here because it reads packets of everybody on the network: this process holds no secret, writes no disk, and what breaks in it
//! costs a list that edges fill again. The edge says what there is to announce.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use serde::Deserialize;
use tracing::{info, warn};
use verso_kit::config::{Env, Error, File};
use verso_proto::presence::v1::AdvertiseRequest;

/// What clients browse for.
const KIND: &str = "_openclaw-gw._tcp.local.";

/// How often the machine's addresses are looked at for changes, in seconds.
const ADDRESS_CHECK_SECONDS: u32 = 60;

/// Where SSH is unless the environment says otherwise.
const SSH_PORT: &str = "22";

/// Marks of a container: its network is nobody's neighbourhood.
const CONTAINER_FILES: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
const CONTAINER_VARIABLES: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "container"];

/// `discovery.mdns`, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Section {
    /// Default: `minimal`.
    mode: Mode,
    /// The network interfaces on which to announce. Default: all but loopback.
    interfaces: Vec<String>,
}

/// How much is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Off,
    /// Nothing about the machine beside its name.
    #[default]
    Minimal,
    /// Also where SSH and the command are.
    Full,
}

/// Announces the gateway.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// Switched off by the environment, whatever the configuration says.
    off: bool,
    /// In a container, whose network is nobody's neighbourhood.
    contained: bool,
    machine: String,
    ssh_port: String,
    tailnet: Option<String>,
    command: Option<String>,
    state: Mutex<State>,
}

/// What is wanted, and what is done about it.
#[derive(Debug, Default)]
struct State {
    section: Section,
    /// What the edge said last.
    asked: Option<AdvertiseRequest>,
    running: Option<Running>,
}

/// A thread of the library's; dropped, it takes the announcement back.
struct Running {
    daemon: ServiceDaemon,
    name: String,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Running").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A thread that is gone has nothing to take back.
        drop(self.daemon.unregister(&self.name));
        drop(self.daemon.shutdown());
    }
}

impl Announcer {
    /// Reads the configuration and the environment; `machine` is what others call this one.
    pub(crate) fn new(config: &File, env: &Env, machine: &str) -> Result<Self, Error> {
        let section = config.section("discovery.mdns")?;
        let off = env.flag("VERSO_DISABLE_BONJOUR") || env.flag("OPENCLAW_DISABLE_BONJOUR");
        let contained = CONTAINER_FILES.iter().any(|path| Path::new(path).exists())
            || CONTAINER_VARIABLES.iter().any(|name| env.get(name).is_some_and(|value| !value.is_empty()));
        let named = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let machine = named("VERSO_MDNS_HOSTNAME").unwrap_or_else(|| machine.to_owned());
        Ok(Self {
            off,
            contained,
            machine: machine.trim_end_matches(".local").split('.').next().unwrap_or("verso").to_owned(),
            ssh_port: named("VERSO_SSH_PORT").unwrap_or_else(|| SSH_PORT.to_owned()),
            tailnet: named("VERSO_TAILNET_DNS"),
            command: named("VERSO_CLI_PATH"),
            state: Mutex::new(State { section, ..State::default() }),
        })
    }

    /// Announces what an edge says; the reason when nothing is announced. A fault is one line in the log, and nothing else.
    pub(crate) fn announce(&self, what: AdvertiseRequest) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.running.is_some() && state.asked.as_ref() == Some(&what) {
            return None;
        }
        state.asked = Some(what);
        self.renew(&mut state)
    }

    /// Puts another configuration in force: what is announced already is announced by it, or no more.
    pub(crate) fn take_over(&self, config: &File) -> Result<(), Error> {
        let section = config.section("discovery.mdns")?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.section != section {
            state.section = section;
            self.renew(&mut state);
        }
        Ok(())
    }

    fn renew(&self, state: &mut State) -> Option<String> {
        state.running = None;
        let what = state.asked.as_ref()?;
        if let Some(reason) = self.prevented(&state.section, what) {
            return Some(reason.to_owned());
        }
        match self.start(&state.section, what) {
            Ok(started) => {
                info!(name = started.name, "announced on the local network");
                state.running = Some(started);
                None
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "could not announce the gateway on the local network");
                Some(error.to_string())
            }
        }
    }

    fn prevented(&self, section: &Section, what: &AdvertiseRequest) -> Option<&'static str> {
        let on_loopback = section.interfaces.iter().any(|name| is_loopback(name));
        if self.off {
            return Some("switched off by the environment");
        }
        // Whoever names an interface knows where he is.
        if self.contained && section.interfaces.is_empty() {
            return Some("this is a container");
        }
        if section.mode == Mode::Off {
            return Some("discovery.mdns.mode is off");
        }
        (what.loopback_only && !on_loopback).then_some("the gateway listens on this machine only")
    }

    fn start(&self, section: &Section, what: &AdvertiseRequest) -> Result<Running, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        daemon.set_ip_check_interval(ADDRESS_CHECK_SECONDS)?;
        if section.interfaces.is_empty() {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        } else {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(section.interfaces.iter().map(|name| IfKind::Name(name.clone())).collect::<Vec<_>>())?;
        }
        let facts = self.facts(section.mode, what);
        let port = u16::try_from(what.port).unwrap_or_default();
        let host = format!("{}.local.", self.machine);
        let service = ServiceInfo::new(KIND, &self.instance(), &host, "", port, facts.as_slice())?.enable_addr_auto();
        let name = service.get_fullname().to_owned();
        daemon.register(service)?;
        Ok(Running { daemon, name })
    }

    fn instance(&self) -> String {
        format!("{} (Verso)", self.machine)
    }

    /// What the TXT record says. Clients must not trust any of it.
    fn facts(&self, mode: Mode, what: &AdvertiseRequest) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("role", "gateway".to_owned()),
            ("displayName", self.instance()),
            ("lanHost", format!("{}.local", self.machine)),
            ("gatewayPort", what.port.to_string()),
            ("transport", "gateway".to_owned()),
        ];
        if let Some(fingerprint) = &what.tls_sha256 {
            facts.push(("gatewayTls", "1".to_owned()));
            facts.push(("gatewayTlsSha256", fingerprint.clone()));
        }
        facts.extend(what.canvas_port.map(|port| ("canvasPort", port.to_string())));
        facts.extend(self.tailnet.clone().map(|name| ("tailnetDns", name)));
        if mode == Mode::Full {
            facts.push(("sshPort", self.ssh_port.clone()));
            facts.extend(self.command.clone().map(|path| ("cliPath", path)));
        }
        facts
    }
}

fn is_loopback(interface: &str) -> bool {
    matches!(interface, "lo" | "lo0")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn announcer(mdns: &serde_json::Value, env: &[(&str, &str)]) -> Announcer {
        let file = File::from_value(json!({"discovery": {"mdns": mdns}}));
        Announcer::new(&file, &Env::from_pairs(env.iter().copied()), "den.example.org").unwrap()
    }

    fn what(loopback_only: bool) -> AdvertiseRequest {
        AdvertiseRequest { port: 18_789, loopback_only, tls_sha256: Some("ab".to_owned()), canvas_port: Some(18_793) }
    }

    #[test]
    fn little_is_said_unless_more_is_asked_for() {
        let announcer = announcer(&json!({}), &[("VERSO_CLI_PATH", "/usr/bin/verso")]);
        let names = |mode| announcer.facts(mode, &what(false)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let minimal = names(Mode::Minimal);
        let usual = ["role", "displayName", "lanHost", "gatewayPort", "transport", "gatewayTls", "gatewayTlsSha256", "canvasPort"];
        assert_eq!(minimal, usual);
        let full = names(Mode::Full);
        assert_eq!(full[usual.len()..], ["sshPort", "cliPath"]);
        assert_eq!(announcer.facts(Mode::Minimal, &what(false))[2].1, "den.local");
    }

    #[test]
    fn nothing_is_announced_where_nobody_should_hear_it() {
        for (mdns, env, request, reason) in [
            (json!({"mode": "off", "interfaces": ["lo"]}), vec![], what(false), "discovery.mdns.mode is off"),
            (json!({"interfaces": ["lo"]}), vec![("VERSO_DISABLE_BONJOUR", "1")], what(false), "switched off by the environment"),
            (json!({}), vec![("KUBERNETES_SERVICE_HOST", "10.0.0.1")], what(false), "this is a container"),
            (json!({"interfaces": ["eth0"]}), vec![], what(true), "the gateway listens on this machine only"),
        ] {
            assert_eq!(announcer(&mdns, &env).announce(request).as_deref(), Some(reason));
        }
    }

    #[test]
    fn another_configuration_counts_for_what_was_asked_before() {
        let announcer = announcer(&json!({"mode": "off", "interfaces": ["lo"]}), &[]);
        assert!(announcer.announce(what(true)).is_some());
        let on = File::from_value(json!({"discovery": {"mdns": {"mode": "minimal", "interfaces": ["lo"]}}}));
        announcer.take_over(&on).unwrap();
        assert_eq!(announcer.announce(what(true)), None, "it is announced already");
        announcer.take_over(&File::from_value(json!({"discovery": {"mdns": {"mode": "off"}}}))).unwrap();
        assert!(announcer.state.lock().unwrap().running.is_none());
    }
}
