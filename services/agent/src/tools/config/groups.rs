//! What the sections of chat networks, and of their accounts, say about tools in groups.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use verso_tools::policy::Rules;

use super::Config;
use crate::keys::SessionKey;

/// The account of those who name none.
const DEFAULT_ACCOUNT: &str = "default";

/// Stands for every group, or every sender, that has no rules of its own.
const ANY: &str = "*";

/// What stands in a key between a group and a part of it.
const THREADS: [&str; 2] = [":thread:", ":topic:"];

/// The groups of one network.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    all: BTreeMap<String, Group>,
    by_account: BTreeMap<String, BTreeMap<String, Group>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Group {
    tools: Option<Rules>,
    /// By the sender's own id on the network; `*` for everybody else.
    tools_by_sender: BTreeMap<String, Rules>,
}

impl Groups {
    /// Reads the section of a network.
    pub(super) fn read(section: &Value) -> Self {
        let groups = |section: &Value| section.get("groups").and_then(|groups| serde_json::from_value(groups.clone()).ok());
        let accounts = section.get("accounts").and_then(Value::as_object).into_iter().flatten();
        Self {
            all: groups(section).unwrap_or_default(),
            by_account: accounts.filter_map(|(account, section)| Some((account.clone(), groups(section)?))).collect(),
        }
    }

    /// Returns the rules for a sender in a group: those of the account, if it says something about it, else the network's.
    fn rules(&self, account: &str, id: &str, sender: Option<&str>) -> Option<&Rules> {
        let own = self.by_account.get(account);
        own.into_iter().chain([&self.all]).find_map(|groups| Group::find(groups, id)?.rules(sender))
    }
}

impl Group {
    fn find<'a>(groups: &'a BTreeMap<String, Self>, id: &str) -> Option<&'a Self> {
        let own = groups.iter().find(|(name, _)| name.eq_ignore_ascii_case(id)).map(|(_, group)| group);
        own.or_else(|| groups.get(ANY))
    }

    fn rules(&self, sender: Option<&str>) -> Option<&Rules> {
        let senders = &self.tools_by_sender;
        // What somebody calls himself counts for nothing: only whole ids are compared.
        let senders_own = sender.and_then(|sender| senders.get(sender)).or_else(|| senders.get(ANY));
        senders_own.or(self.tools.as_ref())
    }
}

impl Config {
    /// Returns the rules of the group that a session belongs to, and those for the sender. Which group that is, the session's own key
    /// says; who the sender is and through which account he writes, the network.
    pub(in crate::tools) fn group_rules(&self, key: &SessionKey, account: Option<&str>, sender: Option<&str>) -> Vec<Rules> {
        let Some((_, rest)) = crate::keys::parse(key.as_str()) else { return Vec::new() };
        let mut parts = rest.splitn(3, ':');
        let (Some(channel), Some("group" | "channel"), Some(id)) = (parts.next(), parts.next(), parts.next()) else { return Vec::new() };
        let Some(groups) = self.groups.get(channel) else { return Vec::new() };
        // A thread is part of its group, and so is a topic.
        let id = THREADS.iter().fold(id, |id, mark| id.split(mark).next().unwrap_or(id));
        groups.rules(account.unwrap_or(DEFAULT_ACCOUNT), id, sender).cloned().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::config;
    use super::*;

    #[test]
    fn sec_67_a_groups_rules_are_found_by_the_sessions_own_key() {
        let config = config(
            json!({"channels": {"telegram": {"groups": {"-100": {"tools": {"deny": ["exec"]}}, "*": {"tools": {"allow": ["read"]}}}}}}),
        );
        let rules = |key: &str| config.group_rules(&SessionKey::stored(key), None, None);
        assert_eq!(rules("agent:main:telegram:group:-100")[0].deny, Some(vec!["exec".to_owned()]));
        assert_eq!(rules("agent:main:telegram:group:-100:thread:7")[0].deny, Some(vec!["exec".to_owned()]));
        assert_eq!(rules("agent:main:telegram:group:-100:topic:7")[0].deny, Some(vec!["exec".to_owned()]));
        assert_eq!(rules("agent:main:telegram:group:-1")[0].allow, Some(vec!["read".to_owned()]));
        for key in ["agent:main:main", "agent:main:discord:group:-100", "agent:main:telegram:dm:-100"] {
            assert!(rules(key).is_empty(), "{key}");
        }
    }

    #[test]
    fn sec_67_a_senders_rules_come_before_the_groups_and_only_for_his_whole_id() {
        let by_sender = json!({"42": {"deny": []}, "*": {"allow": ["session_status"]}});
        let group = json!({"tools": {"deny": ["exec"]}, "toolsBySender": by_sender});
        let config = config(json!({"channels": {"telegram": {"groups": {"-100": group, "-200": {"tools": {"deny": ["read"]}}}}}}));
        let rules =
            |group: &str, sender| config.group_rules(&SessionKey::stored(&format!("agent:main:telegram:group:{group}")), None, sender);
        assert_eq!(rules("-100", Some("42"))[0].deny, Some(vec![]));
        for sender in [None, Some("4"), Some("421"), Some("Forty Two")] {
            assert_eq!(rules("-100", sender)[0].allow, Some(vec!["session_status".to_owned()]), "{sender:?}");
        }
        assert_eq!(rules("-200", Some("42"))[0].deny, Some(vec!["read".to_owned()]));
    }

    #[test]
    fn sec_67_an_accounts_own_rules_come_before_those_of_its_network() {
        let deny = |tool: &str| json!({"tools": {"deny": [tool]}});
        let config = config(json!({"channels": {"telegram": {
            "groups": {"-1": deny("exec"), "-2": deny("write"), "*": deny("cron")},
            "accounts": {"work": {"groups": {"-1": deny("read"), "-2": {"requireMention": false}}}, "home": {}},
        }}}));
        let rules = |account, group: &str| {
            let key = SessionKey::stored(&format!("agent:main:telegram:group:{group}"));
            config.group_rules(&key, account, None)[0].deny.clone().unwrap().join(" ")
        };
        assert_eq!(rules(Some("work"), "-1"), "read");
        assert_eq!(rules(Some("work"), "-2"), "write", "where the account says nothing of tools, the network's word holds");
        assert_eq!(rules(Some("work"), "-3"), "cron");
        for account in [None, Some("default"), Some("home")] {
            assert_eq!(rules(account, "-1"), "exec", "{account:?}");
        }
    }
}
