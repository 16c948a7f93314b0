//! The accounts as they are now: what is configured, and how each fares.

use std::collections::BTreeMap;

use verso_kit::clock::Clock;

use crate::error::Error;
use crate::network::Network;
use crate::settings::{Account, DEFAULT_ACCOUNT};
use crate::store::{Status, Store};

/// Why an account that could run does not.
const NOT_BUILT_IN: &str = "this channel is not available in this build yet";

/// A network that has accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) network: Network,
    /// By their ids; never empty.
    pub(crate) accounts: Vec<Fare>,
}

/// An account and how it fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fare {
    pub(crate) account: Account,
    pub(crate) running: bool,
    pub(crate) last_error: Option<String>,
}

impl Channel {
    /// Returns the account that is meant when none is named.
    pub(crate) fn default_account(&self) -> Option<&Fare> {
        self.accounts.iter().find(|fare| fare.account.id == DEFAULT_ACCOUNT).or_else(|| self.accounts.first())
    }
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Accounts {
    configured: Vec<Account>,
    store: Store,
}

impl Accounts {
    /// Takes over the configured accounts: none of them runs yet.
    pub(crate) async fn start(configured: Vec<Account>, store: Store, clock: &Clock) -> Result<Self, Error> {
        let changed_at_ms = clock.now_ms();
        let stopped = |account: &Account| Status {
            channel: account.network.id().to_owned(),
            account: account.id.clone(),
            running: false,
            last_error: (account.enabled && account.configured).then(|| NOT_BUILT_IN.to_owned()),
            changed_at_ms,
        };
        store.replace_accounts(configured.iter().map(stopped).collect()).await?;
        Ok(Self { configured, store })
    }

    /// Lists the networks that have accounts, in the networks' order; only that of the id `only`, if there is one.
    pub(crate) async fn channels(&self, only: Option<&str>) -> Result<Vec<Channel>, Error> {
        let only = only.map(|id| Network::find(id).ok_or(Error::UnknownChannel)).transpose()?;
        let mut statuses: BTreeMap<_, _> =
            self.store.statuses().await?.into_iter().map(|status| ((status.channel.clone(), status.account.clone()), status)).collect();
        let mut channels: Vec<Channel> = Vec::new();
        for account in self.configured.iter().filter(|account| only.is_none_or(|only| account.network == only)) {
            let status = statuses.remove(&(account.network.id().to_owned(), account.id.clone()));
            let running = status.as_ref().is_some_and(|status| status.running);
            let fare = Fare { account: account.clone(), running, last_error: status.and_then(|status| status.last_error) };
            match channels.last_mut() {
                Some(channel) if channel.network == account.network => channel.accounts.push(fare),
                _ => channels.push(Channel { network: account.network, accounts: vec![fare] }),
            }
        }
        Ok(channels)
    }
}
