//! Whose words lead programs out of a sandbox: `tools.elevated`, and what agents have of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Config;
use crate::tools::ExecWishes;

/// Stands in a list for everybody who has the owner's authority.
const ANYBODY: &str = "*";

/// The section `tools.elevated`, of an agent or of all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Elevated {
    /// Default: yes.
    enabled: Option<bool>,
    /// By network, the ids of those whose words count there. Without the section of all, nobody's; without that of an agent, whoever the
    /// section of all names.
    allow_from: Option<BTreeMap<String, Vec<Value>>>,
}

/// How far programs leave the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools) enum Elevation {
    /// What is not on the list is asked about.
    Asking,
    /// Nothing is asked.
    Free,
}

impl Elevated {
    fn on(&self) -> bool {
        self.enabled != Some(false)
    }

    fn names(&self, channel: &str, sender: &str) -> bool {
        let is = |entry: &Value| entry.as_str().map_or_else(|| entry.to_string(), |id| id.trim().to_owned());
        let lists = self.allow_from.iter().flatten().filter(|(network, _)| network.eq_ignore_ascii_case(channel));
        lists.flat_map(|(_, list)| list).map(is).any(|id| id == sender || id == ANYBODY)
    }
}

impl Config {
    /// Whether programs of an agent may leave the sandbox for somebody with the owner's authority; `sender`: his network and his id there, if
    /// he writes from one. The section of all and the agent's own must both let him.
    pub(in crate::tools) fn may_elevate(&self, id: &str, sender: Option<(&str, &str)>) -> bool {
        let (all, own) = (&self.tools.elevated, self.agent(id).map(|agent| &agent.tools.elevated));
        if !all.on() || !own.is_none_or(Elevated::on) {
            return false;
        }
        let Some((channel, sender)) = sender else { return true };
        let own = own.filter(|own| own.allow_from.is_some());
        all.names(channel, sender) && own.is_none_or(|own| own.names(channel, sender))
    }

    /// Returns how far programs leave the sandbox because the session, or a message, says so. Only the owner's words count, and only where the
    /// configuration lets them.
    pub(in crate::tools) fn elevation(&self, id: &str, wishes: &ExecWishes) -> Option<Elevation> {
        let sender = wishes.sender.as_ref().map(|(channel, sender)| (channel.as_str(), sender.as_str()));
        if !wishes.by_owner || !self.may_elevate(id, sender) {
            return None;
        }
        match wishes.elevated.as_deref() {
            Some("full") => Some(Elevation::Free),
            Some("on" | "ask") => Some(Elevation::Asking),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::config;
    use super::*;

    #[test]
    fn sec_55_only_the_owners_words_lead_programs_out_of_a_sandbox() {
        let open = config(json!({"agents": {"list": [{"id": "kept", "tools": {"elevated": {"enabled": false}}}]}}));
        let shut = config(json!({"tools": {"elevated": {"enabled": false}}}));
        let wishes = |level: &str, by_owner| ExecWishes { elevated: Some(level.to_owned()), by_owner, ..ExecWishes::default() };
        assert_eq!(open.elevation("main", &wishes("on", true)), Some(Elevation::Asking));
        assert_eq!(open.elevation("main", &wishes("full", true)), Some(Elevation::Free));
        for (config, agent, wishes) in [
            (&open, "main", wishes("full", false)),
            (&open, "main", wishes("off", true)),
            (&open, "kept", wishes("full", true)),
            (&shut, "main", wishes("full", true)),
        ] {
            assert_eq!(config.elevation(agent, &wishes), None, "{agent} {wishes:?}");
        }
        let exec = open.exec_for("main", &wishes("full", true));
        assert_eq!((exec.security.as_deref(), exec.ask.as_deref()), (Some("full"), Some("off")));
    }

    #[test]
    fn sec_55_the_section_of_all_and_the_agents_own_must_both_name_the_sender() {
        let config = config(json!({
            "tools": {"elevated": {"allowFrom": {"telegram": [1, "2", "3"], "irc": ["*"]}}},
            "agents": {"list": [
                {"id": "free"},
                {"id": "kept", "tools": {"elevated": {"allowFrom": {"telegram": ["2", "9"]}}}},
                {"id": "none", "tools": {"elevated": {"allowFrom": {}}}},
            ]},
        }));
        for (agent, channel, sender, lets) in [
            ("free", "telegram", "1", true),
            ("free", "Telegram", "2", true),
            ("free", "telegram", "9", false),
            ("free", "discord", "1", false),
            ("free", "irc", "ann", true),
            ("kept", "telegram", "2", true),
            ("kept", "telegram", "1", false),
            ("kept", "telegram", "9", false),
            ("kept", "irc", "ann", false),
            ("none", "telegram", "1", false),
        ] {
            assert_eq!(config.may_elevate(agent, Some((channel, sender))), lets, "{agent} {channel} {sender}");
            let from = Some((channel.to_owned(), sender.to_owned()));
            let wishes = ExecWishes { elevated: Some("full".to_owned()), by_owner: true, sender: from, ..ExecWishes::default() };
            assert_eq!(config.elevation(agent, &wishes).is_some(), lets, "what was set on the session before, too");
        }
        assert!(config.may_elevate("kept", None), "who writes from no network is vouched for by the edge");
    }
}
