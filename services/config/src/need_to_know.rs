//! What each process is told of the configuration: everything but the secrets of others.
//!
//! The edge is the file's owner and is told all of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::key_path::Step;
use crate::sensitive::{is_sensitive, is_telling_address};
use crate::snapshot::references;

/// The process that owns the file.
const OWNER: &str = "edge";

/// The process that has the secrets of every section that is not named in [`OWNERS`]: it talks to models and to what tools reach.
const USUAL: &str = "agent";

/// Whose the secrets of a section are.
const OWNERS: [(&str, &str); 5] =
    [("gateway", OWNER), ("hooks", OWNER), ("channels", "channel"), ("adapters", "channel"), ("web", "channel")];

/// Sections whose secrets every process needs: where it sends its telemetry.
const SHARED: [&str; 1] = ["diagnostics"];

/// Variables that stand for a credential of a chat network without being referred to.
const CHANNEL_VARIABLES: [&str; 4] = ["TELEGRAM_BOT_TOKEN", "DISCORD_BOT_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"];

/// Returns the configuration without the secrets that are none of the process's business.
pub fn for_process(value: &Value, process: &str) -> Value {
    let mut told = value.clone();
    if process != OWNER {
        let mut referred = Vec::new();
        references(value, &mut referred);
        let variables = variables_of(value, process);
        let is_own =
            |name: &str| variables.contains(name) || (is_variable_of(name, process) && !referred.iter().any(|known| known == name));
        strip(&mut told, &mut Vec::new(), process, &is_own);
    }
    told
}

/// Returns the variables whose values the process needs: those that its own sections refer to, and those that stand in places which are no
/// secret.
pub fn variables_of(value: &Value, process: &str) -> BTreeSet<String> {
    let mut told = value.clone();
    strip(&mut told, &mut Vec::new(), process, &|_| false);
    let mut names = Vec::new();
    references(&told, &mut names);
    names.into_iter().collect()
}

/// Whether a variable that nothing refers to is the process's.
pub fn is_variable_of(name: &str, process: &str) -> bool {
    process == if CHANNEL_VARIABLES.contains(&name) { "channel" } else { USUAL }
}

fn strip(value: &mut Value, path: &mut Vec<Step>, process: &str, is_own: &dyn Fn(&str) -> bool) {
    match value {
        Value::Object(members) => members.retain(|name, member| {
            path.push(Step::Key(name.clone()));
            let kept = is_told(path, member, process, is_own);
            if kept {
                strip(member, path, process, is_own);
            }
            path.pop();
            kept
        }),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(Step::Index(index));
                strip(item, path, process, is_own);
                path.pop();
            }
        }
        _ => {}
    }
}

fn is_told(path: &[Step], member: &Value, process: &str, is_own: &dyn Fn(&str) -> bool) -> bool {
    let Some(Step::Key(section)) = path.first() else { return true };
    if section == "env" {
        // Variables that the file sets: each is for whoever needs it.
        let (Some(Step::Key(name)), Value::String(_)) = (path.last(), member) else { return true };
        return is_own(name);
    }
    let owner = OWNERS.iter().find(|(owned, _)| owned == section).map_or(USUAL, |(_, owner)| owner);
    owner == process || SHARED.contains(&section.as_str()) || !is_secret(path, member)
}

fn is_secret(path: &[Step], member: &Value) -> bool {
    match member {
        Value::String(text) => is_sensitive(path) || is_telling_address(text),
        Value::Number(_) => is_sensitive(path),
        // Looked into.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sec_75_each_process_is_told_its_own_secrets_only() {
        let value = json!({
            "gateway": {"auth": {"token": "g-secret"}, "port": 1},
            "hooks": {"token": "${HOOKS}"},
            "models": {"providers": {"p": {"apiKey": "m-secret", "baseUrl": "https://u:pw@host", "headers": {"X": "h-secret"}}}},
            "channels": {"telegram": {"botToken": "${BOT}", "allowFrom": ["${ME}"]}, "irc": {"sasl": {"password": "c-secret"}}},
            "env": {"BOT": "b-secret", "OPENAI_API_KEY": "o-secret", "TELEGRAM_BOT_TOKEN": "t-secret", "vars": {"HOOKS": "v-secret"}},
        });
        let told = |process: &str| for_process(&value, process).to_string();
        let all = ["g-secret", "${HOOKS}", "m-secret", "u:pw", "h-secret", "${BOT}", "c-secret", "b-secret", "o-secret", "t-secret"];
        let table: [(&str, &[&str]); 4] = [
            ("channel", &["${BOT}", "c-secret", "b-secret", "t-secret"]),
            ("agent", &["m-secret", "u:pw", "h-secret", "o-secret"]),
            ("node", &[]),
            ("edge", &all),
        ];
        for (process, own) in table {
            let text = told(process);
            for secret in all {
                assert_eq!(text.contains(secret), own.contains(&secret), "{process} and {secret}: {text}");
            }
            assert!(text.contains("${ME}") && text.contains("\"port\":1"), "{process} is told the rest");
        }
        assert_eq!(variables_of(&value, "channel"), ["BOT", "ME"].map(str::to_owned).into());
        assert_eq!(variables_of(&value, "agent"), ["ME"].map(str::to_owned).into());
        assert_eq!(variables_of(&value, "edge"), ["HOOKS", "ME"].map(str::to_owned).into());
    }
}
