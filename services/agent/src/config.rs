//! The parts of the configuration file that the service reads: `agents`, `models`, `session`, `auth`, `messages`, `cron` and the names under
//! `channels`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use verso_kit::config::{self, File, Secret};

use crate::routing::{Binding, DirectScope};
use crate::sessions::send_policy::SendPolicy;
use crate::{cron, embeddings, heartbeat};

/// How many runs may be active at once, unless `agents.defaults.maxConcurrent` says otherwise.
const CONCURRENT_RUNS_DEFAULT: usize = 4;

/// How long a run may take, in seconds, unless `agents.defaults.timeoutSeconds` says otherwise.
const RUN_TIMEOUT_SECONDS_DEFAULT: u64 = 600;

/// How long a model may be silent within its answer, in seconds, unless `agents.defaults.llm.idleTimeoutSeconds` says otherwise.
const IDLE_TIMEOUT_SECONDS_DEFAULT: u64 = 120;

/// Everything that the service reads from the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    pub(crate) agents: Agents,
    pub(crate) models: Models,
    pub(crate) session: Session,
    pub(crate) auth: Auth,
    pub(crate) messages: Messages,
    pub(crate) cron: cron::settings::Section,
    pub(crate) commands: crate::commands::Section,
    /// The channels that have a section of their own.
    pub(crate) channels: Vec<String>,
    /// Which agent messages from chat networks are for.
    pub(crate) bindings: Vec<Binding>,
}

impl Config {
    /// Reads the sections of `file`.
    pub(crate) fn read(file: &File) -> Result<Self, config::Error> {
        let channels: BTreeMap<String, serde_json::Value> = file.section("channels")?;
        Ok(Self {
            agents: file.section("agents")?,
            models: file.section("models")?,
            session: file.section("session")?,
            auth: file.section("auth")?,
            messages: file.section("messages")?,
            cron: file.section("cron")?,
            commands: file.section("commands")?,
            channels: channels.into_keys().collect(),
            bindings: file.section("bindings")?,
        })
    }
}

/// The section `agents`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Agents {
    /// What holds for every agent.
    pub(crate) defaults: Defaults,
    /// The agents. Empty: one agent, `main`.
    pub(crate) list: Vec<Agent>,
}

/// The section `agents.defaults`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Defaults {
    /// The folder that agents work in. Default: `workspace` under the state folder.
    pub(crate) workspace: Option<String>,
    /// `provider/model`, or more about it. Default: whatever is found.
    pub(crate) model: Option<ModelChoice>,
    /// The model that sees pictures. Default: the one that answers, if it sees.
    pub(crate) image_model: Option<ModelChoice>,
    /// Runs at once. Default: 4.
    pub(crate) max_concurrent: Option<usize>,
    /// How long a run may take, in seconds. Default: 600.
    pub(crate) timeout_seconds: Option<u64>,
    /// How models are waited for.
    pub(crate) llm: Llm,
    /// The IANA time zone of the user. Default: that of the host.
    pub(crate) user_timezone: Option<String>,
    /// How much a model should think. Default: `off`.
    pub(crate) thinking_default: Option<String>,
    /// Whether a session is told of every tool call: `on` or `off`. Default: `off`.
    pub(crate) verbose_default: Option<String>,
    /// The most context, in tokens, that any model is given. Default: its own window.
    pub(crate) context_tokens: Option<u64>,
    /// The smallest window, in tokens, with which a model of another host is asked. Default: 16000.
    pub(crate) min_context_tokens: Option<u64>,
    /// The models that may be asked for by name, `provider/model`, and their short names. Empty: every one that is configured.
    pub(crate) models: BTreeMap<String, Allowed>,
    /// How agents wake by themselves.
    pub(crate) heartbeat: heartbeat::settings::Section,
    /// Who computes embeddings.
    pub(crate) memory_search: embeddings::Choice,
    /// How an answer is told in pieces.
    pub(crate) block_streaming_chunk: crate::reply::Chunks,
    /// When conversations are summarised.
    pub(crate) compaction: crate::compaction::Section,
}

impl Defaults {
    /// Returns how many runs may be active at once.
    pub(crate) fn concurrent_runs(&self) -> usize {
        self.max_concurrent.unwrap_or(CONCURRENT_RUNS_DEFAULT).max(1)
    }

    /// Returns how long a run may take, in seconds.
    pub(crate) fn run_timeout_seconds(&self) -> u64 {
        self.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or(RUN_TIMEOUT_SECONDS_DEFAULT)
    }

    /// Returns how long a model may be silent within its answer. None: for ever.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        let seconds = self.llm.idle_timeout_seconds.unwrap_or(IDLE_TIMEOUT_SECONDS_DEFAULT);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// The section `agents.defaults.llm`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Llm {
    /// How long a model may be silent within its answer, in seconds; 0: for ever. Default: 120.
    pub(crate) idle_timeout_seconds: Option<u64>,
}

