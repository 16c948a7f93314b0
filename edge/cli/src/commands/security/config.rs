//! What the configuration allows.

use serde_json::{Value, json};
use verso_config::{KeyPath, Store};

use super::super::Session;
use super::{Finding, Severity};
use crate::config::Gateway;

use Severity::{Critical, Info, Warn};

/// A shorter token can be guessed, in letters.
const TOKEN_CHARS_MIN: usize = 24;

/// More people than this are a crowd.
const ALLOWED_MANY: usize = 25;

pub(super) fn findings(session: &Session) -> Vec<Finding> {
    let root = session.snapshot.file.value();
    let mut found = vec![surface(root)];
    gateway(session, root, &mut found);
    secrets(root, &mut found);
    tools(root, &mut found);
    channels(root, &mut found);
    found
}

fn text<'v>(root: &'v Value, pointer: &str) -> Option<&'v str> {
    root.pointer(pointer).and_then(Value::as_str)
}

fn is(root: &Value, pointer: &str, wanted: bool) -> bool {
    root.pointer(pointer).and_then(Value::as_bool) == Some(wanted)
}

fn surface(root: &Value) -> Finding {
    let policies = accounts(root).into_iter().map(|(_, account)| text(&account, "/groupPolicy").unwrap_or("allowlist").to_owned());
    let open = policies.filter(|policy| policy == "open").count();
    let on = |pointer: &str, usual: bool| if root.pointer(pointer).and_then(Value::as_bool).unwrap_or(usual) { "on" } else { "off" };
    let detail = format!(
        "open groups: {open}; elevated tools: {}; hooks: {}; browser: {}",
        on("/tools/elevated/enabled", true),
        on("/hooks/enabled", false),
        on("/browser/enabled", true)
    );
    Finding::new(Info, "summary.attack_surface", "what can be reached", detail)
}

fn gateway(session: &Session, root: &Value, found: &mut Vec<Finding>) {
    let section = Gateway::of(&session.snapshot.file);
    let env = &session.snapshot.env;
    let made = crate::gateway::stored_token(&session.instance).is_some();
    let token =
        section.auth.token.as_ref().map(|token| token.expose().clone()).or_else(|| env.get("VERSO_GATEWAY_TOKEN").map(str::to_owned));
    let has_secret = section.auth.mode.as_deref() != Some("none")
        && (token.is_some() || section.auth.password.is_some() || env.get("VERSO_GATEWAY_PASSWORD").is_some() || made);
    let bind = section.bind.as_deref().unwrap_or("loopback");
    let ui = !is(root, "/gateway/controlUi/enabled", false);
    if bind != "loopback" && !has_secret {
        let finding = Finding::new(
            Critical,
            "gateway.bind_no_auth",
            "the gateway is open to others without a secret",
            format!("gateway.bind is {bind}"),
        );
        found.push(finding.mended_by("verso config set gateway.auth.mode token"));
    }
    if bind == "loopback" && !has_secret && ui {
        let detail = "every program and every page of this machine's browsers may try";
        let finding = Finding::new(Critical, "gateway.loopback_no_auth", "the gateway has no secret", detail);
        found.push(finding.mended_by("Start it once: it makes a token; or set gateway.auth.token."));
    }
    let proxies = root.pointer("/gateway/trustedProxies").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if bind == "loopback" && ui && !proxies {
        let detail = "behind a reverse proxy on this machine, everybody would look local";
        let finding = Finding::new(Info, "gateway.trusted_proxies_missing", "no proxy is trusted", detail);
        found.push(finding.mended_by("When a proxy stands before the gateway, name it in gateway.trustedProxies."));
    }
    match text(root, "/gateway/tailscale/mode") {
        Some("funnel") => found.push(
            Finding::new(Critical, "gateway.tailscale_funnel", "the gateway is on the internet", "gateway.tailscale.mode is funnel")
                .mended_by("Use serve."),
        ),
        Some("serve") => {
            found.push(Finding::new(Info, "gateway.tailscale_serve", "the gateway is on your tailnet", "gateway.tailscale.mode is serve"));
        }
        _ => {}
    }
    for (key, id, title) in [
        ("allowInsecureAuth", "gateway.control_ui.insecure_auth", "the page takes a token without a device"),
        ("dangerouslyDisableDeviceAuth", "gateway.control_ui.device_auth_disabled", "the page asks for no device at all"),
    ] {
        if is(root, &format!("/gateway/controlUi/{key}"), true) {
            let finding = Finding::new(Critical, id, title, format!("gateway.controlUi.{key} is true"));
            found.push(finding.mended_by(format!("verso config unset gateway.controlUi.{key}")));
        }
    }
    if token.is_some_and(|token| token.chars().count() < TOKEN_CHARS_MIN) {
        let finding = Finding::new(
            Warn,
            "gateway.token_too_short",
            "the token can be guessed",
            format!("it is shorter than {TOKEN_CHARS_MIN} letters"),
        );
        found.push(finding.mended_by("verso config set gateway.auth.token \"$(openssl rand -hex 24)\""));
    }
}

