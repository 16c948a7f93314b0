use std::os::unix::fs::PermissionsExt as _;

use super::inbox::{Arrived, Ended};
use super::outbox::{Fate, Posting};
use super::pairing::{Asked, Stranger};
use super::*;

fn account() -> AccountKey {
    AccountKey { channel: "irc".into(), account: "default".into() }
}

fn arrived(event: &str) -> Arrived {
    Arrived { event: event.into(), chat: "c".into(), message: "{}".into(), at_ms: 10 }
}

fn posting(id: &str, chat: &str) -> Posting {
    Posting { id: id.into(), chat: chat.into(), part: "{}".into(), at_ms: 10 }
}

async fn open(folder: &Path, epoch: u64) -> Store {
    Store::open(folder.join("channel.sqlite"), epoch).await.unwrap()
}

#[tokio::test]
async fn a_message_is_taken_once_and_read_again_until_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    let seq = store.take(&account(), Some(arrived("a")), Some(7)).await.unwrap().unwrap();
    assert_eq!(store.take(&account(), Some(arrived("a")), Some(6)).await.unwrap(), None);
    drop(store);
    let store = open(folder.path(), 2).await;
    assert_eq!(store.position(&account()).await.unwrap(), Some(7));
    assert_eq!(store.open_messages(&account(), 0, 10).await.unwrap().len(), 1);
    let ended = Ended { seq, state: "answered", at_ms: 20, error: None };
    store.answer(&account(), ended.clone(), vec![posting("a:0", "c")]).await.unwrap();
    store.answer(&account(), ended, vec![posting("a:1", "c")]).await.unwrap();
    assert_eq!(store.open_messages(&account(), 0, 10).await.unwrap(), []);
    assert_eq!(store.take(&account(), Some(arrived("a")), None).await.unwrap(), None);
    assert_eq!(store.claim(&account(), 30).await.unwrap().0.unwrap().id, "a:0");
    assert_eq!(store.claim(&account(), 30).await.unwrap().0, None, "an answer is sent once");
    assert_eq!(folder.path().join("channel.sqlite").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_was_being_sent_when_the_service_died_is_uncertain_and_stays_unsent() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    assert!(store.post(&account(), posting("a", "c")).await.unwrap());
    assert!(!store.post(&account(), posting("a", "c")).await.unwrap());
    store.claim(&account(), 10).await.unwrap().0.unwrap();
    drop(store);
    let store = open(folder.path(), 2).await;
    assert_eq!(store.recover(20, 0).await.unwrap(), 1);
    assert_eq!(store.claim(&account(), 20).await.unwrap(), (None, None));
    assert_eq!(store.delivery(&account(), "a").await.unwrap().unwrap().state, "uncertain");
}

#[tokio::test]
async fn a_message_that_must_wait_holds_back_its_own_chat_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    for (id, chat) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        store.post(&account(), posting(id, chat)).await.unwrap();
    }
    let first = store.claim(&account(), 10).await.unwrap().0.unwrap();
    store.settle(first.seq, Fate::Later { due_at_ms: 100, error: "busy".into() }, 10).await.unwrap();
    let second = store.claim(&account(), 10).await.unwrap().0.unwrap();
    assert_eq!((first.id.as_str(), second.id.as_str()), ("a1", "b1"));
    store.settle(second.seq, Fate::Sent { receipt: "{}".into() }, 10).await.unwrap();
    assert_eq!(store.claim(&account(), 10).await.unwrap(), (None, Some(100)));
    let first = store.claim(&account(), 100).await.unwrap().0.unwrap();
    assert_eq!((first.id.as_str(), first.attempts), ("a1", 1));
}

#[tokio::test]
async fn three_may_ask_and_each_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    for (sender, expected) in [("1", Asked::New), ("1", Asked::Known), ("2", Asked::New), ("3", Asked::New), ("4", Asked::Full)] {
        let code = format!("CODE{sender}");
        assert_eq!(store.ask(&account(), Stranger { sender: sender.into(), name: None, code }, 10).await.unwrap(), expected, "{sender}");
    }
    assert!(!store.is_allowed(&account(), "1").await.unwrap());
    assert_eq!(store.decide("irc", " code1 ", true, 20).await.unwrap().unwrap().sender, "1");
    assert_eq!(store.decide("irc", "code1", true, 20).await.unwrap(), None);
    assert!(store.is_allowed(&account(), "1").await.unwrap());
    assert_eq!(store.asking(Some("irc"), pairing::CODE_LIFE_MS + 10).await.unwrap(), [], "a code lives an hour");
}

#[tokio::test]
async fn a_replaced_incarnation_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let old = open(folder.path(), 1).await;
    let new = open(folder.path(), 2).await;
    assert!(matches!(old.post(&account(), posting("a", "c")).await, Err(Error::Replaced)));
    assert!(matches!(old.take(&account(), Some(arrived("a")), None).await, Err(Error::Replaced)));
    assert!(matches!(Store::open(folder.path().join("channel.sqlite"), 1).await, Err(Error::Replaced)));
    new.post(&account(), posting("a", "c")).await.unwrap();
}

#[tokio::test]
async fn refuses_a_database_of_a_newer_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel.sqlite");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(path.clone(), 1).await.unwrap_err();
    assert!(error.to_string().ends_with("channel.sqlite has layout 99, and this version knows up to 2"), "{error}");
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