/// One of `agents.list`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Agent {
    /// The agent's id.
    pub(crate) id: String,
    /// Whether keys without an agent belong to it.
    pub(crate) default: bool,
    /// The name that people see.
    pub(crate) name: Option<String>,
    /// The folder that it works in.
    pub(crate) workspace: Option<String>,
    /// Its own model.
    pub(crate) model: Option<ModelChoice>,
    /// How it presents itself.
    pub(crate) identity: Option<Identity>,
    /// How it wakes by itself. If any agent has this, those without it do not wake.
    pub(crate) heartbeat: Option<heartbeat::settings::Section>,
    /// How it behaves in groups.
    pub(crate) group_chat: GroupChat,
    /// The only skills that it uses, by name or key; empty: none. Default: all.
    pub(crate) skills: Option<Vec<String>>,
    /// How its models choose their words, before what their own `params` say.
    pub(crate) params: serde_json::Map<String, serde_json::Value>,
}

/// How an agent behaves in groups.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GroupChat {
    /// What it is called by there. Default: `messages.groupChat.mentionPatterns`.
    pub(crate) mention_patterns: Option<Vec<String>>,
}

/// How an agent presents itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Identity {
    pub(crate) name: Option<String>,
    pub(crate) theme: Option<String>,
    pub(crate) emoji: Option<String>,
    pub(crate) avatar: Option<String>,
}

/// A model as configured: its name, or its name among other things.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum ModelChoice {
    Name(String),
    Full {
        primary: Option<String>,
        /// Asked in this order when the primary does not answer.
        fallbacks: Option<Vec<String>>,
    },
}

impl ModelChoice {
    /// Returns `provider/model`.
    pub(crate) fn primary(&self) -> Option<&str> {
        let name = match self {
            Self::Name(name) => Some(name.as_str()),
            Self::Full { primary, .. } => primary.as_deref(),
        };
        name.map(str::trim).filter(|name| !name.is_empty())
    }

    /// Returns it and all that stand in for it.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.primary().into_iter().chain(self.fallbacks().unwrap_or_default().iter().map(String::as_str))
    }

    /// Returns the models that stand in for it; none if it does not say.
    pub(crate) fn fallbacks(&self) -> Option<&[String]> {
        match self {
            Self::Name(_) => None,
            Self::Full { fallbacks, .. } => fallbacks.as_deref(),
        }
    }
}

/// One of `agents.defaults.models`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Allowed {
    /// A short name.
    pub(crate) alias: Option<String>,
    /// How it chooses its words, unless somebody asks for something else.
    pub(crate) params: serde_json::Map<String, serde_json::Value>,
}

/// The section `auth`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Auth {
    /// By provider, the ids of profiles in the order in which they are tried.
    pub(crate) order: HashMap<String, Vec<String>>,
}

/// What a million tokens cost, in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Price {
    pub(crate) input: f64,
    pub(crate) output: f64,
    pub(crate) cache_read: f64,
    pub(crate) cache_write: f64,
}

/// The section `models`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Models {
    /// By id, in the order of the file.
    #[serde(deserialize_with = "in_order")]
    pub(crate) providers: Vec<(String, Provider)>,
}

/// One of `models.providers`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Provider {
    /// The URL that the dialect's paths are appended to, such as `/chat/completions`.
    pub(crate) base_url: String,
    /// Sent as a bearer token.
    pub(crate) api_key: Option<Secret<String>>,
    /// The dialect. Default: `openai-completions`.
    pub(crate) api: Option<String>,
    /// Further headers of every request.
    pub(crate) headers: BTreeMap<String, Secret<String>>,
    /// The models that it offers.
    pub(crate) models: Vec<Model>,
}

/// One model of a provider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Model {
    /// What the provider calls it.
    pub(crate) id: String,
    /// The dialect. Default: its provider's.
    pub(crate) api: Option<String>,
    /// The name that people see. Default: the id.
    pub(crate) name: Option<String>,
    /// Whether it can be told how much to think.
    pub(crate) reasoning: bool,
    /// `text`, `image`. Default: text only.
    pub(crate) input: Vec<String>,
    /// In tokens.
    pub(crate) context_window: Option<u64>,
    /// The longest answer, in tokens.
    pub(crate) max_tokens: Option<u64>,
    /// Its price.
    pub(crate) cost: Option<Price>,
}

/// The section `session`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Session {
    /// What a main session's key ends in. Default: `main`.
    pub(crate) main_key: Option<String>,
    /// `per-sender` or `global`.
    pub(crate) scope: Option<String>,
    /// Messages that begin a session afresh. Default: `/new` and `/reset`.
    pub(crate) reset_triggers: Option<Vec<String>>,
    /// How direct chats become conversations. Default: all are the main one.
    pub(crate) dm_scope: DirectScope,
    /// People by one name, with what networks call them.
    pub(crate) identity_links: BTreeMap<String, Vec<String>>,
    /// Which sessions take messages.
    pub(crate) send_policy: SendPolicy,
    /// When a conversation begins afresh by itself.
    #[serde(flatten)]
    pub(crate) freshness: crate::sessions::freshness::Policies,
}

/// The section `messages`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Messages {
    /// Speech.
    pub(crate) tts: crate::tts::Config,
    /// What becomes of messages while their session is busy.
    pub(crate) queue: crate::runs::QueueSection,
}

/// Reads an object as a list: which provider comes first matters.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Provider)>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, Provider)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object of providers")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_map(Entries)
}
