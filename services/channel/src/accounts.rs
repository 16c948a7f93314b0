//! The accounts as they are now: what is configured, and how each fares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tracing::{info, warn};
use verso_kit::CancellationToken;
use verso_kit::config::File;
use verso_kit::tasks::Tasks;

use crate::error::Error;
use crate::make::{BuiltIn, Make};
use crate::network::Network;
use crate::remote::Launch;
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

/// How long an account whose settings changed may take to stop before its successor is started.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

impl Fare {
    /// Whether the network knows the account as its owner's device; none on networks that have no such thing.
    pub(crate) fn linked(&self) -> Option<bool> {
        self.state.linked.or(self.account.linked)
    }

    /// Whether the account has what its network asks for.
    pub(crate) fn configured(&self) -> bool {
        self.account.configured || self.state.linked == Some(true)
    }
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Accounts {
    shared: Shared,
    tasks: Tasks,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    configured: Vec<Account>,
    units: BTreeMap<AccountKey, Running>,
}

/// A unit at work.
#[derive(Debug, Clone)]
struct Running {
    unit: Arc<Unit>,
    /// All that its file says of it.
    settings: Value,
    stop: CancellationToken,
    /// Triggered when it has stopped.
    over: CancellationToken,
}

impl Accounts {
    /// Takes over the configured accounts, and starts those that can run.
    pub(crate) fn start(configured: Vec<Account>, shared: &Shared, tasks: &Tasks) -> Self {
        let accounts = Self { shared: shared.clone(), tasks: tasks.clone(), present: Mutex::default() };
        let units = able(&configured).map(|account| accounts.begin(account, &shared.context.config)).collect();
        *accounts.present() = Present { configured, units };
        accounts
    }

    /// Puts other settings in force: accounts whose own changed are started again, new ones begin, those that are gone end. No other
    /// account notices.
    pub(crate) async fn take_over(&self, configured: Vec<Account>, file: &File) {
        let (mut units, mut fresh) = (BTreeMap::new(), Vec::new());
        let before = std::mem::take(&mut self.present().units);
        for account in able(&configured) {
            let key = key_of(account);
            match before.get(&key) {
                Some(running) if running.settings == settings_of(file, &key) => drop(units.insert(key, running.clone())),
                _ => fresh.push(account.clone()),
            }
        }
        let ending: Vec<&Running> = before.iter().filter(|(key, _)| !units.contains_key(*key)).map(|(_, running)| running).collect();
        *self.present() = Present { configured, units };
        for running in &ending {
            info!(channel = %running.unit.key.channel, account = %running.unit.key.account, "account stops: its settings changed");
            running.stop.cancel();
        }
        for running in ending {
            if tokio::time::timeout(STOP_TIMEOUT, running.over.cancelled()).await.is_err() {
                warn!(channel = %running.unit.key.channel, account = %running.unit.key.account, "account did not stop in time");
            }
        }
        for account in fresh {
            let (key, running) = self.begin(&account, file);
            self.present().units.insert(key, running);
        }
    }

    fn begin(&self, account: &Account, file: &File) -> (AccountKey, Running) {
        let key = key_of(account);
        let (context, files) = (self.shared.context.clone(), self.shared.shelf.clone());
        let network = account.network;
        let make: Box<dyn Make> = if account.isolated {
            Box::new(Launch { key: key.clone(), network, context, shelf: files })
        } else {
            Box::new(BuiltIn { key: key.clone(), network, context, shelf: files, webhooks: self.shared.webhooks.clone() })
        };
        let unit = Arc::new(Unit::new(key.clone(), network, make, self.shared.clone()));
        let (stop, over) = (self.tasks.shutdown().child_token(), CancellationToken::new());
        let (working, halt, done) = (Arc::clone(&unit), stop.clone(), over.clone().drop_guard());
        self.tasks.spawn("account", async move {
            let _done = done;
            working.run(halt).await;
        });
        let settings = settings_of(file, &key);
        (key, Running { unit, settings, stop, over })
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the networks that have accounts, in the networks' order; only that of the id `only`, if there is one.
    pub(crate) fn channels(&self, only: Option<&str>) -> Result<Vec<Channel>, Error> {
        let only = only.map(|id| Network::find(id).ok_or(Error::UnknownChannel)).transpose()?;
        let mut channels: Vec<Channel> = Vec::new();
        let present = self.present();
        for account in present.configured.iter().filter(|account| only.is_none_or(|only| account.network == only)) {
            let fare = present.fare(account);
            match channels.last_mut() {
                Some(channel) if channel.network == account.network => channel.accounts.push(fare),
                _ => channels.push(Channel { network: account.network, accounts: vec![fare] }),
            }
        }
        Ok(channels)
    }
}

impl Present {
    fn fare(&self, account: &Account) -> Fare {
        let unit = self.units.get(&key_of(account)).map(|running| Arc::clone(&running.unit));
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

/// The accounts that can run here.
fn able(configured: &[Account]) -> impl Iterator<Item = &Account> {
    configured.iter().filter(|account| account.can_run())
}

fn key_of(account: &Account) -> AccountKey {
    AccountKey { channel: account.network.id().to_owned(), account: account.id.clone() }
}

/// Everything in the file that an account goes by: what holds for all, what holds for its network, its program, and its own. The settings of its
/// network's other accounts are not among it.
fn settings_of(file: &File, key: &AccountKey) -> Value {
    let root = file.value();
    let mut network = root.pointer(&format!("/channels/{}", key.channel)).cloned().unwrap_or_default();
    let own = network.as_object_mut().and_then(|members| members.remove("accounts"));
    let own = own.and_then(|mut accounts| Some(accounts.as_object_mut()?.remove(&key.account)));
    let of_all = ["channels", "web", "messages", "commands", "broadcast"];
    let [channels, others @ ..] = of_all.map(|section| root.get(section).cloned().unwrap_or_default());
    let program = root.pointer(&format!("/adapters/{}", key.channel));
    json!([network, own.flatten(), channels.get("defaults"), others, program])
}
