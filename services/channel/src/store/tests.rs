use std::os::unix::fs::PermissionsExt as _;

use super::inbox::{Arrived, Ended};
use super::outbox::{Fate, Posting};
use super::pairing::{Asked, Stranger};
use super::*;
use crate::message::Receipt;

const NOW_MS: i64 = 1_700_000_000_000;

fn account() -> AccountKey {
    AccountKey { channel: "irc".into(), account: "default".into() }
}

fn arrived(event: &str) -> Arrived {
    Arrived { event: event.into(), chat: "c".into(), message: "{}".into(), at_ms: 10 }
}

fn posting(id: &str, chat: &str) -> Posting {
    Posting { id: id.into(), chat: chat.into(), part: "{}".into(), at_ms: 10 }
}

fn receipt(message_id: &str, poll_id: Option<&str>) -> Receipt {
    Receipt { message_id: message_id.into(), chat_id: "b".into(), poll_id: poll_id.map(str::to_owned), options: Vec::new() }
}

#[tokio::test]
async fn what_was_sent_is_known_by_its_chat_and_by_its_poll() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    store.post_pieces(&account(), Vec::new(), vec![posting("b1", "b:topic:7")]).await.unwrap();
    let claimed = store.claim(&account(), 10).await.unwrap().0.unwrap();
    store.settle(claimed.seq, Fate::Sent { receipt: receipt("9", Some("p")) }, 10).await.unwrap();
    for (peer, message, sent) in [("b", "9", true), ("b", "8", false), ("bb", "9", false), ("b:topic:7", "9", true)] {
        assert_eq!(store.has_sent(&account(), peer, message).await.unwrap(), sent, "{peer} {message}");
    }
    assert_eq!(store.poll(&account(), "p").await.unwrap().unwrap().0, "b:topic:7");
    assert_eq!(store.poll(&account(), "q").await.unwrap(), None);
}

#[tokio::test]
async fn what_was_not_tried_does_not_count_as_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    store.post_pieces(&account(), Vec::new(), vec![posting("a1", "a")]).await.unwrap();
    let first = store.claim(&account(), 10).await.unwrap().0.unwrap();
    store.settle(first.seq, Fate::Paced { due_at_ms: 50 }, 10).await.unwrap();
    assert_eq!(store.claim(&account(), 10).await.unwrap(), (None, Some(50)));
    assert_eq!(store.claim(&account(), 50).await.unwrap().0.unwrap().attempts, 0);
}

#[tokio::test]
async fn what_is_told_together_stays_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    let mut seqs = Vec::new();
    for event in ["a", "b"] {
        seqs.push(store.take(&account(), Some(arrived(event)), None, NOW_MS).await.unwrap().unwrap());
    }
    store.lead(seqs.clone(), "b").await.unwrap();
    store.preview(seqs[1], "77").await.unwrap();
    drop(store);
    let store = open(folder.path(), 2).await;
    let open = store.open_messages(&account(), 0, 10).await.unwrap();
    assert!(open.iter().all(|open| open.lead.as_deref() == Some("b")), "{open:?}");
    assert_eq!(open[1].preview.as_deref(), Some("77"));
    assert_eq!(store.open_count(&account()).await.unwrap(), 2);
}

async fn open(folder: &Path, epoch: u64) -> Store {
    Store::open(folder.join("channel.sqlite"), epoch).await.unwrap()
}

#[tokio::test]
async fn a_message_is_taken_once_and_read_again_until_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    let seq = store.take(&account(), Some(arrived("a")), Some(7), NOW_MS).await.unwrap().unwrap();
    assert_eq!(store.take(&account(), Some(arrived("a")), Some(6), NOW_MS).await.unwrap(), None);
    drop(store);
    let store = open(folder.path(), 2).await;
    assert_eq!(store.position(&account(), NOW_MS).await.unwrap(), Some(7));
    assert_eq!(
        store.position(&account(), NOW_MS + 7 * 24 * 60 * 60 * 1_000).await.unwrap(),
        None,
        "a network may have begun to count anew"
    );
    assert_eq!(store.open_messages(&account(), 0, 10).await.unwrap().len(), 1);
    let ended = Ended { seqs: vec![seq], state: "answered", at_ms: 20, error: None };
    store.answer(&account(), ended.clone(), vec![posting("a:0", "c")]).await.unwrap();
    store.answer(&account(), ended, vec![posting("a:1", "c")]).await.unwrap();
    assert_eq!(store.open_messages(&account(), 0, 10).await.unwrap(), []);
    assert_eq!(store.take(&account(), Some(arrived("a")), None, NOW_MS).await.unwrap(), None);
    assert_eq!(store.claim(&account(), 30).await.unwrap().0.unwrap().id, "a:0");
    assert_eq!(store.claim(&account(), 30).await.unwrap().0, None, "an answer is sent once");
    assert_eq!(folder.path().join("channel.sqlite").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_was_being_sent_when_the_service_died_is_uncertain_and_stays_unsent() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1).await;
    assert!(store.post_pieces(&account(), Vec::new(), vec![posting("a", "c")]).await.unwrap());
    assert!(!store.post_pieces(&account(), Vec::new(), vec![posting("a", "c")]).await.unwrap());
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
        store.post_pieces(&account(), Vec::new(), vec![posting(id, chat)]).await.unwrap();
    }
    let first = store.claim(&account(), 10).await.unwrap().0.unwrap();
    store.settle(first.seq, Fate::Later { due_at_ms: 100, error: "busy".into() }, 10).await.unwrap();
    let second = store.claim(&account(), 10).await.unwrap().0.unwrap();
    assert_eq!((first.id.as_str(), second.id.as_str()), ("a1", "b1"));
    store.settle(second.seq, Fate::Sent { receipt: receipt("9", None) }, 10).await.unwrap();
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
    assert!(matches!(old.post_pieces(&account(), Vec::new(), vec![posting("a", "c")]).await, Err(Error::Replaced)));
    assert!(matches!(old.take(&account(), Some(arrived("a")), None, NOW_MS).await, Err(Error::Replaced)));
    assert!(matches!(Store::open(folder.path().join("channel.sqlite"), 1).await, Err(Error::Replaced)));
    new.post_pieces(&account(), Vec::new(), vec![posting("a", "c")]).await.unwrap();
}

#[tokio::test]
async fn refuses_a_database_of_a_newer_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel.sqlite");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(path.clone(), 1).await.unwrap_err();
    assert!(error.to_string().ends_with("channel.sqlite has layout 99, and this version knows up to 3"), "{error}");
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
