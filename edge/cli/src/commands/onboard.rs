//! `verso onboard`: a whole gateway, by flags or by questions.

use std::fs;

use serde_json::{Value, json};
use verso_kit::clock::Clock;
use verso_kit::files;

use super::{Session, configure, gateway_service, health, reset, setup};
use crate::args::{self, Install, Onboard};
use crate::failure::Failure;
use crate::gateway::runtime;
use crate::output::{self, Tone, ask, can_ask, choose, confirm, secret};
use crate::workspace;

/// What can be chosen, and the variable that the provider's key is kept in.
const PROVIDERS: [(&str, &str, &str); 8] = [
    ("openai-api-key", "OPENAI_API_KEY", "OpenAI"),
    ("apiKey", "ANTHROPIC_API_KEY", "Anthropic"),
    ("gemini-api-key", "GEMINI_API_KEY", "Google Gemini"),
    ("openrouter-api-key", "OPENROUTER_API_KEY", "OpenRouter"),
    ("ai-gateway-api-key", "AI_GATEWAY_API_KEY", "AI Gateway"),
    ("zai-api-key", "ZAI_API_KEY", "Z.AI"),
    ("minimax-api", "MINIMAX_API_KEY", "MiniMax"),
    ("synthetic-api-key", "SYNTHETIC_API_KEY", "Synthetic"),
];

const RISK: &str = "Agents can run programs and read files on this machine, and whoever talks to them may get them to. \
                    Keep the gateway to people whom you trust, and read `verso security audit`.";

pub(super) fn run(session: &Session, arguments: &Onboard) -> anyhow::Result<()> {
    if !arguments.non_interactive {
        return ask_everything_but(session, arguments);
    }
    if arguments.reset {
        reset::remove_state(session)?;
    }
    let choice = arguments.auth_choice.as_deref().unwrap_or("skip");
    let variable = variable_of(choice)?;
    let key = key(session, arguments)?;
    if variable.is_some() && key.is_none() {
        return Err(
            Failure::new(format!("--auth-choice {choice} needs --api-key-file, --api-key or {}", variable.unwrap_or_default())).into()
        );
    }
    let wanted = wanted(session, arguments)?;
    setup::write(&session.instance, &wanted, true)?;
    if let (Some(variable), Some(key)) = (variable, key) {
        keep_key(session, variable, &key)?;
    }
    let folder = match &arguments.workspace {
        Some(folder) => std::path::absolute(folder)?,
        None => setup::default_workspace(session),
    };
    workspace::make(&folder)?;
    finish(session, arguments)?;
    if arguments.json {
        let gateway = crate::config::Gateway::of(&crate::config::Snapshot::read(&session.instance).file);
        return Ok(output::document(&json!({
            "mode": arguments.mode, "workspace": folder, "authChoice": choice,
            "gateway": {
                "port": gateway.effective_port(&session.snapshot.env), "bind": gateway.bind.unwrap_or_else(|| "loopback".to_owned()),
                "authMode": gateway.auth.mode.unwrap_or_else(|| "token".to_owned()),
                "tailscaleMode": arguments.tailscale.as_deref().unwrap_or("off"),
            },
            "installDaemon": arguments.install_daemon, "daemonRuntime": Value::Null, "skipSkills": arguments.skip_skills,
            "skipHealth": arguments.skip_health,
        }))?);
    }
    farewell(session, arguments.skip_ui)
}

/// What the flags ask of the file.
fn wanted(session: &Session, arguments: &Onboard) -> anyhow::Result<Vec<(Vec<&'static str>, Value)>> {
    let mut wanted = vec![(vec!["gateway", "mode"], json!(arguments.mode))];
    let mut add = |path: &[&'static str], value: Option<Value>| wanted.extend(value.map(|value| (path.to_vec(), value)));
    add(&["gateway", "port"], arguments.gateway_port.map(|port| json!(port)));
    add(&["gateway", "bind"], arguments.gateway_bind.as_ref().map(|bind| json!(bind)));
    add(&["gateway", "auth", "mode"], arguments.gateway_auth.as_ref().map(|mode| json!(mode)));
    add(&["gateway", "auth", "password"], arguments.gateway_password.as_ref().map(|password| json!(password)));
    add(&["gateway", "tailscale", "mode"], arguments.tailscale.as_ref().map(|mode| json!(mode)));
    add(&["gateway", "remote", "url"], arguments.remote_url.as_ref().map(|url| json!(url)));
    add(&["gateway", "remote", "token"], arguments.remote_token.as_ref().map(|token| json!(token)));
    let folder = arguments.workspace.as_ref().map(std::path::absolute).transpose()?;
    add(&["agents", "defaults", "workspace"], folder.map(|folder| json!(folder)));
    if arguments.mode == "remote" && arguments.remote_url.is_none() {
        return Err(Failure::new("--mode remote requires --remote-url").into());
    }
    let by_password = arguments.gateway_auth.as_deref() == Some("password");
    if by_password && arguments.gateway_password.is_none() && session.snapshot.env.get("VERSO_GATEWAY_PASSWORD").is_none() {
        return Err(Failure::new("--gateway-auth password requires --gateway-password or VERSO_GATEWAY_PASSWORD").into());
    }
    if arguments.mode == "local" && !by_password {
        let token = arguments.gateway_token.clone().unwrap_or_else(setup::new_token);
        add(&["gateway", "auth", "token"], Some(json!(token)));
    }
    let now = jiff::Timestamp::from_millisecond(Clock::system().now_ms()).unwrap_or_default().to_string();
    add(&["wizard", "lastRunAt"], Some(json!(now)));
    add(&["wizard", "lastRunVersion"], Some(json!(env!("CARGO_PKG_VERSION"))));
    add(&["wizard", "lastRunCommand"], Some(json!("onboard")));
    add(&["wizard", "lastRunMode"], Some(json!(arguments.mode)));
    Ok(wanted)
}

fn variable_of(choice: &str) -> anyhow::Result<Option<&'static str>> {
    if choice == "skip" {
        return Ok(None);
    }
    if let Some((_, variable, _)) = PROVIDERS.iter().find(|(name, ..)| *name == choice) {
        return Ok(Some(variable));
    }
    let known = PROVIDERS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    Err(Failure::new(format!("--auth-choice {choice} is not available in this build (available: skip, {known})")).into())
}

