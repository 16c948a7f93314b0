//! What an account may do and with whom, from `channels.<id>` and `channels.<id>.accounts.<account>`.

mod manners;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use verso_kit::config::{self, Env, File, Secret};
use verso_kit::service::Context;
use verso_proto::agent::v1::Answerer;

use crate::adapter::Fault;
use crate::mentions::Mentions;
use crate::network::Network;
use crate::settings::DEFAULT_ACCOUNT;
use crate::store::AccountKey;
pub(crate) use manners::Manners;
use manners::{AUTO, AckScope};

/// The longest message that an account sends, in UTF-16 units, unless configured.
const TEXT_CHUNK_DEFAULT: usize = 4_000;

/// Messages of a group that are kept for the agent, unless configured.
const HISTORY_DEFAULT: usize = 50;

/// The largest file that is taken in, in megabytes, unless configured, and whatever is configured.
const MEDIA_MB_DEFAULT: f64 = 5.0;
const MEDIA_MB_MAX: f64 = 100.0;

/// How long files that came in are kept, in hours, unless configured.
const MEDIA_KEPT_HOURS_DEFAULT: u64 = 7 * 24;

/// Keys that one account never has from another.
const CREDENTIALS: [&str; 7] = ["authDir", "botToken", "tokenFile", "webhookSecret", "password", "saslPassword", "nickservPassword"];

/// Who may write to the account in a direct chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DirectPolicy {
    /// Who was let in by a code, or is listed.
    #[default]
    Pairing,
    /// Who is listed.
    Allowlist,
    /// Everybody, if `*` is listed.
    Open,
    /// Nobody.
    Disabled,
}

/// In which groups the account listens, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupPolicy {
    /// To those who are listed.
    #[default]
    Allowlist,
    /// To everybody.
    Open,
    /// Nowhere.
    Disabled,
}

/// Which messages of an answer quote the one that they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReplyTo {
    /// None.
    #[default]
    Off,
    /// The first.
    First,
    /// All.
    All,
}

/// Where long texts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChunkMode {
    /// Where they become too long.
    #[default]
    Length,
    /// After every paragraph.
    Newline,
}

/// How messages are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) min_delay_ms: u64,
    pub(crate) max_delay_ms: u64,
    pub(crate) jitter: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 6, min_delay_ms: 400, max_delay_ms: 30_000, jitter: 0.1 }
    }
}

/// How an answer is shown while it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Streaming {
    /// Not before it is whole.
    Off,
    /// As a message that changes.
    #[default]
    Partial,
    /// As finished pieces.
    Block,
    /// As a message that says what is going on.
    Progress,
}

/// Whose reactions an agent hears of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReactionsHeard {
    /// Nobody's.
    Off,
    /// Those to the account's own messages.
    #[default]
    Own,
    /// All.
    All,
}

/// Where buttons are listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Buttons {
    /// Nowhere.
    Off,
    /// In direct chats.
    Dm,
    /// In groups.
    Group,
    /// Everywhere, for whoever is listened to there.
    All,
    /// Everywhere, for those who are listed.
    #[default]
    Allowlist,
}

/// What holds for one group, or one of its topics.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Group {
    /// Off for `false`.
    pub(crate) enabled: Option<bool>,
    /// Whether the agent must be mentioned. Default: yes.
    pub(crate) require_mention: Option<bool>,
    /// Who is listened to in this group, instead of `groupAllowFrom`.
    pub(crate) allow_from: Option<Vec<Value>>,
    /// Instead of the account's own.
    #[serde(rename = "groupPolicy")]
    pub(crate) policy: Option<GroupPolicy>,
    /// What differs in its topics.
    pub(crate) topics: BTreeMap<String, Group>,
}

/// A command that the configuration adds to the network's menu.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CustomCommand {
    pub(crate) command: String,
    pub(crate) description: String,
}

/// `channels.*.commands`, and `commands`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Commands {
    /// `true`, `false` or `"auto"`.
    native: Option<Value>,
}