fn secrets(root: &Value, found: &mut Vec<Finding>) {
    let literal = |pointer: &str| text(root, pointer).filter(|value| !value.contains("${"));
    if literal("/gateway/auth/password").is_some() {
        let finding = Finding::new(
            Warn,
            "config.secrets.gateway_password_in_config",
            "a password is written out in the file",
            "gateway.auth.password",
        );
        found.push(finding.mended_by("Write ${NAME} and set the variable, or use --password-file."));
    }
    if let Some(token) = text(root, "/hooks/token") {
        if literal("/hooks/token").is_some() {
            found.push(Finding::new(Info, "config.secrets.hooks_token_in_config", "a token is written out in the file", "hooks.token"));
        }
        if !token.contains("${") && token.chars().count() < TOKEN_CHARS_MIN {
            let finding = Finding::new(
                Warn,
                "hooks.token_too_short",
                "the token of hooks can be guessed",
                format!("it is shorter than {TOKEN_CHARS_MIN} letters"),
            );
            found.push(finding.mended_by("Choose a longer one."));
        }
        if Some(token) == text(root, "/gateway/auth/token") {
            let finding = Finding::new(
                Warn,
                "hooks.token_reuse_gateway_token",
                "hooks and clients share a token",
                "whoever may send a hook may do everything",
            );
            found.push(finding.mended_by("Give hooks.token a value of its own."));
        }
    }
    if text(root, "/hooks/path").is_some_and(|path| path.trim_matches('/').is_empty()) {
        found.push(
            Finding::new(Critical, "hooks.path_root", "hooks take the whole address", "hooks.path is /")
                .mended_by("verso config set hooks.path /hooks"),
        );
    }
    if text(root, "/logging/redactSensitive") == Some("off") {
        let detail = "this gateway removes secrets all the same; another that reads the file would not";
        found.push(Finding::new(Warn, "logging.redact_off", "logs are to keep secrets", detail).mended_by("verso security audit --fix"));
    }
    for (name, profile) in root.pointer("/browser/profiles").and_then(Value::as_object).into_iter().flatten() {
        if text(profile, "/cdpUrl")
            .is_some_and(|url| url.starts_with("http://") && !url.contains("127.0.0.1") && !url.contains("localhost"))
        {
            let detail = format!("browser.profiles.{name}.cdpUrl");
            found.push(
                Finding::new(Warn, "browser.remote_cdp_http", "a browser elsewhere is controlled in the clear", detail)
                    .mended_by("Use https://."),
            );
        }
    }
}

fn tools(root: &Value, found: &mut Vec<Finding>) {
    if is(root, "/tools/elevated/enabled", false) {
        return;
    }
    for (provider, list) in root.pointer("/tools/elevated/allowFrom").and_then(Value::as_object).into_iter().flatten() {
        let names = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let path = format!("tools.elevated.allowFrom.{provider}");
        if names.iter().any(|name| name.as_str() == Some("*")) {
            let finding = Finding::new(Critical, format!("{path}.wildcard"), "everybody may use elevated tools", path);
            found.push(finding.mended_by("Name the people."));
        } else if names.len() > ALLOWED_MANY {
            let detail = format!("{path} has {} entries", names.len());
            found.push(
                Finding::new(Warn, format!("{path}.large"), "many people may use elevated tools", detail).mended_by("Keep the list short."),
            );
        }
    }
}

/// Every account with a section, by its path.
fn accounts(root: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (network, section) in root.get("channels").and_then(Value::as_object).into_iter().flatten().filter(|(name, _)| *name != "defaults")
    {
        found.push((format!("channels.{network}"), section.clone()));
        for (id, account) in section.get("accounts").and_then(Value::as_object).into_iter().flatten() {
            found.push((format!("channels.{network}.accounts.{id}"), account.clone()));
        }
    }
    found
}

