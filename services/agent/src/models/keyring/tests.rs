use serde_json::{Value, json};
use verso_kit::config::Secret;

use super::*;

const NOW_MS: i64 = 1_795_342_933_000;

struct Setup {
    folder: tempfile::TempDir,
    keyring: Keyring,
    clock: Clock,
    agent: AgentId,
}

fn setup(main: &Value, order: &[(&str, &[&str])]) -> Setup {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(NOW_MS));
    let order = order.iter().map(|(provider, ids)| ((*provider).to_owned(), ids.iter().map(|id| (*id).to_owned()).collect())).collect();
    let agent = AgentId::normalize("main");
    let keyring = Keyring::new(folder.path(), agent.clone(), order, clock.clone());
    let setup = Setup { folder, keyring, clock, agent };
    setup.write("main", main);
    setup
}

impl Setup {
    fn path(&self, agent: &str) -> PathBuf {
        self.folder.path().join(format!("agents/{agent}/agent/auth-profiles.json"))
    }

    fn write(&self, agent: &str, file: &Value) {
        let path = self.path(agent);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.to_string()).unwrap();
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("main")).unwrap()).unwrap()
    }

    async fn keys(&self) -> Vec<Key> {
        self.keyring.keys(&self.agent, "s", "acme", None).await
    }

    async fn ids(&self) -> Vec<String> {
        self.keys().await.into_iter().map(|key| key.id).collect()
    }
}

fn two() -> Value {
    json!({"version": 1, "extra": [1], "profiles": {
        "acme:a": {"type": "api_key", "provider": "acme", "key": "ka"},
        "acme:b": {"type": "api_key", "provider": "acme", "key": "kb", "email": "x@y"},
        "other:c": {"type": "token", "provider": "other", "token": "t"},
        "acme:old": {"type": "oauth", "provider": "acme", "access": "gone", "refresh": "r", "expires": NOW_MS - 1},
    }})
}

#[test]
fn pauses_grow_with_each_failure() {
    let minutes = |kind, errors| pause_ms(kind, errors) / 60_000;
    let list: Vec<i64> = (0..7).map(|errors| minutes(Kind::RateLimit, errors)).collect();
    assert_eq!(list, [1, 1, 5, 25, 60, 60, 60]);
    assert_eq!([1, 2, 3, 4, 99].map(|errors| minutes(Kind::Billing, errors) / 60), [5, 10, 20, 24, 24]);
}

#[tokio::test]
async fn a_failed_key_makes_way_and_comes_back() {
    let setup = setup(&two(), &[]);
    assert_eq!(setup.ids().await, ["acme:a", "acme:b"]);
    let first = setup.keys().await.remove(0);
    setup.keyring.failed(&setup.agent, &first, Kind::RateLimit).await;
    assert_eq!(setup.ids().await, ["acme:b", "acme:a"]);
    let file = setup.read();
    assert_eq!(file["usageStats"]["acme:a"]["cooldownUntil"], NOW_MS + 60_000);
    assert_eq!((&file["extra"], &file["profiles"]["acme:b"]["email"]), (&json!([1]), &json!("x@y")), "the rest of the file stays");

    // Another incarnation knows it from the file.
    let other = Keyring::new(setup.folder.path(), setup.agent.clone(), HashMap::new(), setup.clock.clone());
    assert_eq!(other.keys(&setup.agent, "s", "acme", None).await[0].id, "acme:b");

    setup.clock.advance(61_000);
    assert!(!setup.keyring.cools("acme:a"));
    setup.keyring.succeeded(&setup.agent, "s", "acme", &first).await;
    assert_eq!(setup.read()["usageStats"]["acme:a"]["errorCount"], 0);
    assert_eq!(setup.ids().await[0], "acme:a", "a session keeps the key that its provider's cache knows");
    assert_eq!(setup.keyring.keys(&setup.agent, "t", "acme", None).await[0].id, "acme:b", "another takes the one that rested longest");
}

#[tokio::test]
async fn an_account_without_credit_rests_for_hours() {
    let setup = setup(&two(), &[]);
    let first = setup.keys().await.remove(0);
    setup.keyring.failed(&setup.agent, &first, Kind::Billing).await;
    let stats = setup.read()["usageStats"]["acme:a"].clone();
    assert_eq!((&stats["disabledReason"], &stats["disabledUntil"]), (&json!("billing"), &json!(NOW_MS + 5 * 3_600_000)));
    setup.keyring.failed(&setup.agent, &first, Kind::Server).await;
    assert_eq!(setup.keyring.fate("acme:a").errors, 1, "a fault of the provider says nothing about the key");
}

#[tokio::test]
async fn an_order_that_somebody_gave_is_kept() {
    let setup = setup(&two(), &[("acme", &["acme:b", "acme:a"])]);
    assert_eq!(setup.ids().await, ["acme:b", "acme:a"]);
}

#[tokio::test]
async fn an_agents_own_profiles_hide_the_main_agents() {
    let setup = setup(&two(), &[]);
    setup.write("second", &json!({"profiles": {"acme:a": {"type": "api_key", "provider": "acme", "key": "own"}}}));
    let keys = setup.keyring.keys(&AgentId::normalize("second"), "s", "acme", None).await;
    let secrets: Vec<&str> = keys.iter().map(|key| key.credential.as_ref().unwrap().secret.expose().as_str()).collect();
    assert_eq!(secrets, ["own", "kb"]);
}

#[tokio::test]
async fn what_the_configuration_has_stands_behind_the_profiles() {
    let setup = setup(&two(), &[]);
    let configured = Credential::key(Secret::new("kc".to_owned()));
    let ids = |keys: Vec<Key>| keys.into_iter().map(|key| key.id).collect::<Vec<_>>();
    assert_eq!(ids(setup.keyring.keys(&setup.agent, "s", "acme", Some(&configured)).await), ["acme:a", "acme:b", "acme:configured"]);
    assert_eq!(ids(setup.keyring.keys(&setup.agent, "s", "local", None).await), ["local:none"]);
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let setup = setup(&json!({}), &[]);
    assert_eq!(setup.ids().await, ["acme:none"]);
    setup.write("main", &two());
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
    std::fs::File::options().append(true).open(setup.path("main")).unwrap().set_modified(later).unwrap();
    setup.clock.advance(RECHECK_MS);
    assert_eq!(setup.ids().await, ["acme:a", "acme:b"]);
}
