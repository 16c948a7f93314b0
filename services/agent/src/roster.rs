//! The configured agents: who they are, who is the default, and which agent a request means.

use std::path::{Path, PathBuf};

use crate::config::{self, Config};
use crate::error::Error;
use crate::heartbeat::Plan;
use crate::keys::{self, AgentId, Naming, SessionKey};
use crate::routing::Routing;

/// What an agent is called that has no name of its own.
const NAME_DEFAULT: &str = "Assistant";

/// Channels that the reference serves; a request may name them whether or not they are set up here.
const CHANNELS_KNOWN: [&str; 12] =
    ["last", "webchat", "whatsapp", "telegram", "discord", "googlechat", "slack", "signal", "imessage", "msteams", "matrix", "mattermost"];

/// One agent.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) id: AgentId,
    pub(crate) name: Option<String>,
    pub(crate) identity: Option<config::Identity>,
    /// The folder that it works in.
    pub(crate) workspace: PathBuf,
    /// Its own `provider/model`.
    pub(crate) model: Option<String>,
    /// What stands in for its model, instead of what stands in for everybody's.
    pub(crate) fallbacks: Option<Vec<String>>,
    /// What it is called by in groups, instead of what counts for all.
    pub(crate) mention_patterns: Option<Vec<String>>,
    /// The only skills that it uses. None: all.
    pub(crate) skills: Option<Vec<String>>,
}

impl Profile {
    /// Returns the name that people see.
    pub(crate) fn display_name(&self) -> &str {
        let identity = self.identity.as_ref().and_then(|identity| identity.name.as_deref());
        identity.or(self.name.as_deref()).unwrap_or(NAME_DEFAULT)
    }

    /// Returns a picture, an emoji or an initial that stands for the agent.
    pub(crate) fn avatar(&self) -> String {
        let identity = self.identity.as_ref();
        let own = identity.and_then(|identity| identity.avatar.as_deref().or(identity.emoji.as_deref()));
        own.map_or_else(|| self.display_name().chars().take(1).collect::<String>().to_uppercase(), str::to_owned)
    }
}

/// All agents.
#[derive(Debug, Clone)]
pub(crate) struct Roster {
    agents: Vec<Profile>,
    channels: Vec<String>,
    pub(crate) naming: Naming,
    pub(crate) routing: Routing,
}

impl Roster {
    /// Reads the agents of `config`; folders without a path of their own are under `state_dir`.
    pub(crate) fn new(config: &Config, state_dir: &Path) -> Self {
        let defaults = &config.agents.defaults;
        let workspace = defaults.workspace.as_ref().map_or_else(|| state_dir.join("workspace"), PathBuf::from);
        let mut agents: Vec<Profile> = Vec::new();
        for agent in &config.agents.list {
            let id = AgentId::normalize(&agent.id);
            if agents.iter().all(|other| other.id != id) {
                agents.push(profile(id, agent, &workspace));
            }
        }
        let chosen = config.agents.list.iter().find(|agent| agent.default).or(config.agents.list.first());
        let default = AgentId::normalize(chosen.map_or("", |agent| &agent.id));
        if agents.is_empty() {
            agents.push(profile(default.clone(), &config::Agent::default(), &workspace));
        }
        Self {
            agents,
            channels: config.channels.iter().map(|channel| channel.to_lowercase()).collect(),
            naming: Naming::new(default, config.session.main_key.as_deref(), config.session.scope.as_deref()),
            routing: Routing {
                bindings: config.bindings.clone(),
                direct_scope: config.session.dm_scope,
                identity_links: config.session.identity_links.clone(),
            },
        }
    }

    /// Returns how each agent wakes by itself: those that have a section of their own, else only the default agent.
    pub(crate) fn heartbeats(&self, config: &Config) -> Vec<Plan> {
        let own = |id: &AgentId| config.agents.list.iter().find(|agent| AgentId::normalize(&agent.id) == *id)?.heartbeat.as_ref();
        let chosen = self.agents.iter().any(|agent| own(&agent.id).is_some());
        let plan = |agent: &Profile| {
            let own = own(&agent.id);
            let wakes = if chosen { own.is_some() } else { agent.id == self.naming.default_agent };
            Plan::new(agent.id.clone(), &config.agents.defaults.heartbeat, own, wakes)
        };
        self.agents.iter().map(plan).collect()
    }

    /// Returns the agents in the order of the file.
    pub(crate) fn agents(&self) -> &[Profile] {
        &self.agents
    }

