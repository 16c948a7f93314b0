//! `adapters.<id>`: programs that speak chat networks, by the names of the networks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use verso_adapter::{Limits, START_TIMEOUT};
use verso_kit::config::File;

use crate::adapter::Fault;
use crate::error::Error;
use crate::network::Network;
use crate::store::AccountKey;

/// How many networks may be spoken by other programs.
const ADAPTERS_MAX: usize = 64;

/// How long an adapter may give no sign of life, unless configured.
const SILENCE_DEFAULT: Duration = Duration::from_mins(2);

/// One program.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Settings {
    /// The program and its arguments. It is started once for each account.
    pub(super) command: Vec<String>,
    /// Where it listens, if it is not to be started: `unix:/a/path`, or `http://127.0.0.1:port`.
    pub(super) address: Option<String>,
    /// A file that holds what it must be presented there.
    pub(super) token_file: Option<PathBuf>,
    /// What people call the network. Default: its id.
    label: Option<String>,
    /// Its environment, besides PATH, HOME, LANG, TZ and TMPDIR.
    pub(super) env: BTreeMap<String, String>,
    /// Memory for each account, in MiB. Default: 512.
    memory_mib: Option<u64>,
    /// Open files for each account. Default: 1024.
    descriptors: Option<u64>,
    /// How long it may take to serve, in seconds. Default: 30.
    start_seconds: Option<u64>,
    /// How long it may give no sign of life, in seconds. Default: 120.
    silence_seconds: Option<u64>,
}

impl Settings {
    /// Reads the program of one network.
    pub(super) fn read(file: &File, channel: &str) -> Result<Self, Fault> {
        let all: BTreeMap<String, Self> = file.section("adapters").map_err(|error| Fault::Account(error.to_string()))?;
        all.into_iter()
            .find(|(id, _)| id == channel)
            .map(|(_, settings)| settings)
            .ok_or_else(|| Fault::Account(format!("adapters.{channel} is missing: it says which program speaks this network")))
    }

    pub(super) fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits { memory_mib: self.memory_mib.unwrap_or(usual.memory_mib), descriptors: self.descriptors.unwrap_or(usual.descriptors) }
    }

    pub(super) fn start_timeout(&self) -> Duration {
        self.start_seconds.map_or(START_TIMEOUT, Duration::from_secs)
    }

    pub(super) fn silence_max(&self) -> Duration {
        self.silence_seconds.map_or(SILENCE_DEFAULT, Duration::from_secs)
    }
}

/// Makes the networks known that other programs speak. A name that a built-in network has stays that network's.
pub(crate) fn declare(file: &File) -> Result<Vec<Network>, Error> {
    let all: BTreeMap<String, Settings> = file.section("adapters")?;
    if all.len() > ADAPTERS_MAX {
        return Err(Error::TooManyAdapters(ADAPTERS_MAX));
    }
    let mut networks = Vec::new();
    for (id, settings) in all {
        match Network::find(&id) {
            Some(network) if network.is_built_in() => {
                tracing::warn!(channel = %id, "adapters has the name of a network that this build speaks itself; it is left out");
            }
            _ => networks.push(Network::declare(&id, settings.label.as_deref())),
        }
    }
    Ok(networks)
}

/// Returns an account's section over its network's, secrets included.
pub(super) fn merged(file: &File, key: &AccountKey) -> Result<Map<String, Value>, Fault> {
    let (mut shared, own) = sections(file, key)?;
    shared.extend(own);
    Ok(shared)
}

/// Returns a configuration that holds one account and nothing of the others.
pub(super) fn alone(file: &File, key: &AccountKey, also: Map<String, Value>) -> Result<Value, Fault> {
    let (mut shared, mut own) = sections(file, key)?;
    own.extend(also);
    shared.insert("accounts".to_owned(), json!({key.account.clone(): own}));
    Ok(json!({"channels": {key.channel.clone(): shared}}))
}

/// A section of the configuration.
type Members = Map<String, Value>;

/// Returns what is said of the network, and what of the account.
fn sections(file: &File, key: &AccountKey) -> Result<(Members, Members), Fault> {
    let section: Result<Map<String, Value>, _> = file.section(&format!("channels.{}", key.channel));
    let mut shared = section.map_err(|error| Fault::Account(error.to_string()))?;
    let accounts = shared.remove("accounts");
    let own = accounts.as_ref().and_then(|accounts| accounts.get(&key.account)).and_then(Value::as_object);
    Ok((shared, own.cloned().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_given_its_own_section_and_nothing_of_another() {
        let file = File::from_value(json!({"channels": {"mail": {
            "host": "h", "password": "shared", "accounts": {"a": {"password": "mine"}, "b": {"password": "hidden"}},
        }}}));
        let key = AccountKey { channel: "mail".into(), account: "a".into() };
        assert_eq!(Value::from(merged(&file, &key).unwrap()), json!({"host": "h", "password": "mine"}));
        let alone = alone(&file, &key, Map::new()).unwrap();
        assert_eq!(alone["channels"]["mail"]["accounts"], json!({"a": {"password": "mine"}}));
        assert!(!alone.to_string().contains("hidden"));
    }

    #[test]
    fn a_built_in_network_keeps_its_name() {
        let file = File::from_value(json!({"adapters": {"irc": {"command": ["x"]}, "doves": {"command": ["y"], "label": "Doves"}}}));
        let declared = declare(&file).unwrap();
        assert_eq!(declared.iter().map(|network| (network.id(), network.label())).collect::<Vec<_>>(), [("doves", "Doves")]);
        assert_eq!(Network::find("doves"), declared.first().copied());
        assert!(Network::find("irc").is_some_and(Network::is_built_in));
    }
}
