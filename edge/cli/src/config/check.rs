//! Which keys a configuration may have, and what kind of value they take.
//!
//! What is inside a section is checked by the crate that reads it, as far as it reads it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use verso_kit::config::{Env, Error, File};
use verso_kit::telemetry::Logging;
use verso_supervisor::ServiceName;

use super::Problem;
use super::near::nearest;
use super::sections::{self, CanvasHost};

/// Sections that hold keys.
const OBJECTS: [&str; 31] = [
    "agents",
    "approvals",
    "audio",
    "auth",
    "broadcast",
    "browser",
    "canvasHost",
    "channels",
    "commands",
    "cron",
    "diagnostics",
    "discovery",
    "env",
    "gateway",
    "hooks",
    "logging",
    "media",
    "memory",
    "messages",
    "meta",
    "models",
    "nodeHost",
    "plugins",
    "session",
    "skills",
    "talk",
    "tools",
    "ui",
    "update",
    "web",
    "wizard",
];

/// The keys of `gateway`; a misspelt one would leave a door open.
const GATEWAY: [&str; 15] = [
    "auth",
    "bind",
    "controlUi",
    "customBindHost",
    "http",
    "limits",
    "mode",
    "nodes",
    "port",
    "reload",
    "remote",
    "services",
    "tailscale",
    "tls",
    "trustedProxies",
];

/// The keys of `gateway.auth`.
const GATEWAY_AUTH: [&str; 6] = ["allowTailscale", "mode", "password", "rateLimit", "token", "trustedProxy"];

/// Keys of older versions, and where their content belongs now.
const LEGACY: [(&str, &str); 10] = [
    ("agent", "agents.defaults"),
    ("discord", "channels.discord"),
    ("identity", "agents.list[].identity"),
    ("imessage", "channels.imessage"),
    ("msteams", "channels.msteams"),
    ("routing", "channels, agents and messages"),
    ("signal", "channels.signal"),
    ("slack", "channels.slack"),
    ("telegram", "channels.telegram"),
    ("whatsapp", "channels.whatsapp"),
];

/// Lists what is wrong with a configuration.
pub(super) fn problems(file: &File, env: &Env) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(root) = file.value().as_object() {
        top_level(root, &mut found);
    }
    only(&GATEWAY, "gateway", file, &mut found);
    only(&GATEWAY_AUTH, "gateway.auth", file, &mut found);
    readable::<sections::Gateway>("gateway", file, &mut found);
    readable::<Logging>("logging", file, &mut found);
    readable::<CanvasHost>("canvasHost", file, &mut found);
    for name in ServiceName::ALL {
        note(sections::enabled(file, name).map(drop), &mut found);
    }
    if found.is_empty() {
        note(verso_gateway::Config::load(file, env).map(drop), &mut found);
    }
    found
}

/// Lists the keys of older versions.
pub(super) fn legacy(root: &Value) -> Vec<Problem> {
    let mut found: Vec<Problem> =
        LEGACY.iter().filter(|(key, _)| root.get(key).is_some()).map(|(key, now)| Problem::new(key, format!("moved to {now}"))).collect();
    if root.pointer("/gateway/token").is_some() {
        found.push(Problem::new("gateway.token", "moved to gateway.auth.token"));
    }
    found
}

fn top_level(root: &Map<String, Value>, found: &mut Vec<Problem>) {
    for (key, value) in root {
        let kind_is_right = match key.as_str() {
            "$schema" => value.is_string(),
            "bindings" => value.is_array(),
            "$include" => {
                found.push(Problem::new("$include", "included files are not supported; put their content into this file"));
                true
            }
            key if LEGACY.iter().any(|(legacy, _)| *legacy == key) => true,
            key if OBJECTS.contains(&key) => value.is_object(),
            key => {
                found.push(unknown("<root>", key, nearest(key, OBJECTS.iter().copied().chain(["bindings"]))));
                true
            }
        };
        if !kind_is_right {
            let expected = match key.as_str() {
                "$schema" => "a string",
                "bindings" => "a list",
                _ => "an object",
            };
            found.push(Problem::new(key, format!("must be {expected}")));
        }
    }
}

fn only(known: &[&str], path: &str, file: &File, found: &mut Vec<Problem>) {
    let value = path.split('.').try_fold(file.value(), |value, name| value.get(name));
    for key in value.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        let is_legacy = path == "gateway" && key == "token";
        if !is_legacy && !known.contains(&key.as_str()) {
            found.push(unknown(path, key, nearest(key, known.iter().copied())));
        }
    }
}

fn unknown(path: &str, key: &str, nearest: Option<&str>) -> Problem {
    let hint = nearest.map(|nearest| format!(" (did you mean \"{nearest}\"?)")).unwrap_or_default();
    Problem::new(path, format!("Unrecognized key: \"{key}\"{hint}"))
}

fn readable<T: DeserializeOwned + Default>(path: &str, file: &File, found: &mut Vec<Problem>) {
    note(file.section::<T>(path).map(drop), found);
}

fn note(result: Result<(), Error>, found: &mut Vec<Problem>) {
    if let Err(error) = result {
        let problem = super::unusable(&error);
        // Two readers of one section may stumble over the same value.
        if !found.contains(&problem) {
            found.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value) -> Vec<String> {
        let file = File::from_value(value);
        problems(&file, &Env::default()).into_iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn names_the_nearest_key() {
        assert_eq!(check(json!({"gatway": {}})), ["<root>: Unrecognized key: \"gatway\" (did you mean \"gateway\"?)"]);
        assert_eq!(
            check(json!({"gateway": {"auth": {"tokn": "x"}}})),
            ["gateway.auth: Unrecognized key: \"tokn\" (did you mean \"token\"?)"]
        );
        assert_eq!(check(json!({"qqqq": 1})), ["<root>: Unrecognized key: \"qqqq\""]);
    }

    #[test]
    fn names_the_path_of_a_value_of_the_wrong_kind() {
        assert_eq!(check(json!({"agents": []})), ["agents: must be an object"]);
        let [problem] = &check(json!({"gateway": {"port": "x"}}))[..] else { panic!("one problem") };
        assert!(problem.starts_with("gateway.port: "), "{problem}");
    }

    #[test]
    fn accepts_what_existing_installations_have() {
        let file = json!({
            "meta": {}, "wizard": {}, "bindings": [], "channels": {"telegram": {"enabled": false}}, "$schema": "x",
            "gateway": {"mode": "local", "bind": "loopback", "auth": {"mode": "token", "token": "t"}},
        });
        assert_eq!(check(file), Vec::<String>::new());
    }

    #[test]
    fn tells_where_an_old_key_has_gone() {
        let found = legacy(&json!({"telegram": {}, "gateway": {"token": "x"}}));
        assert_eq!(
            found,
            [Problem::new("telegram", "moved to channels.telegram"), Problem::new("gateway.token", "moved to gateway.auth.token")]
        );
    }
}
