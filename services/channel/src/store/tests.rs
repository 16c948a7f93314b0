use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn status(account: &str, last_error: Option<&str>, changed_at_ms: i64) -> Status {
    Status { channel: "irc".into(), account: account.into(), running: false, last_error: last_error.map(str::to_owned), changed_at_ms }
}

#[tokio::test]
async fn keeps_what_did_not_change_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel.sqlite");
    let store = Store::open(path.clone(), 1).await.unwrap();
    store.replace_accounts(vec![status("a", None, 10), status("b", Some("no"), 10), status("c", None, 10)]).await.unwrap();
    drop(store);
    let store = Store::open(path.clone(), 2).await.unwrap();
    store.replace_accounts(vec![status("a", None, 20), status("b", Some("still no"), 20)]).await.unwrap();
    assert_eq!(store.statuses().await.unwrap(), [status("a", None, 10), status("b", Some("still no"), 20)]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_replaced_incarnation_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel.sqlite");
    let old = Store::open(path.clone(), 1).await.unwrap();
    old.replace_accounts(vec![status("a", None, 10)]).await.unwrap();
    let new = Store::open(path.clone(), 2).await.unwrap();
    assert!(matches!(old.replace_accounts(Vec::new()).await, Err(Error::Replaced)));
    assert_eq!(new.statuses().await.unwrap(), [status("a", None, 10)]);
    assert!(matches!(Store::open(path, 1).await, Err(Error::Replaced)));
    new.replace_accounts(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn refuses_a_database_of_a_newer_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel.sqlite");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(path.clone(), 1).await.unwrap_err();
    assert!(error.to_string().ends_with("channel.sqlite has layout 99, and this version knows up to 1"), "{error}");
    let version: i64 = Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn refuses_a_file_that_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel.sqlite");
    let text = "not a database ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(Store::open(path.clone(), 1).await, Err(Error::Database(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