fn key(session: &Session, arguments: &Onboard) -> anyhow::Result<Option<String>> {
    if let Some(path) = &arguments.api_key_file {
        return Ok(Some(fs::read_to_string(path)?.trim().to_owned()));
    }
    let variable = arguments.auth_choice.as_deref().map(variable_of).transpose()?.flatten();
    Ok(arguments.api_key.clone().or_else(|| Some(session.snapshot.env.get(variable?)?.to_owned())))
}

/// Keeps a provider's key where every start of this gateway finds it, and nobody else: `.env` in the state folder.
fn keep_key(session: &Session, variable: &str, key: &str) -> anyhow::Result<()> {
    if key.chars().any(char::is_control) {
        return Err(Failure::new("the key holds a control character").into());
    }
    let path = session.instance.state_dir.join(".env");
    let present = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    let mut lines: Vec<String> =
        present.lines().filter(|line| !line.trim_start().starts_with(&format!("{variable}="))).map(str::to_owned).collect();
    lines.push(format!("{variable}={key}"));
    files::create_private_dir(&session.instance.state_dir)?;
    Ok(files::write_atomic(&path, (lines.join("\n") + "\n").as_bytes(), 0o600)?)
}

/// Installs the service and asks for the health, as far as that is wanted.
fn finish(session: &Session, arguments: &Onboard) -> anyhow::Result<()> {
    if arguments.install_daemon && !arguments.no_install_daemon {
        gateway_service::install(session, &Install::default())?;
        if !arguments.skip_health {
            let patience = args::Patience { timeout: std::time::Duration::from_secs(10) };
            let target = args::Target { url: None, token: None, password: None };
            runtime()?.block_on(health::run(session, &args::Health { json: false, verbose: false, patience, target }))?;
        }
    }
    Ok(())
}

fn farewell(session: &Session, quiet: bool) -> anyhow::Result<()> {
    let instance = &session.instance;
    output::line(session.style.paint(Tone::Good, format!("Wrote {}", instance.short(&instance.config_path))))?;
    if !quiet {
        output::line(format!("Start the gateway: {}", instance.command("gateway")))?;
        output::line(format!("Its page: {}", instance.command("dashboard")))?;
    }
    Ok(())
}

/// `verso setup --wizard`.
pub(super) fn ask_everything(session: &Session) -> anyhow::Result<()> {
    ask_everything_but(session, &Onboard::by_questions())
}

fn ask_everything_but(session: &Session, arguments: &Onboard) -> anyhow::Result<()> {
    if !can_ask() {
        let words = "onboard asks questions, and nobody is at this terminal.\nGive everything by flags: verso onboard --non-interactive --accept-risk …";
        return Err(Failure::new(words).into());
    }
    output::notice(RISK);
    if !arguments.accept_risk && !confirm("Go on?")? {
        return Err(Failure::new("Nothing was changed.").into());
    }
    if arguments.reset {
        reset::remove_state(session)?;
    }
    let names: Vec<&str> = PROVIDERS.iter().map(|(name, ..)| *name).chain(["skip"]).collect();
    let choice = match &arguments.auth_choice {
        Some(choice) => choice.clone(),
        None => choose("Whose models answer?", &names, "skip")?,
    };
    if let Some(variable) = variable_of(&choice)?
        && let Some(key) = secret(&format!("The key, kept as {variable}"))?
    {
        keep_key(session, variable, &key)?;
    }
    let usual = setup::default_workspace(session).display().to_string();
    let folder = std::path::absolute(ask("The folder that agents work in", &usual)?)?;
    let mut plan = Onboard { workspace: Some(folder.clone()), ..arguments.clone() };
    if arguments.flow != "quickstart" {
        configure::gateway(session, &mut plan)?;
    }
    setup::write(&session.instance, &wanted(session, &plan)?, true)?;
    workspace::make(&folder)?;
    plan.install_daemon = plan.install_daemon || (!plan.no_install_daemon && confirm("Have this system start the gateway from now on?")?);
    finish(session, &plan)?;
    farewell(session, arguments.skip_ui)
}
