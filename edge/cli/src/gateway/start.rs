//! Hands the supervisor what it needs, and words its failures.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use tokio::sync::oneshot;
use verso_config::{Generation, SERVICES, Store};
use verso_kit::CancellationToken;
use verso_kit::config::Env;
use verso_kit::telemetry;
use verso_supervisor::{Announce, Config, Error, Limits, Reading, Secrets, Source};

use super::announce::Announcement;
use super::credentials::{Credentials, Origin};
use super::plan::Plan;
use super::tailscale::Publication;
use crate::args::Run;
use crate::config::Snapshot;
use crate::environment;
use crate::failure::{self, Failure};
use crate::instance::Instance;
use crate::ports::Port;
use crate::profile::Profile;

/// Provider keys and channel tokens that are used when they are set.
const KEYS: [&str; 14] = [
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_OAUTH_TOKEN",
    "GEMINI_API_KEY",
    "ZAI_API_KEY",
    "OPENROUTER_API_KEY",
    "AI_GATEWAY_API_KEY",
    "MINIMAX_API_KEY",
    "SYNTHETIC_API_KEY",
    "ELEVENLABS_API_KEY",
    "TELEGRAM_BOT_TOKEN",
    "DISCORD_BOT_TOKEN",
    "SLACK_BOT_TOKEN",
    "SLACK_APP_TOKEN",
];

/// Variables that every service may see.
const SHARED: [&str; 36] = [
    "VERSO_PROFILE",
    "VERSO_SKIP_CHANNELS",
    "VERSO_SKIP_PROVIDERS",
    "VERSO_SKIP_CRON",
    "VERSO_SKIP_GMAIL_WATCHER",
    "VERSO_SKIP_CANVAS_HOST",
    "VERSO_SKIP_BROWSER_CONTROL_SERVER",
    "VERSO_DISABLE_BONJOUR",
    "VERSO_MDNS_HOSTNAME",
    "VERSO_SSH_PORT",
    "VERSO_TAILNET_DNS",
    "VERSO_TAILSCALED_SOCKET",
    "VERSO_TAILSCALE_MODE",
    "VERSO_CLI_PATH",
    "VERSO_WIDE_AREA_DOMAIN",
    "VERSO_NIX_MODE",
    "VERSO_AGENT_DIR",
    "VERSO_OAUTH_DIR",
    "VERSO_RAW_STREAM",
    "VERSO_RAW_STREAM_PATH",
    "VERSO_DIAGNOSTICS",
    "VERSO_DEBUG_HEALTH",
    "VERSO_NODE_EXEC_HOST",
    "VERSO_NODE_EXEC_FALLBACK",
    "VERSO_BASH_PENDING_MAX_OUTPUT_CHARS",
    "VERSO_TTS_PREFS",
    "VERSO_VERBOSE",
    "VERSO_WS_LOG",
    "VERSO_LOCAL_MODELS",
    "NO_COLOR",
    "FORCE_COLOR",
    "OPENAI_BASE_URL",
    "OLLAMA_HOST",
    "OPENAI_MODEL",
    "ANTHROPIC_MODEL",
    "ANTHROPIC_OPENAI_BASE_URL",
];

/// What to start, and for whom.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) instance: &'a Instance,
    pub(super) snapshot: &'a Snapshot,
    pub(super) plan: Plan,
    pub(super) credentials: Credentials,
    pub(super) publication: Option<Publication>,
    pub(super) flags: &'a Run,
    pub(super) no_color: bool,
}

