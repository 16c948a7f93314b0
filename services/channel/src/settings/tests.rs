use std::sync::Arc;

use serde_json::json;

use super::*;

fn read(config: Value, env: &[(&str, &str)]) -> Vec<Account> {
    let folder = tempfile::tempdir().unwrap();
    read_in(folder.path(), config, env).unwrap()
}

fn read_in(state_dir: &Path, config: Value, env: &[(&str, &str)]) -> Result<Vec<Account>, Error> {
    let context = Context {
        config: Arc::new(File::from_value(config)),
        env: Env::from_pairs(env.iter().copied()),
        ..Context::for_test("channel", state_dir)
    };
    accounts(&context)
}

fn configured(config: Value) -> Vec<(&'static str, String, bool)> {
    read(config, &[]).into_iter().map(|account| (account.network.id(), account.id, account.configured)).collect()
}

#[test]
fn knows_what_each_network_needs() {
    let table = [
        (json!({"telegram": {"botToken": "1:a"}}), true),
        (json!({"telegram": {"botToken": " "}}), false),
        (json!({"telegram": {"tokenFile": "/nowhere/at/all"}}), false),
        (json!({"discord": {"token": "t"}}), true),
        (json!({"discord": {"botToken": "t"}}), false),
        (json!({"slack": {"botToken": "b"}}), false),
        (json!({"slack": {"botToken": "b", "appToken": "a"}}), true),
        (json!({"slack": {"botToken": "b", "appToken": "a", "mode": "http"}}), false),
        (json!({"slack": {"botToken": "b", "signingSecret": "s", "mode": "http"}}), true),
        (json!({"signal": {"account": "+15550100"}}), true),
        (json!({"signal": {}}), false),
        (json!({"imessage": {"cliPath": "imsg"}}), true),
        (json!({"irc": {"host": "irc.example"}}), false),
        (json!({"irc": {"host": "irc.example", "nick": "verso"}}), true),
        (json!({"whatsapp": {}}), false),
    ];
    for (channels, expected) in table {
        let found = configured(json!({"channels": channels.clone()}));
        assert_eq!((found.len(), found[0].2), (1, expected), "{channels}");
    }
}

#[test]
fn a_networks_own_token_is_the_default_accounts_only() {
    let channels = json!({"telegram": {"botToken": "1:a", "accounts": {"default": {}, "work": {}, "home": {"botToken": "2:b"}}}});
    let found = configured(json!({"channels": channels}));
    let named = |id: &str, configured| ("telegram", id.to_owned(), configured);
    assert_eq!(found, [named("default", true), named("home", true), named("work", false)]);
}

#[test]
fn the_environment_can_make_an_account() {
    let accounts = read(json!({}), &[("TELEGRAM_BOT_TOKEN", "1:a"), ("SLACK_BOT_TOKEN", "b")]);
    assert_eq!(accounts.len(), 1, "Slack needs a second token");
    assert_eq!((accounts[0].network, accounts[0].configured, accounts[0].enabled), (Network::Telegram, true, true));
}

#[test]
fn a_switch_at_either_level_turns_an_account_off() {
    let enabled = |config| read(config, &[]).into_iter().map(|account| account.enabled).collect::<Vec<_>>();
    assert_eq!(enabled(json!({"channels": {"irc": {"enabled": false, "accounts": {"a": {"enabled": true}}}}})), [false]);
    assert_eq!(enabled(json!({"channels": {"irc": {"accounts": {"a": {"enabled": false}, "b": {}}}}})), [false, true]);
    assert_eq!(enabled(json!({"web": {"enabled": false}, "channels": {"whatsapp": {}, "irc": {}}})), [false, true]);
}

#[test]
fn a_linked_device_is_found_by_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("credentials/whatsapp/default");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::write(keys.join("creds.json"), "{}").unwrap();
    let accounts = read_in(folder.path(), json!({"channels": {"whatsapp": {}}}), &[]).unwrap();
    assert_eq!((accounts[0].linked, accounts[0].configured), (Some(true), true));
}

#[test]
fn lists_networks_in_their_order_and_skips_unknown_ones() {
    let channels = json!({"defaults": {"groupPolicy": "open"}, "irc": {}, "carrier-pigeon": {}, "discord": {}, "telegram": {}});
    let ids: Vec<_> = configured(json!({"channels": channels})).into_iter().map(|(network, _, _)| network).collect();
    assert_eq!(ids, ["telegram", "discord", "irc"]);
}

#[test]
fn a_bad_value_is_named_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let bad = json!({"channels": {"telegram": {"accounts": {"work": {"enabled": "yes"}}}}});
    let error = read_in(folder.path(), bad, &[]).unwrap_err().to_string();
    assert!(error.starts_with("channels.telegram.accounts.work.enabled: "), "{error}");
    let many: serde_json::Map<String, Value> = (0..=ACCOUNTS_MAX).map(|number| (number.to_string(), json!({}))).collect();
    let error = read_in(folder.path(), json!({"channels": {"irc": {"accounts": many}}}), &[]).unwrap_err().to_string();
    assert_eq!(error, "channels.irc.accounts: at most 256 accounts");
}
