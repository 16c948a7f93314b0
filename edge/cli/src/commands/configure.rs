//! `verso configure`: settings, section by section, by questions.

use serde_json::{Value, json};

use super::{Session, gateway_service, health, setup};
use crate::args::{self, Configure, Install, InstallFlags, Onboard, SECTIONS};
use crate::config::Gateway;
use crate::failure::Failure;
use crate::gateway::runtime;
use crate::output::{self, ask, can_ask, choose, confirm, secret};

type Wanted = Vec<(Vec<&'static str>, Value)>;

pub(super) fn run(session: &Session, arguments: &Configure) -> anyhow::Result<()> {
    if !can_ask() {
        let words = "configure asks questions, and nobody is at this terminal.\nUse `verso config set <path> <value>` instead.";
        return Err(Failure::new(words).into());
    }
    let mut sections = arguments.sections.clone();
    if sections.is_empty() {
        sections.push(choose("What do you want to set?", &SECTIONS, "gateway")?);
    }
    for section in sections {
        let wanted = section_of(session, &section)?;
        if !wanted.is_empty() {
            let changed = setup::write(&session.instance, &wanted, true)?;
            let config = session.instance.short(&session.instance.config_path);
            output::line(if changed { format!("Wrote {config}") } else { format!("Config OK: {config}") })?;
        }
    }
    Ok(())
}

fn section_of(session: &Session, section: &str) -> anyhow::Result<Wanted> {
    let text = |pointer: &str| session.snapshot.file.value().pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(match section {
        "workspace" => {
            let folder = ask("The folder that agents work in", &setup::default_workspace(session).display().to_string())?;
            let folder = std::path::absolute(folder)?;
            crate::workspace::make(&folder)?;
            vec![(vec!["agents", "defaults", "workspace"], json!(folder))]
        }
        "model" => {
            let answer = ask("The model, provider/model", &text("/agents/defaults/model/primary"))?;
            given(vec!["agents", "defaults", "model", "primary"], &answer)
        }
        "web" => {
            let provider = choose("Who searches the web?", &["brave", "perplexity", "off"], "off")?;
            let mut wanted: Wanted = vec![(vec!["tools", "web", "search", "enabled"], json!(provider != "off"))];
            if provider != "off" {
                wanted.push((vec!["tools", "web", "search", "provider"], json!(provider)));
                wanted.extend(secret("Its key")?.map(|key| (vec!["tools", "web", "search", "apiKey"], json!(key))));
            }
            wanted
        }
        "gateway" => {
            let mut plan = Onboard::by_questions();
            gateway(session, &mut plan)?;
            let mut wanted: Wanted = vec![(vec!["gateway", "mode"], json!("local"))];
            wanted.extend(plan.gateway_port.map(|port| (vec!["gateway", "port"], json!(port))));
            wanted.extend(plan.gateway_bind.map(|bind| (vec!["gateway", "bind"], json!(bind))));
            wanted.extend(plan.gateway_auth.map(|mode| (vec!["gateway", "auth", "mode"], json!(mode))));
            wanted.extend(plan.gateway_password.map(|password| (vec!["gateway", "auth", "password"], json!(password))));
            wanted
        }
        "channels" => channels(&text)?,
        "daemon" => {
            if confirm("Have this system start the gateway now and from now on?")? {
                let flags = InstallFlags { force: true, ..InstallFlags::default() };
                gateway_service::install(session, &Install { flags, ..Install::default() })?;
            }
            Vec::new()
        }
        "health" => {
            let patience = args::Patience { timeout: std::time::Duration::from_secs(10) };
            let target = args::Target { url: None, token: None, password: None };
            runtime()?.block_on(health::run(session, &args::Health { json: false, verbose: true, patience, target }))?;
            Vec::new()
        }
        _ => {
            output::line(format!("Skills are folders: see `{}`.", session.instance.command("skills list")))?;
            Vec::new()
        }
    })
}

/// Asks for an account of a chat network.
fn channels(text: &impl Fn(&str) -> String) -> anyhow::Result<Wanted> {
    let network = choose("Which network?", &["telegram", "discord", "irc"], "telegram")?;
    let token = |path: Vec<&'static str>| anyhow::Ok(secret("The bot's token")?.map(|token| (path, json!(token))).into_iter().collect());
    match network.as_str() {
        "telegram" => token(vec!["channels", "telegram", "botToken"]),
        "discord" => token(vec!["channels", "discord", "token"]),
        _ => {
            let mut wanted = given(vec!["channels", "irc", "host"], &ask("The server", &text("/channels/irc/host"))?);
            wanted.extend(given(vec!["channels", "irc", "nick"], &ask("The name to use", &text("/channels/irc/nick"))?));
            Ok(wanted)
        }
    }
}

/// What was answered; nothing is set for no answer.
fn given(path: Vec<&'static str>, answer: &str) -> Wanted {
    if answer.is_empty() { Vec::new() } else { vec![(path, json!(answer))] }
}

/// Asks how the gateway is reached.
pub(super) fn gateway(session: &Session, plan: &mut Onboard) -> anyhow::Result<()> {
    let present = Gateway::of(&session.snapshot.file);
    if plan.gateway_port.is_none() {
        let answer = ask("The port", &present.effective_port(&session.snapshot.env).to_string())?;
        let port = answer.parse().ok().filter(|port| *port > 0).ok_or_else(|| Failure::new("Invalid port"))?;
        plan.gateway_port = Some(port);
    }
    if plan.gateway_bind.is_none() {
        let usual = present.bind.as_deref().unwrap_or("loopback");
        plan.gateway_bind = Some(choose("Who may connect?", &["loopback", "lan", "tailnet", "auto"], usual)?);
    }
    if plan.gateway_auth.is_none() {
        let usual = present.auth.mode.as_deref().filter(|mode| *mode == "password").unwrap_or("token");
        plan.gateway_auth = Some(choose("How do clients prove themselves?", &["token", "password"], usual)?);
    }
    if plan.gateway_auth.as_deref() == Some("password") && plan.gateway_password.is_none() {
        plan.gateway_password = secret("The password")?;
    }
    Ok(())
}
