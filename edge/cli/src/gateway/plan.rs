//! What to start, worked out of flags, environment and configuration, in the order in which refusals are reported.

use verso_kit::config::Env;
use verso_supervisor::{Listen, ServiceName};

use super::bind::Bind;
use crate::args::Run;
use crate::config::{self, Gateway, Mode, Snapshot};
use crate::failure::Failure;
use crate::instance::Instance;

/// What to start.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) bind: Bind,
    pub(super) listen: Listen,
    pub(super) canvas_port: Option<u16>,
    pub(super) services: Vec<ServiceName>,
}

impl Plan {
    /// Works it out, or refuses.
    pub(super) fn make(instance: &Instance, snapshot: &Snapshot, flags: &Run) -> Result<Self, Failure> {
        let env = &snapshot.env;
        let refuse = |text: &str| Failure::refusal(text, env);
        let section = Gateway::of(&snapshot.file);
        let port = match &flags.port {
            Some(text) => text.trim().parse().map_err(|_| refuse("Invalid port"))?,
            None => section.effective_port(env),
        };
        if flags.auth.as_deref().is_some_and(|mode| !["token", "password", "trusted-proxy", "none"].contains(&mode)) {
            return Err(refuse("Invalid --auth (use \"token\" or \"password\")"));
        }
        let services = services(snapshot, flags)?;
        if !flags.allow_unconfigured {
            configured(instance, snapshot, section.mode)?;
        }
        let name = flags.bind.as_deref().or(section.bind.as_deref()).unwrap_or("loopback");
        let bind =
            Bind::parse(name).ok_or_else(|| refuse("Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")"))?;
        let hosts = bind.hosts(section.custom_bind_host.as_deref()).map_err(|failure| refuse(failure.text()))?;
        let canvas_port = config::canvas_port(&snapshot.file, env, port).map_err(|error| refuse(&error.to_string()))?;
        let canvas_port = canvas_port.filter(|_| services.contains(&ServiceName::Canvas));
        Ok(Self { bind, listen: Listen { hosts, port }, canvas_port, services })
    }
}

/// A gateway starts only where somebody has said that it may: an emptied file must not start an open one.
fn configured(instance: &Instance, snapshot: &Snapshot, mode: Option<Mode>) -> Result<(), Failure> {
    let mode = match mode {
        Some(Mode::Local) => return Ok(()),
        Some(Mode::Remote) => "remote",
        None => "unset",
    };
    let text = if snapshot.file.exists() {
        format!("Gateway start blocked: set gateway.mode=local (current: {mode}) or pass --allow-unconfigured.")
    } else {
        let path = instance.short(&instance.config_path);
        format!("Missing config. Set gateway.mode=local in {path} (or pass --allow-unconfigured, or try `verso gateway --dev`).")
    };
    Err(Failure::refusal(text, &snapshot.env))
}

fn services(snapshot: &Snapshot, flags: &Run) -> Result<Vec<ServiceName>, Failure> {
    let refuse = |text: String, env: &Env| Failure::refusal(text, env);
    let Some(list) = &flags.services else {
        let mut services = Vec::new();
        for name in ServiceName::ALL {
            let enabled = config::enabled(&snapshot.file, name).map_err(|error| refuse(error.to_string(), &snapshot.env))?;
            if enabled || name == ServiceName::Edge {
                services.push(name);
            }
        }
        return Ok(services);
    };
    let asked: Vec<ServiceName> =
        list.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>().map_err(|error: verso_supervisor::UnknownService| {
            refuse(format!("Invalid --services: {error} (use edge, presence, node, channel, agent, canvas)"), &snapshot.env)
        })?;
    // Lists show them in one order, whatever the flag says; a name twice is a name once.
    Ok(ServiceName::ALL.into_iter().filter(|name| asked.contains(name)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::args::{Cli, Command};
    use crate::profile::Profile;

    fn plan(env: &[(&str, &str)], config: Value, flags: &[&str]) -> Result<Plan, Failure> {
        let env = Env::from_pairs(env.iter().copied()).with([("HOME", "/nonexistent")]);
        let instance = Instance::new(Profile::default(), env.clone());
        let snapshot = Snapshot::of(config, env, Vec::new());
        let arguments = ["verso", "gateway"].iter().chain(flags).map(Into::into).collect();
        let Some(Command::Gateway(gateway)) = Cli::read(arguments).unwrap().command else { panic!("a gateway command") };
        Plan::make(&instance, &snapshot, &gateway.run)
    }

    fn local() -> Value {
        json!({"gateway": {"mode": "local", "port": 5000}})
    }

    #[test]
    fn the_flag_wins_over_the_environment_over_the_file() {
        assert_eq!(plan(&[], local(), &[]).unwrap().listen.port, 5000);
        assert_eq!(plan(&[("VERSO_GATEWAY_PORT", "6000")], local(), &[]).unwrap().listen.port, 6000);
        assert_eq!(plan(&[("VERSO_GATEWAY_PORT", "nonsense")], local(), &[]).unwrap().listen.port, 5000);
        let chosen = plan(&[("VERSO_GATEWAY_PORT", "6000")], local(), &["--port", "7000"]).unwrap();
        assert_eq!((chosen.listen.port, chosen.canvas_port), (7000, Some(7004)));
    }

    #[test]
    fn refuses_in_the_words_that_scripts_know() {
        let words = |config, flags: &[&str]| plan(&[], config, flags).unwrap_err().text().to_owned();
        assert_eq!(words(local(), &["--port", "70000"]), "Invalid port");
        assert_eq!(words(local(), &["--auth", "x"]), "Invalid --auth (use \"token\" or \"password\")");
        assert_eq!(words(local(), &["--bind", "x"]), "Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")");
        assert!(words(json!({}), &[]).starts_with("Missing config."));
        assert!(words(local(), &["--services", "edge,x"]).starts_with("Invalid --services: unknown service \"x\""));
    }

    #[test]
    fn runs_what_is_asked_for_and_not_what_is_turned_off() {
        let config = json!({"gateway": {"mode": "local", "services": {"canvas": {"enabled": false}, "edge": {"enabled": false}}}});
        let all = plan(&[], config, &[]).unwrap();
        assert_eq!(all.services.len(), 5, "the edge cannot be turned off");
        assert_eq!(all.canvas_port, None);
        assert_eq!(plan(&[], local(), &["--services", "node, edge"]).unwrap().services, [ServiceName::Edge, ServiceName::Node]);
    }
}
