//! `verso gateway install`, `uninstall`, `start`, `stop` and `restart`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Session, services};
use crate::args::{GatewayRestart, Install, ServiceFlags};
use crate::config::{Gateway, canvas_port};
use crate::failure::Failure;
use crate::gateway::Bind;
use crate::output::{self, Tone};
use crate::units::{Control, Definition, Installed, Platform, Scope, Split, Unit};

/// The variables of a definition that are shown: never what may be secret.
const SHOWN: [&str; 5] = ["VERSO_PROFILE", "VERSO_STATE_DIR", "VERSO_CONFIG_PATH", "VERSO_GATEWAY_PORT", "VERSO_NIX_MODE"];

/// What came of it: the word for scripts, and the sentence for people.
struct Done {
    result: &'static str,
    message: String,
    hints: Vec<String>,
}

pub(super) fn install(session: &Session, arguments: &Install) -> anyhow::Result<()> {
    let flags = arguments.flags;
    let scope = scope(flags.system);
    if flags.print {
        for unit in units(session, arguments, scope)? {
            if arguments.split {
                output::line(format!("# {}", unit.path.display()))?;
            }
            output::part(&unit.text)?;
        }
        return Ok(());
    }
    let report = Report { session, action: "install", scope, json: flags.json };
    report.tell(|control| {
        if session.snapshot.env.flag("VERSO_NIX_MODE") {
            return Err(Failure::new("Nix mode detected; service install is disabled.").into());
        }
        control.available()?;
        if control.installed().is_some() && control.is_loaded() && !flags.force {
            let hint = format!("Reinstall with: {}", session.instance.command("gateway install --force"));
            return Ok(Done { result: "already-installed", message: "Gateway service already enabled.".to_owned(), hints: vec![hint] });
        }
        let units = units(session, arguments, scope)?;
        let mut hints = Vec::new();
        if std::env::current_exe()?.components().any(|part| part.as_os_str() == "target") {
            hints.push("This program is in a build folder; the service stops working when it is cleaned.".to_owned());
        }
        if arguments.runtime.is_some() {
            hints.push("--runtime has no meaning here: the gateway needs no runtime.".to_owned());
        }
        let first = &units[0];
        if arguments.split {
            control.install_split(&split(session, arguments, scope)?, &units)?;
        } else {
            control.install(first)?;
        }
        hints.extend(lingering(scope));
        Ok(Done { result: "installed", message: format!("Installed service: {}", first.path.display()), hints })
    })
}

/// Writes the definition of a service that is installed again, and restarts it.
pub(super) fn rewrite(session: &Session) -> anyhow::Result<()> {
    let platform = Platform::here();
    let definition =
        Definition::of(&session.instance, platform, Gateway::of(&session.snapshot.file).effective_port(&session.snapshot.env))?;
    let unit = Unit { path: platform.path(&session.instance, Scope::User), text: platform.render(&definition, Scope::User)? };
    Control::of(&session.instance, Scope::User).install(&unit)
}

/// Acts on a service that is installed.
pub(super) fn act(session: &Session, action: &'static str, flags: ServiceFlags) -> anyhow::Result<()> {
    let report = Report { session, action, scope: scope(flags.system), json: flags.json };
    report.tell(|control| {
        if action != "uninstall" && control.installed().is_none() {
            return not_loaded(session, action);
        }
        control.available()?;
        let result = carry_out(control, action)?;
        let word = if result == "uninstalled" { "removed" } else { result };
        Ok(Done { result, message: format!("Gateway service {word}."), hints: Vec::new() })
    })
}

/// How long turns may take to end before a safe restart.
const TURNS_MAX: Duration = Duration::from_mins(5);

/// Restarts the service, or one process of the gateway.
pub(super) async fn restart(session: &Session, arguments: &GatewayRestart) -> anyhow::Result<()> {
    if let Some(name) = &arguments.service {
        return services::restart(session, name, arguments.json).await;
    }
    let flags = ServiceFlags { system: arguments.system, json: arguments.json };
    // Before anything is stopped it must be certain that it can be started.
    if let Some(wait) = arguments.wait.or(arguments.safe.then_some(TURNS_MAX))
        && Control::of(&session.instance, scope(flags.system)).installed().is_some()
    {
        services::let_turns_end(session, wait).await?;
    }
    act(session, "restart", flags)
}

/// Does to a service what was asked for, and returns the word for what became of it.
pub(super) fn carry_out(control: &Control, action: &str) -> anyhow::Result<&'static str> {
    match action {
        "uninstall" => control.uninstall().map(|()| "uninstalled"),
        "start" => control.act("start").map(|()| "started"),
        "stop" => control.act("stop").map(|()| "stopped"),
        _ => control.act("restart").map(|()| "restarted"),
    }
}

/// A service that is not there need not be stopped, but cannot be started.
fn not_loaded(session: &Session, action: &str) -> anyhow::Result<Done> {
    let command = |rest: &str| session.instance.command(rest);
    let message = "Gateway service is not installed.".to_owned();
    let hints = vec![command("gateway install"), command("gateway")];
    if action == "start" {
        return Err(Failure::new(format!("{message}\nInstall it with: {}", hints[0])).into());
    }
    Ok(Done { result: "not-loaded", message, hints })
}

pub(super) fn scope(system: bool) -> Scope {
    if system { Scope::System } else { Scope::User }
}

