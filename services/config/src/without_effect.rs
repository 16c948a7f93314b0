//! Which keys of a file nobody reads: they are accepted because files of older gateways have them.

use serde_json::Value;

use crate::table::{Node, ROOT};

/// Networks that only an entry of `adapters` speaks: it is handed the whole section, and what it reads of it is its own business.
const BY_ADAPTER: [&str; 3] = ["bluebubbles", "googlechat", "msteams"];

/// Lists the places of a configuration that have no effect, in the order of the file. Where nothing below a place has one, the place alone
/// is named.
pub fn without_effect(root: &Value) -> Vec<String> {
    let mut walker = Walker { root, path: String::new(), found: Vec::new() };
    walker.walk(root, &ROOT);
    walker.found
}

struct Walker<'a> {
    root: &'a Value,
    path: String,
    found: Vec<String>,
}

impl Walker<'_> {
    /// Notes what is without effect in a value, and returns whether all of it is.
    fn walk(&mut self, value: &Value, node: &Node) -> bool {
        if self.is_an_adapters() {
            return false;
        }
        let before = self.found.len();
        let mut all = node.without_effect;
        match value {
            Value::Object(members) if node.is_object() => {
                for (name, member) in members {
                    let Some(field) = node.field(name) else { continue };
                    let step = if self.path.is_empty() { name.clone() } else { format!(".{name}") };
                    all &= self.below(&step, member, field);
                }
            }
            Value::Array(items) => {
                let Some(item) = node.item.as_deref() else { return self.note(all, before) };
                for (index, value) in items.iter().enumerate() {
                    all &= self.below(&format!("[{index}]"), value, item);
                }
            }
            _ => {}
        }
        self.note(all, before)
    }

    fn below(&mut self, step: &str, value: &Value, node: &Node) -> bool {
        let length = self.path.len();
        self.path.push_str(step);
        let all = self.walk(value, node);
        self.path.truncate(length);
        all
    }

    /// Names the present place instead of those in it, if `all` of it is without effect.
    fn note(&mut self, all: bool, before: usize) -> bool {
        if all && !self.path.is_empty() {
            self.found.truncate(before);
            self.found.push(self.path.clone());
        }
        all
    }

    fn is_an_adapters(&self) -> bool {
        let network = self.path.strip_prefix("channels.").filter(|network| BY_ADAPTER.contains(network));
        network.is_some_and(|network| self.root.get("adapters").and_then(|adapters| adapters.get(network)).is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_nobody_reads_are_named_and_those_that_act_are_not() {
        let file = json!({
            "gateway": {"port": 1, "remote": {"url": "wss://h", "sshTarget": "u@h"}},
            "agents": {
                "defaults": {"model": "a/b", "contextPruning": {"mode": "off", "softTrim": {"maxChars": 1}}, "memorySearch": {"model": "m", "fallback": "none"}},
                "list": [{"id": "a"}, {"id": "b", "skills": ["x"], "agentDir": "/x", "tools": {"exec": {"ask": "off", "safeBins": ["ls"]}, "sandbox": {"tools": {"deny": ["*"]}}}}],
            },
            "models": {"providers": {"p": {"apiKey": "k", "authHeader": true, "models": [{"id": "m", "compat": {"supportsStore": true}}]}}},
            "logging": {"level": "info"}, "nobody": {"knows": 1},
        });
        assert_eq!(
            without_effect(&file),
            [
                "gateway.remote.sshTarget",
                "agents.defaults.contextPruning",
                "agents.defaults.memorySearch.fallback",
                "agents.list[1].agentDir",
                "agents.list[1].tools.exec.safeBins",
                "models.providers.p.authHeader",
                "models.providers.p.models[0].compat",
            ]
        );
        assert_eq!(without_effect(&json!({"gateway": {"mode": "local"}, "$schema": "x", "meta": {"lastTouchedAt": "x"}})), [""; 0]);
    }

    #[test]
    fn a_section_is_named_alone_unless_something_of_it_acts() {
        let named = |file: Value| without_effect(&file);
        assert_eq!(named(json!({"browser": {"profiles": {"a": {"cdpPort": 1}}}, "broadcast": {"g": ["a"]}})), ["browser", "broadcast"]);
        let network = |section: Value| named(json!({"channels": {"discord": section}}));
        assert_eq!(network(json!({"token": "t", "accounts": {"a": {"token": "t"}}})), ["channels.discord"]);
        assert_eq!(network(json!({"token": "t", "mediaRetentionHours": 1})), ["channels.discord.token"]);
        let accounts = json!({"mediaRetentionHours": 1, "accounts": {"a": {"botToken": "t", "mediaRetentionHours": 1, "draftChunk": {"minChars": 1}}}});
        let own = "channels.telegram.accounts.a";
        assert_eq!(named(json!({"channels": {"telegram": accounts}})), [format!("{own}.mediaRetentionHours"), format!("{own}.draftChunk")]);
    }

    #[test]
    fn what_an_adapter_is_handed_is_the_adapters_business() {
        let file = |adapter: &str| json!({"channels": {"msteams": {"appId": "x"}}, "adapters": {adapter: {"command": ["x"]}}});
        assert_eq!(without_effect(&file("other")), ["channels.msteams"]);
        assert_eq!(without_effect(&file("msteams")), [""; 0]);
        // A network that has a name of its own in this build is never left to an adapter.
        let slack = json!({"channels": {"slack": {"appToken": "x"}}, "adapters": {"slack": {"command": ["x"]}}});
        assert_eq!(without_effect(&slack), ["channels.slack"]);
    }
}
