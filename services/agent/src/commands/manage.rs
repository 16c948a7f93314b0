//! Commands about more than one session.

use std::time::Duration;

use verso_kit::peer::Caller;
use verso_proto::node::v1::ExecApprovalResolveRequest;
use verso_proto::supervisor::v1::ServicesRestartRequest;

use super::Who;
use crate::runs::Runs;

/// How long a restart waits, so that its announcement is on its way.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The longest part of the configuration that is shown, in characters.
const CONFIG_CHARS_MAX: usize = 3_000;

/// Decides about a program that somebody asks for.
pub(super) async fn approve(runs: &Runs, arguments: &str) -> String {
    let mut words = arguments.split_whitespace();
    let (Some(id), Some(decision), None) = (words.next(), words.next(), words.next()) else {
        return "Options: /approve <id> allow-once, allow-always or deny.".to_owned();
    };
    let decision = match decision.to_lowercase().as_str() {
        "allow" | "once" | "allow-once" | "yes" => "allow-once",
        "always" | "allow-always" => "allow-always",
        "deny" | "no" | "reject" => "deny",
        _ => return "Options: /approve <id> allow-once, allow-always or deny.".to_owned(),
    };
    let request = ExecApprovalResolveRequest { id: id.to_owned(), decision: decision.to_owned() };
    match runs.parts.node.call(request, &Caller::default()).await {
        Ok(_) => format!("{id}: {decision}"),
        Err(status) => format!("⚠️ {}", status.message()),
    }
}

/// Shows the configuration, without its secrets.
pub(super) fn config(runs: &Runs, arguments: &str) -> String {
    let (word, rest) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let value = runs.parts.file.value();
    let shown = verso_config::Redactor::of([value]).value(value);
    let path = rest.trim();
    match word.to_lowercase().as_str() {
        "show" | "get" | "" => {
            let part = path.split('.').filter(|key| !key.is_empty()).try_fold(&shown, |value, key| value.get(key));
            let Some(part) = part else { return format!("{path} is not set.") };
            let mut text = serde_json::to_string_pretty(part).unwrap_or_default();
            crate::messages::cut(&mut text, CONFIG_CHARS_MAX);
            format!("{}\n```json\n{text}\n```", if path.is_empty() { "The configuration" } else { path })
        }
        "set" | "unset" => {
            "The configuration is not changed from a chat: its only writer is the edge, which answers config.patch (`verso config set …`)."
                .to_owned()
        }
        _ => "Options: /config show, or /config get <key>.".to_owned(),
    }
}

pub(super) fn debug() -> String {
    "No setting lasts only until a restart here. What can be changed for a session: /think, /model, /queue, /verbose.".to_owned()
}

/// Says who may write, as far as the configuration says it.
pub(super) fn allowlist(runs: &Runs, who: &Who) -> String {
    let channels = &runs.parts.file.value()["channels"];
    let mut lines = Vec::new();
    for (name, section) in channels.as_object().into_iter().flatten() {
        if who.channel.as_ref().is_some_and(|channel| channel != name) {
            continue;
        }
        for key in ["allowFrom", "groupAllowFrom"] {
            let list = section[key].as_array().map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            lines.extend(list.map(|list| format!("{name}.{key}: {list}")));
        }
    }
    if lines.is_empty() {
        lines.push("The configuration names nobody.".to_owned());
    }
    lines.push(
        "Who was let in by a code, `verso pairing list` shows; both lists are changed there and in the configuration, not from a chat."
            .to_owned(),
    );
    lines.join("\n")
}

/// Has the supervisor start this process again, in a moment.
pub(super) fn restart(runs: &Runs) {
    let parts = std::sync::Arc::clone(&runs.parts);
    runs.spawn("restart", async move {
        tokio::time::sleep(RESTART_PAUSE).await;
        let request = ServicesRestartRequest { name: "agent".to_owned(), on_behalf_of: Some("a chat command".to_owned()) };
        if let Err(status) = parts.supervisor.call(request, &Caller::default()).await {
            tracing::warn!(error = status.message(), "the supervisor did not restart the agents' process");
        }
    });
}