/// Runs the supervisor until it is told to stop.
pub(super) fn start(order: Order<'_>) -> anyhow::Result<ExitCode> {
    let env = environment(&order);
    let announcement = Announcement::of(&order)?;
    let (listening, heard_listening) = oneshot::channel();
    let (ready, heard_ready) = oneshot::channel();
    let Order { instance, snapshot, plan, credentials, publication, .. } = order;
    let port = plan.listen.port;
    let config = Config {
        state_dir: instance.state_dir.clone(),
        config_path: instance.config_path.clone(),
        executable: std::env::current_exe()?,
        public: plan.listen,
        canvas_port: plan.canvas_port,
        services: plan.services,
        secrets: secrets(snapshot, &credentials),
        pass_env: shared(&env, &credentials),
        restart_on_signal: restart_on_signal(snapshot),
        limits: Limits::default(),
        announce: Announce { listening: Some(listening), ready: Some(ready) },
        configuration: Some(source(instance, credentials)),
    };
    let result = runtime()?.block_on(async {
        let telemetry = telemetry::start("supervisor", &instance.state_dir, &snapshot.file, &env)?;
        let published = async {
            let listening = announcement.print(heard_listening, heard_ready).await;
            if let (Some(publication), Some(port)) = (&publication, listening.and_then(|listening| Some(listening.public.first()?.port())))
            {
                publication.publish(port).await;
            }
        };
        let (result, ()) = tokio::join!(verso_supervisor::run(config, CancellationToken::new()), published);
        if let Some(publication) = &publication {
            publication.take_back().await;
        }
        telemetry.finish().await;
        anyhow::Ok(result)
    })?;
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(failed(&snapshot.env, &error, port).into()),
    }
}

/// Reads the configuration again, as this start has read it, with what `.env` files say now.
fn source(instance: &Instance, credentials: Credentials) -> Source {
    let (path, profile) = (instance.config_path.clone(), instance.profile.clone());
    let read = {
        let (path, profile) = (path.clone(), profile.clone());
        move || {
            let env = environment::complete(Env::process(), &profile);
            let read = verso_config::Snapshot::read(&path, &env);
            let mut files = read.file.files().to_vec();
            if files.is_empty() {
                files.push(path.clone());
            }
            let snapshot = Snapshot::checked(read);
            if !snapshot.is_valid() || snapshot.missing.is_some() {
                return Err(snapshot.problems.into_iter().chain(snapshot.legacy).chain(snapshot.missing).collect());
            }
            let (secrets, restart_on_signal) = (secrets(&snapshot, &credentials), restart_on_signal(&snapshot));
            Ok(Reading { value: snapshot.file.value().clone(), files, secrets, restart_on_signal })
        }
    };
    Source { read: Box::new(read), earlier: Box::new(move |number| earlier(&path, &profile, number)) }
}

/// Reads a kept state of the configuration: that of the number, or the newest that differs from the file and can be used.
fn earlier(path: &Path, profile: &Profile, number: Option<u64>) -> Result<(u64, serde_json::Value), String> {
    let env = environment::complete(Env::process(), profile);
    let store = Store::new(path, &env);
    let kept = store.generations().map_err(|error| error.to_string())?;
    let present = store.read().map_err(|error| error.to_string())?.map(|text| verso_config::content_hash(&text));
    let wanted = |generation: &Generation| match number {
        Some(number) => generation.number == number,
        None => Some(&generation.hash) != present.as_ref(),
    };
    for generation in kept.into_iter().filter(wanted) {
        let text = store.generation(generation.number).map_err(|error| error.to_string())?;
        let snapshot = Snapshot::checked(verso_config::Snapshot::of_text(path, text, &env));
        if snapshot.is_valid() && snapshot.missing.is_none() {
            return Ok((generation.number, snapshot.file.value().clone()));
        }
    }
    Err(number.map_or_else(|| "no kept state of the file can be used".to_owned(), |number| format!("generation {number} cannot be used")))
}

fn restart_on_signal(snapshot: &Snapshot) -> bool {
    snapshot.file.value().pointer("/commands/restart").and_then(serde_json::Value::as_bool).unwrap_or(true)
}

/// A runtime for commands that mostly wait: one thread.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The environment with what flags add to it.
fn environment(order: &Order<'_>) -> Env {
    let flags = order.flags;
    let switches = [(flags.verbose, "VERSO_VERBOSE"), (order.no_color, "NO_COLOR"), (flags.raw_stream, "VERSO_RAW_STREAM")];
    let switches = switches.into_iter().filter(|(on, _)| *on).map(|(_, name)| (name, "1"));
    let raw_stream_path = flags.raw_stream_path.as_ref().and_then(|path| path.to_str());
    let values = [
        ("VERSO_WS_LOG", flags.ws_log.as_deref().filter(|style| *style == "full")),
        ("VERSO_RAW_STREAM_PATH", raw_stream_path),
        // The flag counts, whatever the file says.
        ("VERSO_TAILSCALE_MODE", order.publication.as_ref().map(Publication::mode).or(flags.tailscale.as_ref().map(|_| "off"))),
    ];
    order.snapshot.env.clone().with(switches.chain(values.into_iter().filter_map(|(name, value)| Some((name, value?)))))
}