/// `channels.*.streaming`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamingSection {
    mode: Option<Streaming>,
}

/// `channels.defaults`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Defaults {
    group_policy: Option<GroupPolicy>,
}

/// An account's settings. Those of the account come before those of its network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Profile {
    pub(crate) dm_policy: Option<DirectPolicy>,
    /// Ids of people. Names can be changed by whoever bears them, so they mean nothing here.
    pub(crate) allow_from: Option<Vec<Value>>,
    pub(crate) group_policy: Option<GroupPolicy>,
    pub(crate) group_allow_from: Option<Vec<Value>>,
    pub(crate) groups: Option<BTreeMap<String, Group>>,
    pub(crate) text_chunk_limit: Option<usize>,
    pub(crate) chunk_mode: ChunkMode,
    pub(crate) reply_to_mode: Option<ReplyTo>,
    pub(crate) link_preview: Option<bool>,
    /// Patterns that count as a mention.
    pub(crate) mention_patterns: Option<Vec<String>>,
    /// `WhatsApp`: where the linked device's keys are.
    pub(crate) auth_dir: Option<PathBuf>,
    history_limit: Option<usize>,
    ack_reaction: Option<Value>,
    /// What stands before every answer. Default: `messages.responsePrefix`.
    response_prefix: Option<String>,
    /// `WhatsApp`: the account is its owner's own, who writes to himself.
    self_chat_mode: Option<bool>,
    media_max_mb: Option<f64>,
    /// Hosts that are not on the public internet and from which files may be fetched.
    pub(crate) media_allow_hosts: Vec<String>,
    pub(crate) block_streaming: Option<bool>,
    streaming: StreamingSection,
    /// An older name of `streaming.mode`.
    stream_mode: Option<Streaming>,
    capabilities: Option<Value>,
    commands: Commands,
    pub(crate) reaction_notifications: ReactionsHeard,
    pub(crate) retry: Retry,
    /// Whether the owner writes to himself.
    #[serde(skip)]
    self_chat: bool,
    /// Whether what holds for all networks says nothing of how messages are marked as seen.
    #[serde(skip)]
    own_acknowledgement: bool,
    /// What holds for all networks.
    #[serde(skip)]
    pub(crate) manners: Manners,
    #[serde(skip)]
    native_by_default: Option<Value>,

    /// Telegram: the bot's token.
    pub(crate) bot_token: Option<Secret<String>>,
    /// Telegram: a file that holds it.
    pub(crate) token_file: Option<PathBuf>,
    /// Telegram: the root of the Bot API.
    pub(crate) api_root: Option<String>,
    /// Telegram: how long a call may take, in seconds.
    pub(crate) timeout_seconds: Option<u64>,
    /// Telegram: a proxy for the Bot API.
    pub(crate) proxy: Option<String>,
    /// Telegram: where the Bot API delivers to. Default: it is polled.
    pub(crate) webhook_url: Option<String>,
    /// Telegram: what deliveries must show.
    pub(crate) webhook_secret: Option<Secret<String>>,
    /// Telegram: where deliveries come in.
    pub(crate) webhook_host: Option<String>,
    pub(crate) webhook_port: Option<u16>,
    pub(crate) webhook_path: Option<String>,
    /// Telegram: commands of your own.
    pub(crate) custom_commands: Option<Vec<CustomCommand>>,

    /// IRC: the server.
    pub(crate) host: Option<String>,
    /// IRC: its port.
    pub(crate) port: Option<u16>,
    /// IRC: whether the connection is encrypted. Default: yes.
    pub(crate) tls: Option<bool>,
    /// IRC: a file of certificates that are trusted besides the system's.
    pub(crate) tls_ca_file: Option<PathBuf>,
    /// IRC: the name to use.
    pub(crate) nick: Option<String>,
    /// IRC: the user name.
    pub(crate) username: Option<String>,
    /// IRC: the real name.
    pub(crate) realname: Option<String>,
    /// IRC: the server's password.
    pub(crate) password: Option<Secret<String>>,
    /// IRC: the account's password for SASL.
    pub(crate) sasl_password: Option<Secret<String>>,
    /// IRC: the account's password for `NickServ`, on networks without SASL.
    pub(crate) nickserv_password: Option<Secret<String>>,
    /// IRC: the channels to join.
    pub(crate) channels: Option<Vec<String>>,
}

