//! Rules about several keys together, and keys that this gateway reads but does not honour.

use serde_json::Value;

use crate::check::Problem;

/// Networks whose `open` policy needs a `*` in a list beside it, with the place of that list.
const OPEN_POLICY: [(&str, &str); 9] = [
    ("telegram", ""),
    ("whatsapp", ""),
    ("signal", ""),
    ("imessage", ""),
    ("bluebubbles", ""),
    ("msteams", ""),
    ("discord", "dm"),
    ("slack", "dm"),
    ("googlechat", "dm"),
];

/// Keys that only the original can carry out.
const NOT_HONOURED: [(&str, &str); 5] = [
    ("/hooks/internal/handlers", "handlers are scripts, which this gateway cannot run"),
    ("/plugins/load/paths", "plugins of these folders are scripts, which this gateway cannot run"),
    ("/skills/install/nodeManager", "this gateway installs no packages of Node"),
    ("/audio/transcription", "this gateway does not understand speech"),
    ("/session/idleMinutes", "session.reset.idleMinutes has replaced it"),
];

/// Adds what does not go together.
pub(crate) fn check(root: &Value, found: &mut Vec<Problem>) {
    let mut say = |path: &str, message: &str| found.push(Problem::new(path, message));
    let filled = |pointer: &str| root.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    if root.pointer("/hooks/enabled") == Some(&Value::Bool(true)) && !filled("/hooks/token") {
        say("hooks.token", "hooks.enabled requires hooks.token");
    }
    if root.pointer("/hooks/path").and_then(Value::as_str).is_some_and(|path| path.trim_matches('/').is_empty()) {
        say("hooks.path", "hooks.path must not be the root");
    }
    if root.pointer("/gateway/bind").and_then(Value::as_str) == Some("custom") && !filled("/gateway/customBindHost") {
        say("gateway.customBindHost", "gateway.bind \"custom\" requires gateway.customBindHost");
    }
    agents(root, found);
    channels(root, found);
    both_lists(root, "tools", found);
    for (name, profile) in root.pointer("/browser/profiles").and_then(Value::as_object).into_iter().flatten() {
        let mut say = |message: &str| found.push(Problem::new(format!("browser.profiles.{name}"), message));
        if profile.get("cdpPort").is_none() && profile.get("cdpUrl").is_none() {
            say("Profile must set cdpPort or cdpUrl");
        }
        if !name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-') {
            say("Profile names must be alphanumeric with hyphens only");
        }
    }
}

fn agents(root: &Value, found: &mut Vec<Problem>) {
    let list = root.pointer("/agents/list").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut ids: Vec<String> = Vec::new();
    let mut folders: Vec<&str> = Vec::new();
    for (index, agent) in list.iter().enumerate() {
        let at = |key: &str| format!("agents.list[{index}].{key}");
        match agent.get("id").and_then(Value::as_str).map(|id| id.trim().to_lowercase()) {
            None => found.push(Problem::new(at("id"), "is required")),
            Some(id) if id.is_empty() => found.push(Problem::new(at("id"), "must not be empty")),
            Some(id) if ids.contains(&id) => found.push(Problem::new(at("id"), "another agent has the same id")),
            Some(id) => ids.push(id),
        }
        match agent.get("agentDir").and_then(Value::as_str) {
            Some(folder) if folders.contains(&folder) => found.push(Problem::new(at("agentDir"), "another agent has the same folder")),
            Some(folder) => folders.push(folder),
            None => {}
        }
        both_lists(agent, &format!("agents.list[{index}]"), found);
        both_lists(agent.get("tools").unwrap_or(&Value::Null), &at("tools"), found);
    }
    if ids.is_empty() {
        return;
    }
    for (peer, answering) in root.get("broadcast").and_then(Value::as_object).into_iter().flatten() {
        let unknown = answering.as_array().into_iter().flatten().filter_map(Value::as_str);
        for id in unknown.filter(|id| !ids.contains(&id.trim().to_lowercase())) {
            found.push(Problem::new(format!("broadcast.{peer}"), format!("unknown agent id: {id}")));
        }
    }
}

