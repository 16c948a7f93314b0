//! The accounts as they are now: what is configured, and how each fares.

use std::collections::BTreeMap;
use std::sync::Arc;

use verso_kit::tasks::Tasks;

use crate::error::Error;
use crate::make::{self, BuiltIn};
use crate::network::Network;
use crate::settings::{Account, DEFAULT_ACCOUNT};
use crate::store::AccountKey;
use crate::units::{Shared, State, Unit};

/// Why an account that could run does not.
const NOT_BUILT_IN: &str = "this channel is not available in this build yet";

/// A network that has accounts.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(crate) network: Network,
    /// By their ids; never empty.
    pub(crate) accounts: Vec<Fare>,
}

/// An account and how it fares.
#[derive(Debug, Clone)]
pub(crate) struct Fare {
    pub(crate) account: Account,
    pub(crate) state: State,
    /// None when the account cannot run here.
    pub(crate) unit: Option<Arc<Unit>>,
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
    units: BTreeMap<AccountKey, Arc<Unit>>,
}

impl Accounts {
    /// Takes over the configured accounts, and starts those that can run.
    pub(crate) fn start(configured: Vec<Account>, shared: &Shared, tasks: &Tasks) -> Self {
        let mut units = BTreeMap::new();
        for account in configured.iter().filter(|account| account.enabled && account.configured && make::speaks(account.network)) {
            let key = AccountKey { channel: account.network.id().to_owned(), account: account.id.clone() };
            let (context, shelf) = (shared.context.clone(), shared.shelf.clone());
            let make = Box::new(BuiltIn { key: key.clone(), network: account.network, context, shelf });
            let unit = Arc::new(Unit::new(key.clone(), account.network, make, shared.clone()));
            tasks.spawn("account", Arc::clone(&unit).run(tasks.shutdown().child_token()));
            units.insert(key, unit);
        }
        Self { configured, units }
    }

    /// Lists the networks that have accounts, in the networks' order; only that of the id `only`, if there is one.
    pub(crate) fn channels(&self, only: Option<&str>) -> Result<Vec<Channel>, Error> {
        let only = only.map(|id| Network::find(id).ok_or(Error::UnknownChannel)).transpose()?;
        let mut channels: Vec<Channel> = Vec::new();
        for account in self.configured.iter().filter(|account| only.is_none_or(|only| account.network == only)) {
            let fare = self.fare(account);
            match channels.last_mut() {
                Some(channel) if channel.network == account.network => channel.accounts.push(fare),
                _ => channels.push(Channel { network: account.network, accounts: vec![fare] }),
            }
        }
        Ok(channels)
    }

    fn fare(&self, account: &Account) -> Fare {
        let key = AccountKey { channel: account.network.id().to_owned(), account: account.id.clone() };
        let unit = self.units.get(&key).cloned();
        let state = unit.as_ref().map_or_else(
            || {
                let could_run = account.enabled && account.configured;
                State { last_error: could_run.then(|| NOT_BUILT_IN.to_owned()), ..State::default() }
            },
            |unit| unit.state(),
        );
        Fare { account: account.clone(), state, unit }
    }
}