/// Keys that are set, and whatever the configuration refers to. The secrets of the gateway are those that were chosen.
fn secrets(snapshot: &Snapshot, credentials: &Credentials) -> Secrets {
    let names = KEYS.into_iter().chain(snapshot.variables.iter().map(String::as_str));
    let mut secrets: BTreeMap<String, String> =
        names.filter_map(|name| Some((name.to_owned(), snapshot.env.get(name)?.to_owned()))).collect();
    // What the file says is read there, so that a change of it counts.
    let chosen = (credentials.origin != Origin::Config).then_some(());
    for (name, secret) in [("VERSO_GATEWAY_TOKEN", &credentials.token), ("VERSO_GATEWAY_PASSWORD", &credentials.password)] {
        if let (Some(()), Some(secret)) = (chosen, secret) {
            secrets.insert(name.to_owned(), secret.expose().clone());
        }
    }
    let readers = SERVICES.map(|service| (service.to_owned(), verso_config::variables_of(snapshot.file.value(), service)));
    Secrets { values: secrets, readers: readers.into() }
}

fn shared(env: &Env, credentials: &Credentials) -> BTreeMap<String, String> {
    let mut shared: BTreeMap<String, String> = env
        .iter()
        .filter(|(name, value)| !value.is_empty() && (SHARED.contains(name) || name.starts_with("OTEL_")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if credentials.mode_is_fixed {
        shared.insert("VERSO_GATEWAY_AUTH".to_owned(), credentials.mode.clone());
    }
    if credentials.origin == Origin::Flag {
        shared.insert("VERSO_GATEWAY_AUTH_FIXED".to_owned(), "1".to_owned());
    }
    shared
}

/// Says why there is no gateway, and who is in the way.
fn failed(env: &Env, error: &Error, port: u16) -> Failure {
    let mut lines = vec![format!("Gateway failed to start: {}", failure::chain(error))];
    if matches!(error, Error::AlreadyRunning { .. } | Error::PortTaken(_))
        && let Ok(found) = Port::inspect(port)
        && found.is_busy()
    {
        lines.push(format!("Port {port} is already in use."));
        lines.extend(found.listeners.iter().map(|one| format!("- pid {}: {} ({})", one.pid, one.command, one.address)));
        lines.extend(found.hints().into_iter().map(|hint| format!("- {hint}")));
    }
    match error {
        Error::AlreadyRunning { .. } => Failure::refusal(lines.join("\n"), env),
        _ => Failure::new(lines.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use verso_kit::config::Secret;

    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            mode: "token".to_owned(),
            token: Some(Secret::new("chosen".to_owned())),
            password: None,
            origin: Origin::Flag,
            mode_is_fixed: true,
        }
    }

    #[test]
    fn hands_over_keys_and_references_and_the_chosen_token_only() {
        let env = Env::from_pairs([("OPENAI_API_KEY", "k"), ("MINE", "m"), ("OTHER", "o"), ("VERSO_GATEWAY_TOKEN", "stale")]);
        let variables = vec!["MINE".to_owned(), "ABSENT".to_owned()];
        let snapshot = Snapshot::of(serde_json::json!({}), env, variables);
        let secrets = secrets(&snapshot, &credentials()).values;
        let found: Vec<(&str, &str)> = secrets.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("MINE", "m"), ("OPENAI_API_KEY", "k"), ("VERSO_GATEWAY_TOKEN", "chosen")]);
    }

    #[test]
    fn shares_no_secret() {
        let env =
            Env::from_pairs([("VERSO_SKIP_CRON", "1"), ("VERSO_GATEWAY_TOKEN", "t"), ("OPENAI_API_KEY", "k"), ("OTEL_SERVICE_NAME", "n")]);
        let shared = shared(&env, &credentials());
        assert_eq!(
            shared.keys().collect::<Vec<_>>(),
            ["OTEL_SERVICE_NAME", "VERSO_GATEWAY_AUTH", "VERSO_GATEWAY_AUTH_FIXED", "VERSO_SKIP_CRON"]
        );
    }
}
