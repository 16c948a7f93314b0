use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use verso_proto::agent::v1::RunResponse;

use super::*;
use crate::keys::{AgentId, SessionKey};
use crate::messages;

fn fence(epoch: u64) -> Fence {
    Fence { epoch, incarnation: format!("incarnation-{epoch}") }
}

fn key(name: &str) -> SessionKey {
    SessionKey::stored(&format!("agent:main:{name}"))
}

fn arrival(run_id: &str, key: &SessionKey, text: &str) -> Arrival {
    Arrival {
        run_id: run_id.to_owned(),
        key: key.clone(),
        agent: AgentId::normalize("main"),
        request: "{}".to_owned(),
        hints: SessionHints::default(),
        policy: Arc::default(),
        at_ms: 1_000,
        opening: Some(Opening { user: Some(messages::user(text, &[], 1_000)), reset: false, hears_of_dropped: None, within: Vec::new() }),
    }
}

fn finish(run_id: &str, key: &SessionKey, head: &Head, text: &str) -> Finish {
    Finish {
        unchanged_since_ms: None,
        run_id: run_id.to_owned(),
        key: key.clone(),
        session_id: head.session.session_id.clone(),
        state: RunState::Ok,
        response: RunResponse { run_id: run_id.to_owned(), status: "ok".to_owned(), ..RunResponse::default() },
        messages: vec![messages::shown(text, 2_000)],
        within: Vec::new(),
        delivery: None,
        tokens: TokenCounts::default(),
        at_ms: 2_000,
    }
}

async fn begun(store: &Store, run_id: &str, key: &SessionKey, text: &str) -> Head {
    match store.accept(arrival(run_id, key, text)).await.unwrap() {
        Accepted::New(Some(head)) => *head,
        other => panic!("{other:?}"),
    }
}

async fn texts(store: &Store, key: &SessionKey) -> Vec<String> {
    let page = PageRequest { messages_max: 1_000, bytes_max: usize::MAX, offset: 0 };
    store.history(key, page).await.unwrap().messages.iter().map(messages::text_of).collect()
}

#[tokio::test]
async fn a_turn_is_in_the_transcript_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    let head = begun(&store, "r", &key("a"), "question").await;
    assert_eq!(texts(&store, &key("a")).await, ["question"]);
    let full = store.write(|connection| {
        // The disk is full from here on.
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        Ok(connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
    });
    full.await.unwrap();
    let long = finish("r", &key("a"), &head, &"word ".repeat(100_000));
    let error = store.finish(Arc::new(long)).await.unwrap_err();
    assert!(matches!(error, Error::DiskFull), "{error:?}");
    assert_eq!(texts(&store, &key("a")).await, ["question"]);
    assert_eq!(store.run("r").await.unwrap().unwrap().state, RunState::Running);
    let room = store.write(|connection| Ok(connection.pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(()))?));
    room.await.unwrap();
    store.finish(Arc::new(finish("r", &key("a"), &head, "answer"))).await.unwrap();
    assert_eq!(texts(&store, &key("a")).await, ["question", "answer"]);
}

#[tokio::test]
async fn a_run_ends_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    let head = begun(&store, "r", &key("a"), "question").await;
    store.finish(Arc::new(finish("r", &key("a"), &head, "first"))).await.unwrap();
    store.finish(Arc::new(finish("r", &key("a"), &head, "second"))).await.unwrap();
    assert_eq!(texts(&store, &key("a")).await, ["question", "first"]);
    let record = store.run("r").await.unwrap().unwrap();
    assert_eq!((record.request, record.ended_at_ms), (None, Some(2_000)));
}

#[tokio::test]
async fn writes_that_queue_up_share_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    let commits = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&commits);
    let hook = store.write(move |connection| {
        let count = move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            false
        };
        Ok(connection.commit_hook(Some(count))?)
    });
    hook.await.unwrap();
    let keys: Vec<SessionKey> = (0..50).map(|number| key(&number.to_string())).collect();
    let writes = keys.iter().map(|key| store.accept(arrival(key.as_str(), key, "hi")));
    let accepted = futures_util::future::join_all(writes).await;
    assert!(accepted.iter().all(Result::is_ok));
    let commits = commits.load(std::sync::atomic::Ordering::Relaxed);
    assert!((1..=25).contains(&commits), "{commits} commits for 50 writes");
}

