//! Which agent answers a request, in which session, and with which model.

use http::HeaderMap;

use super::errors::Refusal;
use super::models::{ModelName, normalize_agent_id};

/// Headers that name the agent, the strongest first.
const AGENT: [[&str; 2]; 2] = [["x-verso-agent-id", "x-openclaw-agent-id"], ["x-verso-agent", "x-openclaw-agent"]];

/// Headers that name the session, the strongest first.
const SESSION_KEY: [&str; 2] = ["x-verso-session-key", "x-openclaw-session-key"];

/// Headers that name the model behind the agent.
const MODEL: [&str; 2] = ["x-verso-model", "x-openclaw-model"];

/// Sessions of these kinds belong to the gateway's own work.
const RESERVED: [&str; 3] = ["subagent:", "cron:", "acp:"];

/// What a request says about its agent and its session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The agent; none for the default one.
    pub(super) agent: Option<String>,
    /// The session, as the client wrote it.
    pub(super) key: Option<String>,
    /// `provider/model`, instead of the agent's own.
    pub(super) model: Option<String>,
}

impl Wanted {
    /// Reads the headers; `model` has a say where they have none.
    pub(super) fn read(headers: &HeaderMap, model: Option<&ModelName>) -> Result<Self, Refusal> {
        let key = first(headers, SESSION_KEY).map(str::to_owned);
        if key.as_deref().is_some_and(is_reserved) {
            return Err(Refusal::invalid("`x-openclaw-session-key` cannot use reserved internal session namespaces."));
        }
        let named = AGENT.into_iter().find_map(|names| first(headers, names).and_then(normalize_agent_id));
        let agent = named.or_else(|| match model {
            Some(ModelName::Agent(agent)) => Some(agent.clone()),
            Some(ModelName::Default) | None => key.as_deref().and_then(owner),
        });
        Ok(Self { agent, key, model: first(headers, MODEL).map(str::to_owned) })
    }

    /// Returns the session's key: the one that was asked for, one that lasts for each user, or a new one. `family` names the API.
    pub(super) fn session_key(&self, family: &str, agent_id: &str, user: Option<&str>) -> String {
        match (&self.key, user) {
            (Some(key), _) => key.clone(),
            (None, Some(user)) => format!("agent:{agent_id}:{family}-user:{}", user.trim().to_lowercase()),
            (None, None) => format!("agent:{agent_id}:{family}:{}", uuid::Uuid::new_v4()),
        }
    }
}

/// Returns the first of the headers that says something.
pub(super) fn first<'a>(headers: &'a HeaderMap, names: [&str; 2]) -> Option<&'a str> {
    let read = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|text| !text.is_empty());
    names.into_iter().find_map(read)
}

/// Splits a key that names its agent into the agent and the rest.
fn split(key: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = key.trim_start_matches(':').split_once(':')?;
    let (agent, rest) = rest.trim_start_matches(':').split_once(':')?;
    prefix.eq_ignore_ascii_case("agent").then(|| (agent, rest.trim_start_matches(':')))
}

/// Returns the agent that a key names.
fn owner(key: &str) -> Option<String> {
    split(key).and_then(|(agent, _)| normalize_agent_id(agent))
}

pub(super) fn is_reserved(key: &str) -> bool {
    let lower = key.to_lowercase();
    let mut rest = lower.trim_start_matches(':');
    // A key within a key would be unwrapped elsewhere as it is here.
    while let Some((_, inner)) = split(rest) {
        rest = inner;
    }
    RESERVED.iter().any(|kind| rest.trim_start().starts_with(kind))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn agent(pairs: &[(&'static str, &str)], model: Option<&str>) -> Option<String> {
        Wanted::read(&headers(pairs), model.and_then(ModelName::parse).as_ref()).unwrap().agent
    }

    #[test]
    fn the_agent_is_the_first_that_is_named() {
        let all = [
            ("x-openclaw-agent", "d"),
            ("x-verso-agent", "c"),
            ("x-openclaw-agent-id", "B b"),
            ("x-verso-agent-id", "A"),
            ("x-openclaw-session-key", "agent:f:kit"),
        ];
        let model = Some("openclaw:e");
        for (first, expected) in [(5, "b-b"), (2, "c"), (1, "d")] {
            let named: Vec<_> = all.iter().take(first).copied().filter(|(name, _)| *name != "x-verso-agent-id").collect();
            assert_eq!(agent(&named, model).as_deref(), Some(expected));
        }
        assert_eq!(agent(&all, model).as_deref(), Some("a"));
        assert_eq!(agent(&all[4..], model).as_deref(), Some("e"));
        assert_eq!(agent(&all[4..], Some("openclaw")).as_deref(), Some("f"));
        assert_eq!(agent(&[("x-openclaw-agent-id", "  ")], Some("verso")), None);
        assert_eq!(agent(&[], None), None);
    }

    #[test]
    fn a_session_is_the_one_asked_for_or_the_users_or_new() {
        let key = |pairs: &[(&'static str, &str)], user| Wanted::read(&headers(pairs), None).unwrap().session_key("openai", "main", user);
        assert_eq!(key(&[("x-openclaw-session-key", "Agent:main:Kit")], Some("ann")), "Agent:main:Kit");
        assert_eq!(key(&[("x-verso-session-key", "mine"), ("x-openclaw-session-key", "other")], None), "mine");
        assert_eq!(key(&[], Some(" Ann@Example ")), "agent:main:openai-user:ann@example");
        let (one, other) = (key(&[("x-openclaw-session-key", " ")], None), key(&[], None));
        assert!(one.starts_with("agent:main:openai:") && one != other, "{one} {other}");
    }

    #[test]
    fn refuses_sessions_of_the_gateway_itself() {
        for (name, refused) in [
            ("cron:daily", true),
            ("CRON:daily", true),
            (":cron:daily", true),
            ("agent:main:subagent:1", true),
            ("AGENT:main:acp:1", true),
            ("agent::main::cron:1", true),
            ("agent:main:agent:main:cron:1", true),
            ("agent:main: cron:1", true),
            ("agent:main:cronies", false),
            ("agent:main:kit:cron:1", false),
            ("kit", false),
        ] {
            let read = Wanted::read(&headers(&[("x-openclaw-session-key", name)]), None);
            assert_eq!(read.is_err(), refused, "{name}");
        }
    }
}
