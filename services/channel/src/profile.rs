//! What an account may do and with whom, from `channels.<id>` and `channels.<id>.accounts.<account>`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use verso_kit::config::{self, Env, File, Secret};

use crate::adapter::Fault;
use crate::settings::DEFAULT_ACCOUNT;
use crate::store::AccountKey;

/// The longest message that an account sends, in characters, unless configured.
const TEXT_CHUNK_DEFAULT: usize = 4_000;

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

/// What holds for one group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Group {
    /// Off for `false`.
    pub(crate) enabled: Option<bool>,
    /// Whether the agent must be mentioned. Default: yes.
    pub(crate) require_mention: Option<bool>,
    /// Who is listened to in this group, instead of `groupAllowFrom`.
    pub(crate) allow_from: Option<Vec<Value>>,
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
    pub(crate) reply_to_mode: Option<ReplyTo>,
    pub(crate) link_preview: Option<bool>,
    /// Words that count as a mention.
    pub(crate) mention_patterns: Option<Vec<String>>,
    /// `WhatsApp`: where the linked device's keys are.
    pub(crate) auth_dir: Option<PathBuf>,

    /// Telegram: the bot's token.
    pub(crate) bot_token: Option<Secret<String>>,
    /// Telegram: a file that holds it.
    pub(crate) token_file: Option<PathBuf>,
    /// Telegram: the root of the Bot API.
    pub(crate) api_root: Option<String>,

    /// IRC: the server.
    pub(crate) host: Option<String>,
    /// IRC: its port.
    pub(crate) port: Option<u16>,
    /// IRC: whether the connection is encrypted. Default: yes.
    pub(crate) tls: Option<bool>,
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
    /// IRC: the channels to join.
    pub(crate) channels: Option<Vec<String>>,
}

impl Profile {
    /// Reads the settings of an account. One that cannot be read must not fall back to wider ones.
    pub(crate) fn read(file: &File, key: &AccountKey) -> Result<Self, Fault> {
        let unreadable = |error: config::Error| Fault::Account(error.to_string());
        let shared: Self = file.section(&format!("channels.{}", key.channel)).map_err(unreadable)?;
        let accounts: BTreeMap<String, Value> = file.section(&format!("channels.{}.accounts", key.channel)).map_err(unreadable)?;
        let Some(own) = accounts.get(&key.account) else { return Ok(shared) };
        let unusable = |error| Fault::Account(format!("channels.{}.accounts.{}: {error}", key.channel, key.account));
        let own: Self = serde_json::from_value(own.clone()).map_err(unusable)?;
        Ok(own.over(shared, key.account == DEFAULT_ACCOUNT))
    }

    /// Fills in what an account leaves open. Credentials belong to one account: the network's own are the default account's.
    fn over(self, shared: Self, default_account: bool) -> Self {
        let credentials = if default_account { shared.clone() } else { Self::default() };
        Self {
            dm_policy: self.dm_policy.or(shared.dm_policy),
            allow_from: self.allow_from.or(shared.allow_from),
            group_policy: self.group_policy.or(shared.group_policy),
            group_allow_from: self.group_allow_from.or(shared.group_allow_from),
            groups: self.groups.or(shared.groups),
            text_chunk_limit: self.text_chunk_limit.or(shared.text_chunk_limit),
            reply_to_mode: self.reply_to_mode.or(shared.reply_to_mode),
            link_preview: self.link_preview.or(shared.link_preview),
            mention_patterns: self.mention_patterns.or(shared.mention_patterns),
            auth_dir: self.auth_dir,
            bot_token: self.bot_token.or(credentials.bot_token),
            token_file: self.token_file.or(credentials.token_file),
            api_root: self.api_root.or(shared.api_root),
            host: self.host.or(shared.host),
            port: self.port.or(shared.port),
            tls: self.tls.or(shared.tls),
            nick: self.nick.or(shared.nick),
            username: self.username.or(shared.username),
            realname: self.realname.or(shared.realname),
            password: self.password.or(credentials.password),
            sasl_password: self.sasl_password.or(credentials.sasl_password),
            channels: self.channels.or(shared.channels),
        }
    }

    /// Lets the account's owner in: he is who has linked it. In groups he is nobody in particular.
    #[must_use]
    pub(crate) fn with_owner(mut self, number: Option<String>) -> Self {
        if let Some(number) = number {
            // The list of groups falls back to this one, and must stay as it was.
            self.group_allow_from = self.group_allow_from.or_else(|| self.allow_from.clone());
            self.allow_from.get_or_insert_default().push(Value::from(number));
        }
        self
    }

    /// Returns the longest message, in characters.
    pub(crate) fn text_chars_max(&self) -> usize {
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
