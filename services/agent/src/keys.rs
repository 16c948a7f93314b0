//! Session keys: their grammar and their one canonical form.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

#[cfg(test)]
mod tests;

/// The agent that exists when none is configured.
const DEFAULT_AGENT: &str = "main";

/// What the main session's key ends in unless `session.mainKey` says otherwise.
const DEFAULT_MAIN_KEY: &str = "main";

/// The longest agent id, in characters.
const AGENT_ID_CHARS_MAX: usize = 64;

/// The longest session key, in bytes.
const SESSION_KEY_BYTES_MAX: usize = 512;

/// The keys that belong to no agent.
const GLOBAL: &str = "global";
const UNKNOWN: &str = "unknown";

/// An agent's id: lowercase, made of letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AgentId(Arc<str>);

impl AgentId {
    /// Brings an id as people write it into its canonical form. Nothing usable gives `main`.
    pub(crate) fn normalize(raw: &str) -> Self {
        let lower = raw.trim().to_lowercase();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let starts_well = lower.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && lower.len() <= AGENT_ID_CHARS_MAX && lower.chars().all(plain) {
            return Self(lower.into());
        }
        let mut id = String::with_capacity(lower.len());
        for c in lower.chars() {
            if plain(c) {
                id.push(c);
            } else if !id.ends_with('\u{0}') {
                // Stands for the one dash that a run of other characters becomes.
                id.push('\u{0}');
            }
        }
        let id = id.replace('\u{0}', "-");
        let id: String = id.trim_matches('-').chars().take(AGENT_ID_CHARS_MAX).collect();
        Self(if id.is_empty() { DEFAULT_AGENT.into() } else { id.into() })
    }

    /// Returns the id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A session's key in its canonical form: what the store, the lanes and the events know it by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey(Arc<str>);

impl SessionKey {
    /// Takes a key that is canonical already: one that the store gave out.
    pub(crate) fn stored(key: &str) -> Self {
        Self(key.into())
    }

    /// Returns the key as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what the session is, as clients name it.
    pub(crate) fn kind(&self) -> &'static str {
        match &*self.0 {
            GLOBAL => GLOBAL,
            UNKNOWN => UNKNOWN,
            key if key.contains(":group:") || key.contains(":channel:") => "group",
            _ => "direct",
        }
    }

    /// Whether another session has started this one.
    pub(crate) fn is_subagent(&self) -> bool {
        parse(&self.0).is_some_and(|(_, rest)| rest.starts_with("subagent:"))
    }

    /// Returns the channel that a group's key names.
    pub(crate) fn channel(&self) -> Option<&str> {
        let (_, rest) = parse(&self.0)?;
        let (channel, place) = rest.split_once(':')?;
        (place.starts_with("group:") || place.starts_with("channel:")).then_some(channel)
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Splits an agent's key into the agent and the rest. Nothing is lowercased; the prefix is case-sensitive.
pub(crate) fn parse(key: &str) -> Option<(&str, &str)> {
    let (agent, rest) = key.trim_start_matches(':').strip_prefix("agent:")?.trim_start_matches(':').split_once(':')?;
    let rest = rest.trim_start_matches(':');
    (!rest.is_empty()).then_some((agent, rest))
}

/// How this gateway names sessions.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    /// Whom a key without an agent belongs to.
    pub(crate) default_agent: AgentId,
    /// What a main session's key ends in.
    pub(crate) main_key: Arc<str>,
    /// Whether everybody shares one main session.
    pub(crate) global: bool,
}

impl Naming {
    /// Reads `session.mainKey` and `session.scope`.
    pub(crate) fn new(default_agent: AgentId, main_key: Option<&str>, scope: Option<&str>) -> Self {
        let main_key = main_key.map(|key| key.trim().to_lowercase()).filter(|key| !key.is_empty());
        Self {
            default_agent,
            main_key: main_key.as_deref().unwrap_or(DEFAULT_MAIN_KEY).into(),
            global: scope.is_some_and(|scope| scope.trim() == GLOBAL),
        }
    }

    /// Returns the agent that a key belongs to.
    pub(crate) fn agent_of(&self, key: &str) -> AgentId {
        parse(key).map_or_else(|| self.default_agent.clone(), |(agent, _)| AgentId::normalize(agent))
    }

    /// Returns the main session of `agent`.
    pub(crate) fn main(&self, agent: &AgentId) -> SessionKey {
        if self.global { SessionKey(GLOBAL.into()) } else { SessionKey(format!("agent:{agent}:{}", self.main_key).into()) }
    }

    /// Brings a key as a client wrote it into its canonical form; a short key belongs to `agent`.
    pub(crate) fn resolve(&self, raw: &str, agent: &AgentId) -> Result<SessionKey, Error> {
        if raw.len() > SESSION_KEY_BYTES_MAX {
            return Err(Error::SessionKeyTooLong { max: SESSION_KEY_BYTES_MAX });
        }
        let lower = raw.trim().to_lowercase();
        if lower == GLOBAL || lower == UNKNOWN {
            return Ok(SessionKey(lower.into()));
        }
        let key = self.qualify(&lower, agent);
        match parse(&key) {
            Some((owner, rest)) if rest == DEFAULT_MAIN_KEY || rest == &*self.main_key => Ok(self.main(&AgentId::normalize(owner))),
            _ => Ok(SessionKey(key.into())),
        }
    }

    /// Puts the agent in front of a lowercased key that does not name one.
    fn qualify(&self, lower: &str, agent: &AgentId) -> String {
        if lower.is_empty() || lower == DEFAULT_MAIN_KEY {
            format!("agent:{agent}:{}", self.main_key)
        } else if lower.starts_with("agent:") {
            lower.to_owned()
        } else {
            format!("agent:{agent}:{lower}")
        }
    }
}