fn channels(root: &Value, found: &mut Vec<Problem>) {
    for (network, below) in OPEN_POLICY {
        let Some(section) = root.pointer(&format!("/channels/{network}")) else { continue };
        let accounts = section.get("accounts").and_then(Value::as_object).into_iter().flatten();
        let all = accounts.map(|(id, account)| (format!("channels.{network}.accounts.{id}"), account));
        for (path, account) in all.chain([(format!("channels.{network}"), section)]) {
            let (place, policy_key) = if below.is_empty() { (Some(account), "dmPolicy") } else { (account.get(below), "policy") };
            let Some(place) = place else { continue };
            let is_open = place.get(policy_key).and_then(Value::as_str) == Some("open");
            let own = place.get("allowFrom").or_else(|| section.get("allowFrom")).and_then(Value::as_array);
            let for_all = own.into_iter().flatten().any(|sender| sender.as_str().is_some_and(|text| text.trim() == "*"));
            if is_open && !for_all {
                let path = if below.is_empty() { path } else { format!("{path}.{below}") };
                found.push(Problem::new(
                    format!("{path}.allowFrom"),
                    format!("{path}.{policy_key}=\"open\" requires {path}.allowFrom to include \"*\""),
                ));
            }
        }
    }
    if root.pointer("/channels/telegram/webhookUrl").is_some() && root.pointer("/channels/telegram/webhookSecret").is_none() {
        found
            .push(Problem::new("channels.telegram.webhookSecret", "channels.telegram.webhookUrl requires channels.telegram.webhookSecret"));
    }
    let slack = root.pointer("/channels/slack");
    if slack.and_then(|slack| slack.get("mode")).and_then(Value::as_str) == Some("http")
        && slack.and_then(|slack| slack.get("signingSecret")).is_none()
    {
        found.push(Problem::new("channels.slack.signingSecret", "channels.slack.mode=\"http\" requires channels.slack.signingSecret"));
    }
}

/// One scope may name all its tools, or add some; not both.
fn both_lists(holder: &Value, path: &str, found: &mut Vec<Problem>) {
    let section = if path == "tools" { holder.get("tools").unwrap_or(&Value::Null) } else { holder };
    let filled = |key: &str| section.get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if filled("allow") && filled("alsoAllow") {
        found.push(Problem::new(path, "allow and alsoAllow cannot both be set; merge alsoAllow into allow"));
    }
}

/// Lists keys that are set and will not do what they say.
pub(crate) fn warnings(root: &Value) -> Vec<Problem> {
    let mut found: Vec<Problem> = NOT_HONOURED
        .iter()
        .filter(|(pointer, _)| root.pointer(pointer).is_some())
        .map(|(pointer, why)| Problem::new(pointer[1..].replace('/', "."), *why))
        .collect();
    for (index, mapping) in root.pointer("/hooks/mappings").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if mapping.pointer("/transform/module").is_some() {
            let why = "modules are scripts, which this gateway cannot run; name a program in transform.command";
            found.push(Problem::new(format!("hooks.mappings[{index}].transform.module"), why));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn keys_that_need_each_other_are_named() {
        let found: Vec<String> = crate::check(&json!({
            "hooks": {"enabled": true, "path": "/"},
            "channels": {
                "telegram": {"dmPolicy": "open", "allowFrom": ["1"]},
                "discord": {"dm": {"policy": "open"}},
                "slack": {"mode": "http"},
            },
            "agents": {"list": [{"id": "a", "agentDir": "/x"}, {"id": "A", "agentDir": "/x"}]},
            "broadcast": {"p": ["a", "b"]},
            "tools": {"allow": ["x"], "alsoAllow": ["y"]},
        }))
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(
            found,
            [
                "hooks.token: hooks.enabled requires hooks.token",
                "hooks.path: hooks.path must not be the root",
                "agents.list[1].id: another agent has the same id",
                "agents.list[1].agentDir: another agent has the same folder",
                "broadcast.p: unknown agent id: b",
                "channels.telegram.allowFrom: channels.telegram.dmPolicy=\"open\" requires channels.telegram.allowFrom to include \"*\"",
                "channels.discord.dm.allowFrom: channels.discord.dm.policy=\"open\" requires channels.discord.dm.allowFrom to include \"*\"",
                "channels.slack.signingSecret: channels.slack.mode=\"http\" requires channels.slack.signingSecret",
                "tools: allow and alsoAllow cannot both be set; merge alsoAllow into allow",
            ]
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_a_warning_and_no_problem() {
        let file = json!({"hooks": {"mappings": [{"id": "x", "transform": {"module": "a.js"}}]}});
        assert!(crate::check(&file).is_empty());
        assert_eq!(crate::warnings(&file)[0].path, "hooks.mappings[0].transform.module");
    }
}