#[tokio::test]
async fn a_failed_write_takes_nobody_else_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    let bad = store.write(|connection| Ok(connection.execute_batch("INSERT INTO entries VALUES ('s', 0, NULL, 0, 'x'); SELECT nonsense")?));
    let (bad, good) = (bad, store.accept(arrival("r", &key("a"), "hi")));
    let (bad, good) = futures_util::join!(bad, good);
    assert!(bad.is_err() && good.is_ok());
    let left: i64 = store
        .read(|connection| Ok(connection.query_row("SELECT count(*) FROM entries WHERE session_id = 's'", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_history_costs_what_it_returns() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    let filled = store.write(|connection| {
        for (session, count) in [("short", 100), ("long", 10_000)] {
            let messages: Vec<_> = (0..count).map(|number| messages::shown(&number.to_string(), 0)).collect();
            transcript::append(connection, session, None, &messages, 0)?;
        }
        Ok(())
    });
    filled.await.unwrap();
    let steps =
        |session: &'static str, count: usize| store.read(move |connection| Ok(transcript::tests::steps(connection, session, count)));
    let (short, long) = (steps("short", 10).await.unwrap(), steps("long", 10).await.unwrap());
    assert_eq!(short, long, "the same ten messages of a hundred and of ten thousand");
    let more = steps("long", 100).await.unwrap();
    assert!(more <= 10 * long, "{more} steps for a hundred messages, {long} for ten");
}

#[tokio::test]
async fn a_later_incarnation_shuts_an_earlier_one_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let first = Store::open(&path, fence(3)).await.unwrap();
    let twin = Fence { epoch: 3, incarnation: "twin".to_owned() };
    let second = Store::open(&path, twin).await.unwrap();
    assert!(matches!(first.accept(arrival("r", &key("a"), "hi")).await, Err(Error::Fenced)));
    assert!(matches!(first.failed().await, Error::Fenced));
    second.accept(arrival("r", &key("a"), "hi")).await.unwrap();
    assert!(matches!(Store::open(&path, fence(2)).await, Err(Error::Fenced)));
}

#[tokio::test]
async fn refuses_a_file_that_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    std::fs::write(&path, "not a database at all ".repeat(100)).unwrap();
    let error = Store::open(&path, fence(1)).await.unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    assert!(std::fs::read(&path).unwrap().starts_with(b"not a database"), "the file is left as it is");
}

#[tokio::test]
async fn refuses_a_database_from_the_future() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let store = Store::open(&path, fence(1)).await.unwrap();
    store.write(|connection| Ok(connection.pragma_update(None, "user_version", 99)?)).await.unwrap();
    assert!(matches!(Store::open(&path, fence(2)).await, Err(Error::FromTheFuture { found: 99, .. })));
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    store.accept(arrival("r", &key("a"), "hi")).await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn forgets_runs_that_ended_long_ago() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    let head = begun(&store, "old", &key("a"), "hi").await;
    store.finish(Arc::new(finish("old", &key("a"), &head, "answer"))).await.unwrap();
    begun(&store, "running", &key("b"), "hi").await;
    assert_eq!(store.prune(2_000).await.unwrap(), 0);
    assert_eq!(store.prune(2_000 + 25 * 60 * 60 * 1_000).await.unwrap(), 1);
    assert!(store.run("old").await.unwrap().is_none() && store.run("running").await.unwrap().is_some());
    assert_eq!(texts(&store, &key("a")).await, ["hi", "answer"]);
}

#[tokio::test]
async fn a_transcript_that_grew_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("a.sqlite"), fence(1)).await.unwrap();
    let head = begun(&store, "r", &key("a"), "question").await;
    let session_id = head.session.session_id.clone();
    assert_eq!(store.delete(&key("a"), &session_id, Some(1)).await.unwrap(), Deleted::Busy, "a run is under way");
    store.finish(Arc::new(finish("r", &key("a"), &head, "answer"))).await.unwrap();
    let path = folder.path().join("archive/file");
    let archive = Archive { path: path.clone(), workspace: String::new(), at_ms: 0, unless_longer_than: 0 };
    let cut = store.archive(&session_id, archive).await.unwrap();
    assert_eq!((cut.count, cut.end, cut.archived, path.exists()), (2, 2, true, true));
    store.inject(&key("a"), messages::shown("more", 3_000), 3_000).await.unwrap();
    assert_eq!(store.delete(&key("a"), &session_id, Some(cut.end)).await.unwrap(), Deleted::Busy);
    assert_eq!(texts(&store, &key("a")).await, ["question", "answer", "more"]);
    assert_eq!(store.delete(&key("a"), &session_id, Some(3)).await.unwrap(), Deleted::Done);
    assert_eq!(store.delete(&key("a"), &session_id, Some(3)).await.unwrap(), Deleted::Missing);
}
