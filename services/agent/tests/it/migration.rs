//! Sessions of newer versions of OpenClaw, which keep them in a database.

use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::json;

use crate::agent::{Agent, config, turn};
use crate::provider::Provider;

/// The layouts: the table of sessions and its columns, and what a line may be kept in.
const LAYOUTS: [(&str, &str); 2] = [
    (
        "session_entries",
        "CREATE TABLE session_entries (session_key TEXT PRIMARY KEY, session_id TEXT NOT NULL, entry_json TEXT NOT NULL);
         CREATE TABLE transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL, event_json TEXT NOT NULL, created_at INTEGER NOT NULL);",
    ),
    (
        "session_nodes",
        "CREATE TABLE session_nodes (session_key TEXT PRIMARY KEY, current_session_id TEXT NOT NULL, entry_json TEXT NOT NULL);
         CREATE TABLE transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL, event_json TEXT, created_at INTEGER NOT NULL,
             event_zstd BLOB, event_utf8_bytes INTEGER);",
    ),
];

fn line(id: &str, before: Option<&str>, role: &str, text: &str) -> String {
    json!({"type": "message", "id": id, "parentId": before, "timestamp": "2026-09-10T10:00:00.000Z", "message": {"role": role, "content": [{"type": "text", "text": text}]}}).to_string()
}

/// Writes a database of one session, whose second line is packed where the layout can.
fn write(folder: &Path, (table, tables): (&str, &str)) {
    std::fs::create_dir_all(folder).unwrap();
    let connection = Connection::open(folder.join("openclaw-agent.sqlite")).unwrap();
    connection.execute_batch(tables).unwrap();
    let entry = json!({"updatedAt": 7, "label": "kitchen", "thinkingLevel": "low"}).to_string();
    connection.execute(&format!("INSERT INTO {table} VALUES ('agent:main:main', 'window-2', ?1)"), [entry]).unwrap();
    let put = |session: &str, seq: i64, line: &str| {
        let sql = "INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES (?1, ?2, ?3, 1)";
        connection.execute(sql, params![session, seq, line]).unwrap();
    };
    put("window-1", 0, &line("a", None, "user", "of an earlier window"));
    put("window-2", 2, &line("b", Some("a"), "assistant", "leeks"));
    put("window-2", 1, &line("a", None, "user", "what is in the soup?"));
    if table == "session_nodes" {
        let long = line("b", Some("a"), "assistant", "leeks");
        let packed = ruzstd::encoding::compress_to_vec(long.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
        let sql = "UPDATE transcript_events SET event_json = NULL, event_zstd = ?1, event_utf8_bytes = ?2 WHERE session_id = 'window-2' AND seq = 2";
        connection.execute(sql, params![packed, i64::try_from(long.len()).unwrap()]).unwrap();
    }
}

#[tokio::test]
async fn the_databases_of_newer_versions_are_read_and_left_as_they_are() {
    let provider = Provider::start().await;
    for layout in LAYOUTS {
        let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = theirs.path().join("agents/main/agent");
        write(&folder, layout);
        // What the files of an older version still say was taken into the database long ago.
        let stale =
            json!({"agent:main:main": {"sessionId": "old", "updatedAt": 1}, "agent:main:other": {"sessionId": "o", "updatedAt": 1}});
        std::fs::create_dir_all(theirs.path().join("agents/main/sessions")).unwrap();
        std::fs::write(theirs.path().join("agents/main/sessions/sessions.json"), stale.to_string()).unwrap();
        let before = std::fs::read(folder.join("openclaw-agent.sqlite")).unwrap();
        let report = verso_agent::import(ours.path(), theirs.path(), false, &mut |_| ()).unwrap();
        let taken: Vec<(&str, u64)> = report.sessions.iter().map(|taken| (taken.key.as_str(), taken.messages)).collect();
        assert_eq!(taken, [("agent:main:main", 2), ("agent:main:other", 0)], "{report:?}");
        assert!(report.left.is_empty() && report.unreadable_lines == 0, "{report:?}");
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((files.len(), std::fs::read(folder.join("openclaw-agent.sqlite")).unwrap()), (1, before), "{files:?}");
        let agent = Agent::open(ours.path(), config(&provider), 1).await;
        assert_eq!(agent.transcript("main").await, ["user: what is in the soup?", "assistant: leeks"]);
        assert_eq!(agent.history("main", None).await.session_id.as_deref(), Some("window-2"));
    }
}

#[test]
fn a_database_that_its_gateway_has_not_closed_is_left_and_said_to_be() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = theirs.path().join("agents/main/agent");
    write(&folder, LAYOUTS[1]);
    std::fs::write(folder.join("openclaw-agent.sqlite-wal"), "writes").unwrap();
    let report = verso_agent::import(ours.path(), theirs.path(), false, &mut |_| ()).unwrap();
    assert!(report.sessions.is_empty() && report.left[0].why.contains("has not closed it"), "{report:?}");
}

#[tokio::test]
async fn what_was_summarised_stays_summarised_on_the_way_out_and_in() {
    let (first, second, between) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut provider = Provider::start().await;
    let agent = Agent::open(first.path(), config(&provider), 1).await;
    for number in 0..3 {
        let answers = agent.run(turn("main", &format!("question {number}"), &format!("r{number}"))).await.unwrap();
        provider.reply(&format!("answer {number}")).await;
        answers.rest().await;
    }
    let (shortened, _) = tokio::join!(agent.send("main", "/compact", "c"), provider.reply("all about soup"));
    shortened.unwrap();
    drop(agent);
    verso_agent::export(first.path(), between.path()).unwrap();
    verso_agent::import(second.path(), between.path(), false, &mut |_| ()).unwrap();
    let agent = Agent::open(second.path(), config(&provider), 1).await;
    agent.send("main", "and now?", "n").await.unwrap();
    let shown = provider.reply("fine").await["messages"].to_string();
    assert!(shown.contains("all about soup") && !shown.contains("question 0"), "{shown}");
}
