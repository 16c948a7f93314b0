//! What holds for the accounts of all networks: `messages`.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use regex::{Captures, Regex};
use serde::Deserialize;
use verso_kit::config::File;
use verso_proto::agent::v1::Answerer;

use crate::adapter::Fault;

/// Where the reaction that says "seen" is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AckScope {
    /// In groups, where the account is mentioned.
    #[default]
    GroupMentions,
    /// In groups.
    GroupAll,
    /// In direct chats.
    Direct,
    /// Everywhere.
    All,
    /// Nowhere.
    Off,
}

/// `messages`, as far as it is about chats.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Manners {
    inbound: Inbound,
    pub(super) group_chat: GroupChat,
    pub(super) ack_reaction: Option<String>,
    pub(super) ack_reaction_scope: AckScope,
    pub(crate) remove_ack_after_reply: bool,
    pub(super) response_prefix: Option<String>,
    /// What the agents call themselves, by their ids.
    #[serde(skip)]
    identities: BTreeMap<String, String>,
    #[serde(skip)]
    debounce: Duration,
}

/// A word of a prefix that stands for something.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{([a-zA-Z][a-zA-Z0-9.]*)\}").expect("a correct pattern"));

/// What a model's name may end in that tells people nothing: a date, or that there is no newer one.
static VERSION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(-latest)?(-[0-9]{8})?$").expect("a correct pattern"));

/// Returns a model's name without who made it and without its version.
fn short(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    VERSION.find(name).map_or(name, |version| &name[..version.start()])
}

/// The prefix that is made of an agent's name.
pub(super) const AUTO: &str = "auto";

/// `agents`, as far as an answer says who gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Agents {
    list: Vec<AgentEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentEntry {
    id: String,
    identity: Identity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Identity {
    name: Option<String>,
}

/// `messages.inbound`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Inbound {
    debounce_ms: u64,
    by_channel: BTreeMap<String, u64>,
}

/// `messages.groupChat`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct GroupChat {
    pub(super) mention_patterns: Option<Vec<String>>,
    pub(super) history_limit: Option<usize>,
}

impl Manners {
    pub(super) fn read(file: &File, channel: &str) -> Result<Self, Fault> {
        let mut manners: Self = file.section("messages").map_err(|error| Fault::Account(error.to_string()))?;
        let wait_ms = manners.inbound.by_channel.get(channel).copied().unwrap_or(manners.inbound.debounce_ms);
        manners.debounce = Duration::from_millis(wait_ms);
        let agents: Agents = file.section("agents").map_err(|error| Fault::Account(error.to_string()))?;
        manners.identities = agents.list.into_iter().filter_map(|agent| Some((agent.id.to_lowercase(), agent.identity.name?))).collect();
        Ok(manners)
    }

    /// Returns what stands before an answer of an agent, with its name and what has answered filled in. What is not known stays as it is
    /// written.
    pub(super) fn prefix(&self, template: &str, agent: &str, answerer: Option<&Answerer>) -> String {
        let name = self.identities.get(&agent.to_lowercase()).map(|name| name.trim()).filter(|name| !name.is_empty());
        if template.trim() == AUTO {
            return name.map(|name| format!("[{name}]")).unwrap_or_default();
        }
        let known = |word: &str| match word.to_lowercase().as_str() {
            "identity.name" | "identityname" => name.map(str::to_owned),
            "model" => answerer.map(|answerer| short(&answerer.model).to_owned()),
            "modelfull" => answerer.map(|answerer| format!("{}/{}", answerer.provider, answerer.model)),
            "provider" => answerer.map(|answerer| answerer.provider.clone()),
            "thinkinglevel" | "think" => answerer.and_then(|answerer| answerer.thinking.clone()),
            _ => None,
        };
        let filled = VARIABLE.replace_all(template, |found: &Captures<'_>| known(&found[1]).unwrap_or_else(|| found[0].to_owned()));
        filled.trim().to_owned()
    }

    /// Returns how long further messages of one sender are waited for.
    pub(crate) fn debounce(&self) -> Duration {
        self.debounce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_says_what_has_answered() {
        let identities = BTreeMap::from([("main".to_owned(), "Vera".to_owned())]);
        let manners = Manners { identities, ..Manners::default() };
        let answerer = |model: &str| Answerer { provider: "acme".into(), model: model.into(), thinking: Some("low".into()) };
        for (template, model, expected) in [
            ("[{model}]", Some("m-5"), "[m-5]"),
            ("[{MODEL}]", Some("m-5-20260205"), "[m-5]"),
            ("[{model}]", Some("maker/m-5-latest"), "[m-5]"),
            ("[{model}]", Some("m-5-2026"), "[m-5-2026]"),
            ("{modelFull}", Some("m-5-20260205"), "acme/m-5-20260205"),
            ("{provider}:", Some("m"), "acme:"),
            ("{thinkingLevel} {ThinkingLevel} {think}", Some("m"), "low low low"),
            ("{identity.name} {identityName}", None, "Vera Vera"),
            ("{model} {modelFull} {provider} {thinkingLevel}", None, "{model} {modelFull} {provider} {thinkingLevel}"),
            ("{unknown} {} { model } {{model}}", Some("m"), "{unknown} {} { model } {m}"),
            ("  {model}  ", Some("{provider}"), "{provider}"),
            ("auto", Some("m"), "[Vera]"),
        ] {
            assert_eq!(manners.prefix(template, "Main", model.map(answerer).as_ref()), expected, "{template}");
        }
    }
}
