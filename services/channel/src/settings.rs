//! From the configuration and the environment to accounts: which there are, and whether each has what it needs.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tracing::warn;
use verso_kit::config::{Env, File, Secret};
use verso_kit::service::Context;

use crate::error::Error;
use crate::network::Network;
use crate::{make, remote};

/// The account of a network that names none.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";

/// How many accounts a network may have.
const ACCOUNTS_MAX: usize = 256;

/// A key of `channels` that is not a network: what holds for all of them.
const DEFAULTS_KEY: &str = "defaults";

/// An account as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) network: Network,
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) enabled: bool,
    /// Has the credentials that its network asks for.
    pub(crate) configured: bool,
    /// Is run in a process of its own.
    pub(crate) isolated: bool,
    /// Is tied to a device of its owner; only some networks know that.
    pub(crate) linked: Option<bool>,
}

impl Account {
    /// Whether the account can run here, or could once its owner has linked it.
    pub(crate) fn can_run(&self) -> bool {
        match self.network {
            // It waits until its owner has linked it.
            Network::WhatsApp => self.enabled,
            network => self.enabled && self.configured && (make::speaks(network) || !network.is_built_in()),
        }
    }
}

/// `channels.<id>` and each `channels.<id>.accounts.<account>`, as far as it says whether an account can run.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Settings {
    /// Off for `false`. Default: on.
    enabled: Option<bool>,
    /// Run in a process of its own. Default: off for networks that this build speaks.
    isolate: Option<bool>,
    /// What people call the account.
    name: Option<String>,
    /// Accounts by their ids. Default: one, named `default`.
    accounts: BTreeMap<String, Settings>,
    /// Telegram, Slack: the bot's token.
    bot_token: Option<Secret<String>>,
    /// Telegram: a file that holds the token.
    token_file: Option<PathBuf>,
    /// Discord: the bot's token.
    token: Option<Secret<String>>,
    /// Slack, socket mode: the token of the app.
    app_token: Option<Secret<String>>,
    /// Slack: `socket` or `http`. Default: `socket`.
    mode: Option<String>,
    /// Slack, http mode: proves that a request is Slack's.
    signing_secret: Option<Secret<String>>,
    /// `WhatsApp`: where the linked device's keys are. Default: `<state>/credentials/whatsapp/<account>`.
    auth_dir: Option<PathBuf>,
    /// Signal: the account's number.
    account: Option<String>,
    /// Signal: the address of its daemon.
    http_url: Option<String>,
    /// iMessage: the program that talks to it. Signal: the same.
    cli_path: Option<PathBuf>,
    /// iMessage: the database of messages.
    db_path: Option<PathBuf>,
    /// IRC: the server.
    host: Option<String>,
    /// IRC: the name to use.
    nick: Option<String>,
}

/// `web`: what holds for every account that links as a web client.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Web {
    enabled: Option<bool>,
}

/// Reads the accounts of every network that is configured. It looks for files, so it blocks.
pub(crate) fn accounts(context: &Context) -> Result<Vec<Account>, Error> {
    let channels: BTreeMap<String, Value> = context.config.section("channels")?;
    let others = remote::declare(&context.config)?;
    for channel in channels.keys().filter(|id| *id != DEFAULTS_KEY && Network::find(id).is_none()) {
        warn!(channel = %channel, "channel is not known to this build");
    }
    let mut accounts = Vec::new();
    for network in Network::ALL.into_iter().chain(others) {
        let reader = Reader { network, config: &context.config, env: &context.env, state_dir: &context.state_dir };
        if channels.contains_key(network.id()) || reader.environment_suffices() {
            accounts.extend(reader.accounts()?);
        }
    }
    Ok(accounts)
}

/// Reads the accounts of one network.
struct Reader<'a> {
    network: Network,
    config: &'a File,
    env: &'a Env,
    state_dir: &'a Path,
}

