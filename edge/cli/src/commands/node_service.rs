//! `verso node install`, `uninstall`, `start`, `stop`, `restart` and `status`: this machine as a node, kept by the system.

use serde_json::{Value, json};

use super::Session;
use super::gateway_service::{carry_out, command, scope, service};
use crate::args::{NodeInstall, ServiceFlags};
use crate::failure::Failure;
use crate::output::{self, Tone};
use crate::units::{Control, Definition, Platform, Unit};

/// Has this system keep this machine a node.
pub(super) fn install(session: &Session, arguments: &NodeInstall) -> anyhow::Result<()> {
    let flags = arguments.flags;
    let (scope, platform) = (scope(flags.system), Platform::here());
    let definition = Definition::of_node(&session.instance, platform)?;
    let unit = Unit { path: platform.node_path(&session.instance, scope), text: platform.render(&definition, scope)? };
    if flags.print {
        return Ok(output::part(&unit.text)?);
    }
    if session.snapshot.env.flag("VERSO_NIX_MODE") {
        return Err(Failure::new("Nix mode detected; service install is disabled.").into());
    }
    let control = Control::of_node(&session.instance, scope);
    control.available()?;
    if control.installed().is_some() && control.is_loaded() && !flags.force {
        let again = session.instance.command("node install --force");
        return tell(
            session,
            &control,
            flags.json,
            ("install", "already-installed"),
            &format!("Node service already enabled. Reinstall with: {again}"),
        );
    }
    control.install(&unit)?;
    tell(session, &control, flags.json, ("install", "installed"), &format!("Installed service: {}", unit.path.display()))
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
    let result = carry_out(&control, action)?;
    tell(session, &control, flags.json, (action, result), &format!("Node service {result}."))
}

/// Shows the service.
pub(super) fn status(session: &Session, flags: ServiceFlags) -> anyhow::Result<()> {
    let control = Control::of_node(&session.instance, scope(flags.system));
    let mut service = service(&control);
    let installed = control.installed();
    service["command"] = installed.as_ref().map_or(Value::Null, command);
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
        let document = json!({"action": action, "ok": true, "result": result, "message": words, "service": service(control)});
        return Ok(output::document(&document)?);
    }
    Ok(output::line(session.style.paint(Tone::Good, words))?)
}
