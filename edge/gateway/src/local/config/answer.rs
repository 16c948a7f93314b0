//! What is told about a change, and about the keys.

use std::sync::OnceLock;

use serde_json::Value;
use verso_config::{Action, Hint, Plan, Problem, Redactor, Settings, changed_paths};
use verso_kit::config::File;
use verso_proto::Json;
use verso_proto::edge::v1::{
    ConfigIssue, ConfigKey, ConfigRestart, ConfigSchemaLookupResponse, ConfigSchemaResponse, ConfigSentinel, ConfigSentinelPayload,
    ConfigSentinelStats, UiHint,
};
use verso_protocol::ErrorShape;

use crate::error::fault;
use crate::gateway::Gateway;
use crate::local::Answer;

/// A change that was written.
pub(super) struct Change {
    /// The file as clients see it.
    pub(super) config: Json,
    pub(super) before: Value,
    pub(super) after: Value,
}

impl Change {
    /// Says what the change does to the running gateway.
    pub(super) fn told(&self, gateway: &Gateway, mode: &str, note: Option<String>) -> (ConfigRestart, ConfigSentinel) {
        let settings = Settings::of(&self.after);
        let plan = Plan::of(&changed_paths(&self.before, &self.after), settings.mode);
        let names = |action| plan.doing(action).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let (services, reloaded) = (names(Action::Restart), names(Action::Hot));
        let waiting: Vec<&str> = plan.ignored.iter().chain(&plan.gateway).map(String::as_str).collect();
        let reason = match (waiting.is_empty(), services.is_empty(), reloaded.is_empty()) {
            (false, ..) => format!("these wait for the next start of the gateway: {}", waiting.join(", ")),
            (true, false, _) => format!("{mode}: services are restarted"),
            (true, true, false) => format!("{mode}: applied without a restart"),
            (true, true, true) => format!("{mode}: nothing has to be applied"),
        };
        let supervisor = gateway.context.env.get("VERSO_SUPERVISOR_PID").and_then(|pid| pid.parse().ok());
        let pid = supervisor.unwrap_or_else(|| i64::from(rustix::process::getpid().as_raw_pid()));
        let status = if waiting.is_empty() { "ok" } else { "skipped" };
        let restart = ConfigRestart {
            ok: waiting.is_empty(),
            pid,
            signal: "SIGUSR1".to_owned(),
            delay_ms: i64::try_from(settings.debounce_ms).unwrap_or(i64::MAX),
            reason,
            mode: "emit".to_owned(),
            services,
            reloaded,
        };
        let payload = ConfigSentinelPayload {
            kind: "config-apply".to_owned(),
            status: status.to_owned(),
            ts_ms: gateway.context.clock.now_ms(),
            session_key: None,
            delivery_context: None,
            message: note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty()),
            doctor_hint: Some("Run: verso doctor --fix".to_owned()),
            stats: Some(ConfigSentinelStats { mode: mode.to_owned(), root: gateway.config_path().display().to_string() }),
        };
        (restart, ConfigSentinel { path: None, payload: Some(payload) })
    }
}

/// Replaces the variables that this process knows; the others belong to other services and stay as they are written.
pub(super) fn resolved_leniently(file: &File) -> Value {
    let mut names = Vec::new();
    let text = file.value().to_string();
    for part in text.split("${").skip(1) {
        names.extend(part.split_once('}').map(|(name, _)| (name.to_owned(), format!("${{{name}}}"))));
    }
    let env = file.env().clone().with_missing(names);
    file.clone().with_env(env).resolved().unwrap_or_else(|_| file.value().clone())
}

pub(super) fn issues(problems: &[Problem], redactor: &Redactor) -> Vec<ConfigIssue> {
    problems.iter().map(|problem| ConfigIssue { path: problem.path.clone(), message: redactor.text(&problem.message) }).collect()
}

/// The schema of every key. It does not change while the process runs, so it is rendered once.
pub(super) fn schema() -> Answer {
    static RENDERED: OnceLock<Result<String, String>> = OnceLock::new();
    let rendered = RENDERED.get_or_init(|| {
        let response = ConfigSchemaResponse {
            schema: Some(Json { text: verso_config::schema().to_string() }),
            ui_hints: verso_config::hints().into_iter().map(|(path, hint)| (path, shown(hint))).collect(),
            version: crate::VERSION.to_owned(),
            generated_at: verso_kit::clock::Clock::system().now_rfc3339(),
        };
        serde_json::to_string(&response).map_err(|error| error.to_string())
    });
    rendered.clone().map_err(|error| fault(&std::io::Error::other(error)))
}

/// The schema of one key.
pub(super) fn lookup(path: &str) -> Result<ConfigSchemaLookupResponse, ErrorShape> {
    let (schema, children) = verso_config::lookup(path).ok_or_else(|| ErrorShape::invalid("config schema path not found"))?;
    let hints = verso_config::hints();
    let hint = |path: &str| hints.get(path).cloned().map(shown);
    let children = children
        .into_iter()
        .map(|(key, has_children)| {
            let path = format!("{path}.{key}");
            ConfigKey { hint: hint(&path), key, path, has_children }
        })
        .collect();
    Ok(ConfigSchemaLookupResponse { path: path.to_owned(), schema: Some(Json { text: schema.to_string() }), hint: hint(path), children })
}

fn shown(hint: Hint) -> UiHint {
    UiHint {
        label: Some(hint.label),
        help: Some(hint.help).filter(|help| !help.is_empty()),
        group: hint.group,
        order: i64::try_from(hint.order).ok(),
        advanced: hint.advanced.then_some(true),
        sensitive: hint.sensitive.then_some(true),
        placeholder: hint.placeholder,
    }
}