/// The definitions that are asked for; never none.
fn units(session: &Session, arguments: &Install, scope: Scope) -> anyhow::Result<Vec<Unit>> {
    if arguments.split {
        return Ok(split(session, arguments, scope)?.render()?);
    }
    let platform = arguments.platform.as_deref().map_or_else(Platform::here, Platform::named);
    let definition = Definition::of(&session.instance, platform, port(session, arguments)?)?;
    Ok(vec![Unit { path: platform.path(&session.instance, scope), text: platform.render(&definition, scope)? }])
}

fn port(session: &Session, arguments: &Install) -> anyhow::Result<u16> {
    match &arguments.port {
        Some(text) => text.trim().parse().ok().filter(|port| *port > 0).ok_or_else(|| Failure::new("Invalid port").into()),
        None => Ok(Gateway::of(&session.snapshot.file).effective_port(&session.snapshot.env)),
    }
}

/// One unit for each service of the gateway.
fn split(session: &Session, arguments: &Install, scope: Scope) -> anyhow::Result<Split> {
    let instance = &session.instance;
    let port = port(session, arguments)?;
    let definition = Definition::of(instance, Platform::Systemd, port)?;
    let section = Gateway::of(&session.snapshot.file);
    let bind = section.bind.as_deref().and_then(Bind::parse).unwrap_or(Bind::Loopback);
    let hosts = bind.hosts(section.custom_bind_host.as_deref())?;
    let canvas = canvas_port(&session.snapshot.file, &session.snapshot.env, port)?;
    let folder = Platform::Systemd.path(instance, scope).parent().map(PathBuf::from).unwrap_or_default();
    Ok(Split {
        definition,
        scope,
        ending: instance.profile.name().map(|name| format!("-{name}")).unwrap_or_default(),
        run_dir: instance.run_dir(),
        canvas: canvas.zip(hosts.first()).map(|(port, host)| SocketAddr::new(*host, port).to_string()),
        public: hosts.into_iter().map(|host| SocketAddr::new(host, port).to_string()).collect(),
        folder,
    })
}

/// Without lingering, a person's services stop when he logs out.
fn lingering(scope: Scope) -> Option<String> {
    let is_off = scope == Scope::User && Platform::here() == Platform::Systemd && !lingers()?;
    is_off.then(|| "The service stops when you log out. Keep it running with: loginctl enable-linger".to_owned())
}

/// Whether this person's services outlive his logins; none where nobody knows.
pub(super) fn lingers() -> Option<bool> {
    let output = std::process::Command::new("loginctl").args(["show-user", "--property=Linger", "--value"]).output().ok()?;
    let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(words == "yes")
}

/// How the outcome is told.
struct Report<'a> {
    session: &'a Session,
    action: &'static str,
    scope: Scope,
    json: bool,
}

impl Report<'_> {
    fn tell(&self, work: impl FnOnce(&Control) -> anyhow::Result<Done>) -> anyhow::Result<()> {
        let control = Control::of(&self.session.instance, self.scope);
        match work(&control) {
            Ok(done) if self.json => {
                let mut document = json!({"action": self.action, "ok": true, "result": done.result, "message": done.message});
                if !done.hints.is_empty() {
                    document["hints"] = json!(done.hints);
                }
                document["service"] = service(&control);
                Ok(output::document(&document)?)
            }
            Ok(done) => {
                output::line(self.session.style.paint(Tone::Good, done.message))?;
                done.hints.iter().try_for_each(output::line).map_err(Into::into)
            }
            Err(error) => {
                if self.json {
                    output::document(&json!({"action": self.action, "ok": false, "error": format!("{error:#}"), "hints": self.hints()}))?;
                    return Err(Failure::silent().into());
                }
                let mut lines = vec![format!("{error:#}")];
                lines.extend(self.hints());
                Err(Failure::new(lines.join("\n")).into())
            }
        }
    }

    /// How to go on without the system's services.
    fn hints(&self) -> Vec<String> {
        vec![format!("Without a service the gateway runs in the foreground: {}", self.session.instance.command("gateway"))]
    }
}

/// Returns what is said of any service.
pub(super) fn service(control: &Control) -> Value {
    let (label, loaded, not_loaded) = Platform::here().words();
    json!({"label": label, "loaded": control.is_loaded(), "loadedText": loaded, "notLoadedText": not_loaded})
}

/// Returns what a definition starts, and how.
pub(super) fn command(installed: &Installed) -> Value {
    let environment = installed.parsed.environment.iter().filter(|(name, _)| SHOWN.contains(&name.as_str()));
    let environment: serde_json::Map<String, Value> = environment.map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "programArguments": installed.parsed.arguments, "workingDirectory": installed.parsed.working_dir,
        "environment": environment, "sourcePath": installed.path,
    })
}

/// Returns what `gateway status` says of the service.
pub(super) fn document(session: &Session) -> Value {
    let control = Control::of(&session.instance, Scope::User);
    let mut document = service(&control);
    let Some(installed) = control.installed() else {
        document["command"] = Value::Null;
        document["runtime"] = json!({"status": "unknown"});
        document["configAudit"] = json!({"ok": true, "issues": []});
        return document;
    };
    let issues =
        std::env::current_exe().map(|program| crate::units::audit(Platform::here(), &installed.parsed, &program)).unwrap_or_default();
    document["command"] = command(&installed);
    document["runtime"] = json!(control.runtime());
    document["configAudit"] = json!({"ok": issues.is_empty(), "issues": issues});
    document
}