    /// Returns an agent; one that a session still names although it is gone gets the default agent's ways.
    pub(crate) fn get(&self, id: &AgentId) -> Profile {
        let find = |id: &AgentId| self.agents.iter().find(|agent| agent.id == *id);
        let found = find(id).or_else(|| find(&self.naming.default_agent)).or(self.agents.first());
        let found = found.expect("a roster is never empty").clone();
        Profile { id: id.clone(), ..found }
    }

    /// Returns the agent that a request of `method` names, if it names one.
    pub(crate) fn named(&self, method: &'static str, agent: Option<&str>) -> Result<Option<AgentId>, Error> {
        let Some(raw) = agent.map(str::trim).filter(|agent| !agent.is_empty()) else { return Ok(None) };
        let id = AgentId::normalize(raw);
        if self.agents.iter().any(|agent| agent.id == id) {
            Ok(Some(id))
        } else {
            Err(Error::UnknownAgent { method, agent: raw.to_owned() })
        }
    }

    /// Returns the session that a request of `method` means: its key belongs to `agent`, if both are there.
    pub(crate) fn session(&self, method: &'static str, agent: Option<&AgentId>, key: Option<&str>) -> Result<(AgentId, SessionKey), Error> {
        let key = key.map(str::trim).filter(|key| !key.is_empty());
        if let (Some(agent), Some((owner, _))) = (agent, key.and_then(keys::parse)) {
            let owner = AgentId::normalize(owner);
            if owner != *agent {
                return Err(Error::AgentMismatch { method, agent: agent.to_string(), owner: owner.to_string() });
            }
        }
        let agent = match (agent, key) {
            (Some(agent), _) => agent.clone(),
            (None, Some(key)) => self.naming.agent_of(key),
            (None, None) => self.naming.default_agent.clone(),
        };
        let key = self.naming.resolve(key.unwrap_or_default(), &agent)?;
        Ok((agent, key))
    }

    /// Refuses a channel that nobody serves.
    pub(crate) fn check_channel(&self, method: &'static str, channel: Option<&str>) -> Result<(), Error> {
        let Some(raw) = channel.map(str::trim).filter(|channel| !channel.is_empty()) else { return Ok(()) };
        let channel = raw.to_lowercase();
        if CHANNELS_KNOWN.contains(&channel.as_str()) || self.channels.contains(&channel) {
            Ok(())
        } else {
            Err(Error::UnknownChannel { method, channel: raw.to_owned() })
        }
    }
}

fn profile(id: AgentId, agent: &config::Agent, workspace: &Path) -> Profile {
    Profile {
        id,
        name: agent.name.clone(),
        identity: agent.identity.clone(),
        workspace: agent.workspace.as_ref().map_or_else(|| workspace.to_owned(), PathBuf::from),
        model: agent.model.as_ref().and_then(config::ModelChoice::primary).map(str::to_owned),
        fallbacks: agent.model.as_ref().and_then(config::ModelChoice::fallbacks).map(<[String]>::to_vec),
        mention_patterns: agent.group_chat.mention_patterns.clone(),
        skills: agent.skills.as_ref().map(|skills| skills.iter().map(|name| name.trim().to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use verso_kit::config::File;

    use super::*;

    fn roster(agents: &serde_json::Value) -> Roster {
        let file = File::from_value(json!({"agents": agents, "channels": {"Carrier": {}}}));
        Roster::new(&Config::read(&file).unwrap(), Path::new("/state"))
    }

    #[test]
    fn without_a_list_there_is_one_agent() {
        let roster = roster(&json!({}));
        assert_eq!(roster.agents().iter().map(|agent| agent.id.as_str()).collect::<Vec<_>>(), ["main"]);
        assert_eq!((roster.agents()[0].display_name(), roster.agents()[0].avatar().as_str()), ("Assistant", "A"));
    }

    #[test]
    fn refuses_what_is_not_configured() {
        let roster = roster(&json!({"list": [{"id": "main"}, {"id": "second", "default": true}]}));
        assert_eq!(roster.naming.default_agent.as_str(), "second");
        let text = |error: Error| error.to_string();
        assert_eq!(text(roster.named("agent", Some("kit-none")).unwrap_err()), r#"invalid agent params: unknown agent id "kit-none""#);
        assert_eq!(text(roster.check_channel("agent", Some("kit-none")).unwrap_err()), "invalid agent params: unknown channel: kit-none");
        roster.check_channel("agent", Some("carrier")).unwrap();
        let second = roster.named("agent", Some("Second")).unwrap();
        assert_eq!(
            text(roster.session("agent", second.as_ref(), Some("agent:main:kit")).unwrap_err()),
            r#"invalid agent params: agent "second" does not match session key agent "main""#
        );
        assert_eq!(roster.session("agent", second.as_ref(), None).unwrap().1.as_str(), "agent:second:main");
    }
}