impl Reader<'_> {
    fn accounts(&self) -> Result<Vec<Account>, Error> {
        let mut top: Settings = self.config.section(&format!("channels.{}", self.network.id()))?;
        let web: Web = if self.network == Network::WhatsApp { self.config.section("web")? } else { Web::default() };
        let enabled = top.enabled.unwrap_or(true) && web.enabled.unwrap_or(true);
        let mut each = std::mem::take(&mut top.accounts);
        if each.len() > ACCOUNTS_MAX {
            return Err(Error::TooManyAccounts { channel: self.network.id(), max: ACCOUNTS_MAX });
        }
        if each.is_empty() {
            each.insert(DEFAULT_ACCOUNT.to_owned(), Settings { name: top.name.take(), ..Settings::default() });
        }
        let account = |(id, own): (String, Settings)| {
            let linked = (self.network == Network::WhatsApp).then(|| has_device_keys(self.state_dir, &id, own.auth_dir.as_deref()));
            let configured = linked.unwrap_or_else(|| self.has_credentials(&own, (id == DEFAULT_ACCOUNT).then_some(&top)));
            let enabled = enabled && own.enabled.unwrap_or(true);
            let isolated = self.network == Network::WhatsApp || !self.network.is_built_in() || own.isolate.or(top.isolate).unwrap_or(false);
            Account { network: self.network, id, name: own.name, enabled, configured, isolated, linked }
        };
        Ok(each.into_iter().map(account).collect())
    }

    /// Whether the account has what its network asks for. `shared`, the network's own settings, holds for the default account only, and so
    /// does the environment: a token belongs to one account.
    fn has_credentials(&self, own: &Settings, shared: Option<&Settings>) -> bool {
        let any = |given: fn(&Settings) -> bool| given(own) || shared.is_some_and(given);
        let env = |name: &str| shared.is_some() && self.env.get(name).is_some();
        match self.network {
            Network::Telegram => any(|own| secret(own.bot_token.as_ref()) || file(own.token_file.as_ref())) || env("TELEGRAM_BOT_TOKEN"),
            Network::Discord => any(|own| secret(own.token.as_ref())) || env("DISCORD_BOT_TOKEN"),
            Network::Slack => {
                let bot = any(|own| secret(own.bot_token.as_ref())) || env("SLACK_BOT_TOKEN");
                let by_requests = own.mode.as_deref().or_else(|| shared?.mode.as_deref()) == Some("http");
                let signed = any(|own| secret(own.signing_secret.as_ref()));
                let app = any(|own| secret(own.app_token.as_ref())) || env("SLACK_APP_TOKEN");
                bot && if by_requests { signed } else { app }
            }
            Network::Signal => any(|own| text(own.account.as_ref()) || text(own.http_url.as_ref())),
            Network::IMessage => any(|own| own.cli_path.is_some() || own.db_path.is_some()),
            Network::Irc => any(|own| text(own.host.as_ref())) && any(|own| text(own.nick.as_ref())),
            Network::WhatsApp => false,
            // Its own program knows what it needs.
            Network::Other(_) => true,
        }
    }

    /// Whether the environment alone makes an account.
    fn environment_suffices(&self) -> bool {
        self.network.is_built_in() && self.has_credentials(&Settings::default(), Some(&Settings::default()))
    }
}

/// Whether a linked device's keys are there. It looks for a file, so it blocks.
pub(crate) fn has_device_keys(state_dir: &Path, id: &str, auth_dir: Option<&Path>) -> bool {
    device_folder(state_dir, id, auth_dir).join(DEVICE_FILE).is_file()
}

/// The file that says that a device is linked, and to whom.
const DEVICE_FILE: &str = "creds.json";

/// Returns where a linked device's keys are.
pub(crate) fn device_folder(state_dir: &Path, id: &str, auth_dir: Option<&Path>) -> PathBuf {
    auth_dir.map_or_else(|| state_dir.join("credentials/whatsapp").join(id), Path::to_path_buf)
}

/// Returns the number of the account that a device is linked to, as people write it. It reads a file, so it blocks.
pub(crate) fn device_number(folder: &Path) -> Option<String> {
    let text = std::fs::read(folder.join(DEVICE_FILE)).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    let id = value.pointer("/me/id")?.as_str()?;
    let digits = id.split(['@', ':']).next().filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(format!("+{digits}"))
}

fn secret(value: Option<&Secret<String>>) -> bool {
    value.is_some_and(|secret| !secret.expose().trim().is_empty())
}

fn text(value: Option<&String>) -> bool {
    value.is_some_and(|text| !text.trim().is_empty())
}

fn file(path: Option<&PathBuf>) -> bool {
    path.is_some_and(|path| path.is_file())
}