impl Profile {
    /// Reads the settings of an account. One that cannot be read must not fall back to wider ones.
    pub(crate) fn read(file: &File, key: &AccountKey) -> Result<Self, Fault> {
        let unreadable = |error: config::Error| Fault::Account(error.to_string());
        let mut all: Map<String, Value> = file.section(&format!("channels.{}", key.channel)).map_err(unreadable)?;
        let accounts = all.remove("accounts");
        let own = accounts.as_ref().and_then(|accounts| accounts.get(&key.account)).and_then(Value::as_object);
        let path =
            own.map_or_else(|| format!("channels.{}", key.channel), |_| format!("channels.{}.accounts.{}", key.channel, key.account));
        if let Some(own) = own {
            // Credentials belong to one account: the network's own are the default account's.
            if key.account != DEFAULT_ACCOUNT {
                all.retain(|name, _| !CREDENTIALS.contains(&name.as_str()));
            }
            all.extend(own.clone());
        }
        let mut profile: Self = serde_json::from_value(Value::Object(all)).map_err(|error| Fault::Account(format!("{path}: {error}")))?;
        let defaults: Defaults = file.section("channels.defaults").map_err(unreadable)?;
        profile.group_policy = profile.group_policy.or(defaults.group_policy);
        profile.own_acknowledgement = key.channel == Network::WhatsApp.id();
        profile.self_chat = profile.self_chat_mode.unwrap_or_default();
        profile.manners = Manners::read(file, &key.channel)?;
        profile.native_by_default = file.section::<Commands>("commands").map_err(unreadable)?.native;
        Ok(profile)
    }

    /// Lets the account's owner in: he is who has linked it. In groups he is nobody in particular.
    #[must_use]
    pub(crate) fn with_owner(mut self, number: Option<String>) -> Self {
        if let Some(number) = number {
            let listed = self.allow_from.as_deref().is_some_and(|listed| crate::access::names(listed, &number));
            self.self_chat = self.self_chat_mode.unwrap_or(listed);
            // The list of groups falls back to this one, and must stay as it was.
            self.group_allow_from = self.group_allow_from.or_else(|| self.allow_from.clone());
            self.allow_from.get_or_insert_default().push(Value::from(number));
        }
        self
    }

    /// Returns how people are waited for and answered.
    pub(crate) fn streaming(&self) -> Streaming {
        self.streaming.mode.or(self.stream_mode).unwrap_or_default()
    }

    /// Whether commands are announced to the network.
    pub(crate) fn native_commands(&self) -> bool {
        let on = |value: &Value| value.as_bool();
        self.commands.native.as_ref().and_then(on).or_else(|| self.native_by_default.as_ref().and_then(on)).unwrap_or(true)
    }

    /// Returns what counts as a mention of the account, whichever agent answers.
    pub(crate) fn mentions(&self) -> Mentions {
        Mentions::new(self.mention_patterns.iter().flatten())
    }

    /// Returns what counts as a mention of an agent that has no patterns of its own.
    pub(crate) fn usual_mentions(&self) -> Mentions {
        Mentions::new(self.manners.group_chat.mention_patterns.iter().flatten())
    }

    /// Returns how many messages of a group are kept to be told with the next one that is for the agent.
    pub(crate) fn history_limit(&self) -> usize {
        self.history_limit.or(self.manners.group_chat.history_limit).unwrap_or(HISTORY_DEFAULT)
    }

    /// Returns the emoji that says "seen", if there is one.
    pub(crate) fn ack_reaction(&self) -> Option<&str> {
        let own = self.ack_reaction.as_ref().and_then(|own| own.as_str().or_else(|| own.get("emoji")?.as_str()));
        let of_all = self.manners.ack_reaction.as_deref().filter(|_| !self.own_acknowledgement);
        own.or(of_all).map(str::trim).filter(|emoji| !emoji.is_empty())
    }