fn channels(root: &Value, found: &mut Vec<Finding>) {
    let elevated = !is(root, "/tools/elevated/enabled", false) && root.pointer("/tools/elevated/allowFrom").is_some();
    for (path, account) in accounts(root) {
        let policy = text(&account, "/dmPolicy").or_else(|| text(&account, "/dm/policy"));
        let for_all = ["/allowFrom", "/dm/allowFrom"]
            .iter()
            .any(|pointer| account.pointer(pointer).and_then(Value::as_array).into_iter().flatten().any(|name| name.as_str() == Some("*")));
        match policy {
            Some("open") if for_all => {
                let finding = Finding::new(
                    Critical,
                    format!("{path}.dm.open"),
                    "strangers may talk to the agent",
                    format!("{path}.dmPolicy is open"),
                );
                found.push(finding.mended_by(format!("verso config set {path}.dmPolicy pairing")));
            }
            Some("open") => found.push(Finding::new(
                Warn,
                format!("{path}.dm.open_invalid"),
                "open, but the list does not say so",
                format!("{path}.allowFrom lacks *"),
            )),
            Some("disabled") => found.push(Finding::new(Info, format!("{path}.dm.disabled"), "direct chats are off", path.clone())),
            _ => {}
        }
        let shared = root.pointer("/session/dmScope").and_then(Value::as_str).unwrap_or("main") == "main";
        let people = account.pointer("/allowFrom").and_then(Value::as_array).map_or(0, Vec::len);
        if shared && (people > 1 || (policy == Some("open") && for_all)) {
            let detail = format!("{path}: several people talk in one conversation and read each other's answers");
            let finding = Finding::new(Warn, format!("{path}.dm.scope_main_multiuser"), "people share a conversation", detail);
            found.push(finding.mended_by("verso config set session.dmScope per-channel-peer"));
        }
        if text(&account, "/groupPolicy") == Some("open") {
            let (severity, id) = if elevated {
                (Critical, "security.exposure.open_groups_with_elevated".to_owned())
            } else {
                (Warn, format!("{path}.group.open"))
            };
            let finding = Finding::new(severity, id, "every group may talk to the agent", format!("{path}.groupPolicy is open"));
            found.push(finding.mended_by("verso security audit --fix"));
        }
    }
}

/// Closes what the file leaves open. Returns whether it was written.
pub(super) fn close(session: &Session, changes: &mut Vec<String>) -> anyhow::Result<bool> {
    let root = session.snapshot.file.value();
    let mut wanted: Vec<(String, Value)> = Vec::new();
    for (path, account) in accounts(root).into_iter().filter(|(_, account)| text(account, "/groupPolicy") == Some("open")) {
        wanted.push((format!("{path}.groupPolicy"), json!("allowlist")));
        // Whoever could be reached through groups still is.
        let known = account.get("allowFrom").filter(|_| path.contains("whatsapp") && account.get("groupAllowFrom").is_none());
        wanted.extend(known.map(|list| (format!("{path}.groupAllowFrom"), list.clone())));
    }
    if text(root, "/logging/redactSensitive") == Some("off") {
        wanted.push(("logging.redactSensitive".to_owned(), json!("tools")));
    }
    if wanted.is_empty() {
        return Ok(false);
    }
    let store = Store::new(&session.instance.config_path, &session.instance.env);
    let written = store.change(
        |_| Ok(()),
        |document| {
            let mut document = document.clone();
            for (path, value) in &wanted {
                let Some(key) = KeyPath::parse(path) else { continue };
                document = document.set(&key, value)?;
            }
            Ok(document.text().to_owned())
        },
    );
    let is_written = written.map_err(super::super::config::refused)?.changed;
    changes.extend(wanted.iter().map(|(path, value)| format!("{path} is {value} now")));
    Ok(is_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(root: &Value) -> Vec<String> {
        let mut found = Vec::new();
        secrets(root, &mut found);
        tools(root, &mut found);
        channels(root, &mut found);
        found.into_iter().map(|finding| finding.check_id).collect()
    }

    #[test]
    fn a_quiet_configuration_has_no_findings() {
        assert!(ids(&json!({})).is_empty());
    }

    #[test]
    fn every_open_door_is_named() {
        let root = json!({
            "gateway": {"auth": {"token": "same", "password": "p"}},
            "hooks": {"token": "same", "path": "/"},
            "logging": {"redactSensitive": "off"},
            "browser": {"profiles": {"far": {"cdpUrl": "http://10.0.0.1:9222"}}},
            "tools": {"elevated": {"allowFrom": {"telegram": ["*"]}}},
            "channels": {
                "telegram": {"dmPolicy": "open", "allowFrom": ["*"], "groupPolicy": "open"},
                "irc": {"dmPolicy": "disabled"},
                "signal": {"dmPolicy": "open", "allowFrom": ["+1"]},
            },
        });
        let found = ids(&root);
        for id in [
            "config.secrets.gateway_password_in_config",
            "config.secrets.hooks_token_in_config",
            "hooks.token_too_short",
            "hooks.token_reuse_gateway_token",
            "hooks.path_root",
            "logging.redact_off",
            "browser.remote_cdp_http",
            "tools.elevated.allowFrom.telegram.wildcard",
            "channels.telegram.dm.open",
            "channels.telegram.dm.scope_main_multiuser",
            "security.exposure.open_groups_with_elevated",
            "channels.irc.dm.disabled",
            "channels.signal.dm.open_invalid",
        ] {
            assert!(found.iter().any(|one| one == id), "{id} is missing: {found:?}");
        }
    }
}
