//! What runs: the service, the port, the gateway and its processes.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::super::{Session, gateway_service, services};
use super::{Check, Status};
use crate::args::{Doctor, Target};
use crate::client::{Connection, Mode};
use crate::config::Gateway;
use crate::ports::Port;
use crate::units::{self, Control, Platform, Scope, audit};

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at everything; with `deep`, also at other gateways and the chat networks.
pub(super) async fn all(session: &Session, arguments: &Doctor) -> Vec<Check> {
    let deep = arguments.deep;
    let mut checks = vec![service(session, arguments)];
    checks.extend(linger(session));
    let answer = ask(session, deep).await;
    checks.push(port(session, answer.is_ok()));
    match answer {
        Ok(more) => {
            checks.push(Check::ok("gateway.reachable", "the gateway answers"));
            checks.extend(more);
        }
        Err(error) => {
            let words = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
            let check = Check::wrong("gateway.reachable", Status::Warn, words);
            checks.push(check.mended_by(format!("Start it with: {}", session.instance.command("gateway"))));
        }
    }
    if let Ok(list) = services::list(session).await {
        checks.extend(list.iter().map(|service| {
            if service.state == "serving" {
                return Check::ok("services.state", format!("{} serves", service.name));
            }
            let last = service.last_exit.as_deref().map(|exit| format!(" (last exit: {exit})")).unwrap_or_default();
            let check = Check::wrong("services.state", Status::Error, format!("{} is {}{last}", service.name, service.state));
            check.mended_by(session.instance.command(&format!("logs --service {}", service.name)))
        }));
    }
    if let Ok(list) = services::list(session).await {
        checks.extend(services::problems(&list).into_iter().map(|problem| {
            let check = Check::wrong("services.config", Status::Error, problem);
            check.because("The service works with an earlier configuration than the others.").mended_by("Correct the key that it names.")
        }));
    }
    if let Ok(list) = services::list(session).await {
        checks.extend(services::shortages(&list).into_iter().map(|words| {
            let check = Check::wrong("services.pressure", Status::Warn, words);
            let check = check.because("It is near what it may use; above that it is replaced, or refused more.");
            check.mended_by("Look at `verso services list --json`; gateway.budgets says what each may use.")
        }));
    }
    checks.push(others(session, deep));
    checks
}

/// A person's services stop when he logs out, unless they linger.
fn linger(session: &Session) -> Option<Check> {
    Control::of(&session.instance, Scope::User).installed()?;
    let id = "service.linger";
    if gateway_service::lingers()? {
        return Some(Check::ok(id, "the service goes on when you log out"));
    }
    let check = Check::wrong(id, Status::Warn, "the service stops when you log out");
    Some(check.mended_by("loginctl enable-linger"))
}

async fn ask(session: &Session, deep: bool) -> anyhow::Result<Vec<Check>> {
    let target = Target { url: None, token: None, password: None };
    let mut connection = Connection::open(session, &target, PATIENCE, Mode::Probe).await?;
    let version = connection.server().version;
    let mut checks = Vec::new();
    let ours = env!("CARGO_PKG_VERSION");
    checks.push(if version == ours {
        Check::ok("gateway.version", format!("the gateway is {version}"))
    } else {
        let check = Check::wrong("gateway.version", Status::Warn, format!("the gateway is {version}, this program {ours}"));
        check.mended_by(session.instance.command("gateway restart"))
    });
    let status = connection.call("status", json!({}), PATIENCE).await?;
    for server in status["mcp"].as_array().into_iter().flatten() {
        let name = server["name"].as_str().unwrap_or_default();
        checks.push(match server["error"].as_str() {
            None => Check::ok("mcp.servers", format!("the MCP server {name} is {}", server["state"].as_str().unwrap_or_default())),
            Some(error) => {
                let check = Check::wrong("mcp.servers", Status::Warn, format!("the MCP server {name}: {error}"));
                check.mended_by(format!("Look at mcp.servers.{name} in the configuration; it is tried again by itself."))
            }
        });
    }
    if deep {
        let status = connection.call("channels.status", json!({"probe": true}), PATIENCE).await?;
        for account in
            status["channelAccounts"].as_object().into_iter().flat_map(serde_json::Map::values).filter_map(|list| list.as_array()).flatten()
        {
            if let Some(error) = account["lastError"].as_str().filter(|error| !error.is_empty()) {
                checks.push(Check::wrong("channels.error", Status::Warn, format!("{}: {error}", account["accountId"])));
            }
        }
    }
    Ok(checks)
}

fn service(session: &Session, arguments: &Doctor) -> Check {
    let control = Control::of(&session.instance, Scope::User);
    let id = "service.definition";
    let Some(installed) = control.installed() else { return Check::ok(id, "no service is installed") };
    let issues = std::env::current_exe().map(|program| audit(Platform::here(), &installed.parsed, &program)).unwrap_or_default();
    if issues.is_empty() {
        return Check::ok(id, session.instance.short(&installed.path));
    }
    let words: Vec<String> = issues.iter().map(|issue| format!("{} ({})", issue.message, issue.code)).collect();
    // What replaces somebody's own work is done only when it is insisted on.
    let harmless = issues.iter().all(|issue| issue.level == "recommended");
    if arguments.fix && (harmless || arguments.force) && gateway_service::rewrite(session).is_ok() {
        return Check::wrong(id, Status::Fixed, format!("wrote {} again", session.instance.short(&installed.path)));
    }
    let fix = if harmless { "gateway install --force" } else { "doctor --fix --force" };
    Check::wrong(id, Status::Warn, words.join("; ")).mended_by(session.instance.command(fix))
}

fn port(session: &Session, answered: bool) -> Check {
    let number = Gateway::of(&session.snapshot.file).effective_port(&session.snapshot.env);
    let Ok(found) = Port::inspect(number) else {
        return Check::wrong("port.free", Status::Warn, format!("could not look at port {number}"));
    };
    match (found.is_busy(), answered) {
        (false, _) => Check::ok("port.free", format!("nobody listens on port {number}")),
        (true, true) => Check::ok("port.free", format!("the gateway listens on port {number}")),
        (true, false) => {
            let check = Check::wrong("port.free", Status::Error, format!("port {number} is taken, and no gateway answers on it"));
            check.mended_by(found.hints().join(" "))
        }
    }
}

/// Other gateways of this machine: two on one port, or with one account of a chat network, disturb each other.
fn others(session: &Session, deep: bool) -> Check {
    let home = PathBuf::from(session.instance.env.get("HOME").unwrap_or("/"));
    let mut folders = vec![home.join(".config/systemd/user"), home.join("Library/LaunchAgents")];
    if deep {
        let system =
            ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/Library/LaunchAgents", "/Library/LaunchDaemons"];
        folders.extend(system.map(PathBuf::from));
    }
    let found: Vec<String> = units::strangers(&folders)
        .iter()
        .map(|(path, legacy)| {
            let age = if *legacy { " (of an older product)" } else { "" };
            format!("{}{age}", session.instance.short(path))
        })
        .collect();
    if found.is_empty() {
        return Check::ok("services.others", "no other gateway is installed");
    }
    let check = Check::wrong("services.others", Status::Warn, format!("other gateways are installed: {}", found.join(", ")));
    check.because("Two gateways need ports, folders and accounts of their own.").mended_by("Stop the one that is not needed.")
}