    /// Whether a message is marked as seen: the account's own rule comes before that of all.
    pub(crate) fn acknowledges(&self, group: bool, mentioned: bool) -> bool {
        if let Some(own) = self.ack_reaction.as_ref().filter(|own| own.is_object()) {
            let in_groups = own.get("group").and_then(Value::as_str).unwrap_or("mentions");
            let direct = own.get("direct").and_then(Value::as_bool).unwrap_or(true);
            return if group { in_groups == "always" || (in_groups == "mentions" && mentioned) } else { direct };
        }
        match self.manners.ack_reaction_scope {
            AckScope::Off => false,
            AckScope::All => true,
            AckScope::Direct => !group,
            AckScope::GroupAll => group,
            AckScope::GroupMentions => group && mentioned,
        }
    }

    /// Returns an answer with what stands before every answer of the agent, and of the model that has given it.
    pub(crate) fn prefixed(&self, text: &str, agent: &str, answerer: Option<&Answerer>) -> String {
        let usual = self.response_prefix.as_deref().or(self.manners.response_prefix.as_deref());
        // Where the owner writes to himself, nothing else tells the two apart.
        let template = usual.or_else(|| self.self_chat.then_some(AUTO));
        let prefix = template.map(|template| self.manners.prefix(template, agent, answerer)).unwrap_or_default();
        let begun = prefix.is_empty() || text.trim().is_empty() || text.starts_with(&prefix);
        if begun { text.to_owned() } else { format!("{prefix} {text}") }
    }

    /// Returns the largest file that is taken in, in bytes.
    pub(crate) fn media_bytes_max(&self) -> usize {
        let megabytes = self.media_max_mb.filter(|megabytes| *megabytes > 0.0).unwrap_or(MEDIA_MB_DEFAULT);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is too large becomes the largest")]
        let bytes = (megabytes.min(MEDIA_MB_MAX) * 1_048_576.0) as usize;
        bytes
    }

    /// Returns how long any account wants files kept that came in. They share a folder, so the longest time counts.
    pub(crate) fn media_kept_longest(context: &Context) -> Duration {
        let all: BTreeMap<String, Value> = context.config.section("channels").unwrap_or_default();
        let kept = all.values().filter_map(|section| section.get("mediaRetentionHours")?.as_u64()).max();
        Duration::from_secs(kept.unwrap_or(MEDIA_KEPT_HOURS_DEFAULT).saturating_mul(60 * 60))
    }

    /// Returns which buttons are listened to.
    pub(crate) fn buttons(&self) -> Buttons {
        let named = self.capabilities.as_ref().and_then(|value| value.get("inlineButtons")).cloned();
        named.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
    }

    /// Returns the longest message, in UTF-16 units.
    pub(crate) fn text_units_max(&self) -> usize {
        self.text_chunk_limit.filter(|limit| *limit > 0).unwrap_or(TEXT_CHUNK_DEFAULT)
    }

    /// Returns the token of a Telegram bot. It looks for a file, so it blocks.
    pub(crate) fn telegram_token(&self, env: &Env, account: &str) -> Option<Secret<String>> {
        let from_file = self.token_file.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).map(|text| text.trim().to_owned());
        let configured = from_file.or_else(|| self.bot_token.as_ref().map(|token| token.expose().trim().to_owned()));
        let from_env = || (account == DEFAULT_ACCOUNT).then(|| env.get("TELEGRAM_BOT_TOKEN").map(str::to_owned)).flatten();
        configured.filter(|token| !token.is_empty()).or_else(from_env).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(policy: &str) -> Result<Profile, Fault> {
        let file = File::from_value(json!({"channels": {"irc": {"dmPolicy": "open", "accounts": {"own": {"dmPolicy": policy}}}}}));
        Profile::read(&file, &AccountKey { channel: "irc".into(), account: "own".into() })
    }

