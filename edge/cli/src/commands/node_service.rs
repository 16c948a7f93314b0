//! `verso node install`, `uninstall`, `start`, `stop`, `restart` and `status`: this machine as a node, kept by the system.

use serde_json::{Value, json};

use super::Session;
use crate::args::{NodeInstall, ServiceFlags};
use crate::failure::Failure;
use crate::output::{self, Tone};
use crate::units::{Control, Definition, Platform, Scope};

/// The variables of the definition that are shown: never what may be secret.
const SHOWN: [&str; 4] = ["VERSO_PROFILE", "VERSO_STATE_DIR", "VERSO_CONFIG_PATH", "VERSO_NIX_MODE"];

/// Has this system keep this machine a node.
pub(super) fn install(session: &Session, arguments: &NodeInstall) -> anyhow::Result<()> {
    let (scope, platform) = (scope(arguments.system), Platform::here());
    let definition = Definition::of_node(&session.instance, platform)?;
    let unit = crate::units::Unit { path: platform.node_path(&session.instance, scope), text: platform.render(&definition, scope)? };
    if arguments.print {
        return Ok(output::part(&unit.text)?);
    }
    if session.snapshot.env.flag("VERSO_NIX_MODE") {
        return Err(Failure::new("Nix mode detected; service install is disabled.").into());
    }
    let control = Control::of_node(&session.instance, scope);
    control.available()?;
    if control.installed().is_some() && control.is_loaded() && !arguments.force {
        let again = session.instance.command("node install --force");
        return tell(
            session,
            &control,
            arguments.json,
            ("install", "already-installed"),
            &format!("Node service already enabled. Reinstall with: {again}"),
        );
    }
    control.install(&unit)?;
    tell(session, &control, arguments.json, ("install", "installed"), &format!("Installed service: {}", unit.path.display()))
}

/// Acts on the service that is installed.
pub(super) fn act(session: &Session, action: &'static str, flags: ServiceFlags) -> anyhow::Result<()> {
    let control = Control::of_node(&session.instance, scope(flags.system));
    if action != "uninstall" && control.installed().is_none() {
        let words = "Node service is not installed.";
        if action == "start" {
            return Err(Failure::new(format!("{words}\nInstall it with: {}", session.instance.command("node install"))).into());
        }
        return tell(session, &control, flags.json, (action, "not-loaded"), words);
    }
    control.available()?;
    let result = match action {
        "uninstall" => {
            control.uninstall()?;
            "uninstalled"
        }
        "start" => {
            control.act("start")?;
            "started"
        }
        "stop" => {
            control.act("stop")?;
            "stopped"
        }
        _ => {
            control.act("restart")?;
            "restarted"
        }
    };
    tell(session, &control, flags.json, (action, result), &format!("Node service {result}."))
}

/// Shows the service.
pub(super) fn status(session: &Session, flags: ServiceFlags) -> anyhow::Result<()> {
    let control = Control::of_node(&session.instance, scope(flags.system));
    let mut service = summary(&control);
    let installed = control.installed();
    service["command"] = installed.as_ref().map_or(Value::Null, |installed| {
        let environment = installed.parsed.environment.iter().filter(|(name, _)| SHOWN.contains(&name.as_str()));
        let environment: serde_json::Map<String, Value> = environment.map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "programArguments": installed.parsed.arguments, "workingDirectory": installed.parsed.working_dir,
            "environment": environment, "sourcePath": installed.path,
        })
    });
    service["runtime"] = if installed.is_some() { json!(control.runtime()) } else { json!({"status": "unknown"}) };
    if flags.json {
        return Ok(output::document(&json!({"service": service}))?);
    }
    let loaded = if service["loaded"] == true { &service["loadedText"] } else { &service["notLoadedText"] };
    output::line(format!("Service: {} ({})", output::plain(&service["label"]), output::plain(loaded)))?;
    let command = installed.map_or_else(|| "not installed".to_owned(), |installed| installed.parsed.arguments.join(" "));
    output::line(format!("Command: {command}"))?;
    Ok(output::line(format!("Runtime: {}", output::plain(&service["runtime"]["status"])))?)
}

fn tell(session: &Session, control: &Control, json: bool, (action, result): (&str, &str), words: &str) -> anyhow::Result<()> {
    if json {
        let document = json!({"action": action, "ok": true, "result": result, "message": words, "service": summary(control)});
        return Ok(output::document(&document)?);
    }
    Ok(output::line(session.style.paint(Tone::Good, words))?)
}

fn summary(control: &Control) -> Value {
    let (label, loaded, not_loaded) = Platform::here().words();
    json!({"label": label, "loaded": control.is_loaded(), "loadedText": loaded, "notLoadedText": not_loaded})
}

fn scope(system: bool) -> Scope {
    if system { Scope::System } else { Scope::User }
}