    fn of_channel(channel: &str, config: Value) -> Profile {
        Profile::read(&File::from_value(config), &AccountKey { channel: channel.into(), account: "own".into() }).unwrap()
    }

    #[test]
    fn what_stands_before_answers_is_the_account_s_own_or_that_of_all() {
        let config = |network: Value| json!({"messages": {"responsePrefix": "[all]"}, "agents": {"list": [{"id": "Main", "identity": {"name": " Vera "}}]}, "channels": {"irc": network}});
        let said = |network: Value, text: &str, agent: &str| of_channel("irc", config(network)).prefixed(text, agent, None);
        assert_eq!(said(json!({}), "hi", "main"), "[all] hi");
        assert_eq!(said(json!({"responsePrefix": "auto"}), "hi", "main"), "[Vera] hi");
        assert_eq!(said(json!({"responsePrefix": "auto"}), "hi", "nobody"), "hi");
        assert_eq!(said(json!({"responsePrefix": "{identity.name} ({model}):"}), "hi", "main"), "Vera ({model}): hi");
        assert_eq!(said(json!({"accounts": {"own": {"responsePrefix": ""}}}), "hi", "main"), "hi");
        assert_eq!(said(json!({}), "[all] hi", "main"), "[all] hi", "it stands there once");
        assert_eq!(said(json!({}), "", "main"), "", "a file without words has none");
    }

    #[test]
    fn whoever_writes_to_himself_sees_who_answers() {
        let config = json!({"agents": {"list": [{"id": "main", "identity": {"name": "Vera"}}]}, "channels": {"whatsapp": {"allowFrom": ["+49 170"]}}});
        let mine = of_channel("whatsapp", config.clone()).with_owner(Some("+49170".into()));
        assert_eq!(mine.prefixed("hi", "main", None), "[Vera] hi");
        assert_eq!(of_channel("whatsapp", config).with_owner(Some("+1555".into())).prefixed("hi", "main", None), "hi");
    }

    #[test]
    fn messages_are_marked_as_seen_by_the_account_s_rule_or_that_of_all() {
        let config = |own: Value| json!({"messages": {"ackReaction": "👀"}, "channels": {"whatsapp": own.clone(), "telegram": own}});
        let marks = |channel: &str, own: Value| {
            let profile = of_channel(channel, config(own));
            let seen = [(false, false), (true, true), (true, false)].map(|(group, mentioned)| profile.acknowledges(group, mentioned));
            (profile.ack_reaction().map(str::to_owned), seen)
        };
        let own = json!({"ackReaction": {"emoji": "👌"}});
        assert_eq!(marks("whatsapp", own), (Some("👌".into()), [true, true, false]));
        let loud = json!({"ackReaction": {"emoji": "👌", "direct": false, "group": "always"}});
        assert_eq!(marks("whatsapp", loud), (Some("👌".into()), [false, true, true]));
        assert_eq!(marks("whatsapp", json!({})).0, None, "what holds for all holds for others");
        assert_eq!(marks("telegram", json!({})), (Some("👀".into()), [false, true, false]));
    }

    #[test]
    fn the_owner_is_let_in_and_groups_stay_as_they_were() {
        let profile = Profile { allow_from: Some(vec![json!("+1555")]), ..Profile::default() }.with_owner(Some("+49170".into()));
        assert_eq!(profile.allow_from, Some(vec![json!("+1555"), json!("+49170")]));
        assert_eq!(profile.group_allow_from, Some(vec![json!("+1555")]));
        assert_eq!(Profile::default().with_owner(None).allow_from, None);
    }

    #[test]
    fn an_account_whose_settings_cannot_be_read_does_not_run_with_wider_ones() {
        assert_eq!(read("disabled").unwrap().dm_policy, Some(DirectPolicy::Disabled));
        let fault = read("nobody").unwrap_err().to_string();
        assert!(fault.starts_with("channels.irc.accounts.own: unknown variant `nobody`"), "{fault}");
    }
}
