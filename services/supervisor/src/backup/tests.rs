use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::*;

/// A state folder with one of each kind of file, and a database that is being written.
fn state() -> (tempfile::TempDir, Connection) {
    let state = tempfile::tempdir().unwrap();
    let path = state.path();
    files::create_private_dir(&path.join("agent/sessions")).unwrap();
    files::create_private_dir(&path.join("run")).unwrap();
    files::create_private_dir(&path.join("logs")).unwrap();
    files::write_atomic(&path.join("verso.json"), b"{ /* mine */ }", 0o600).unwrap();
    fs::write(path.join("agent/sessions/one.jsonl"), "{\"a\":1}\n{\"a\":").unwrap();
    fs::write(path.join("logs/today.log"), "noise").unwrap();
    fs::write(path.join("run/gateway.lock"), "{}").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path.join("link")).unwrap();
    let database = Connection::open(path.join("agent/agent.sqlite")).unwrap();
    database.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE said(text TEXT); INSERT INTO said VALUES ('kept')").unwrap();
    (state, database)
}

fn said(path: &Path) -> Vec<String> {
    let database = Connection::open(path).unwrap();
    let mut rows = database.prepare("SELECT text FROM said").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn what_was_there_when_it_was_taken_comes_back() {
    let (state, database) = state();
    let clock = Clock::fixed(1_700_000_000_000);
    let taken = create(state.path(), None, &clock).unwrap();
    assert_eq!(taken.path, state.path().join("backups/20231114-221320"));
    assert_eq!((taken.files, taken.skipped.clone()), (3, vec![PathBuf::from("link")]));
    verify(&taken.path).unwrap();
    database.execute_batch("INSERT INTO said VALUES ('later')").unwrap();
    drop(database);
    fs::write(state.path().join("verso.json"), "{}").unwrap();
    let restored = restore(&taken.path, state.path(), &Clock::fixed(1_700_000_060_000)).await.unwrap();
    assert_eq!(fs::read_to_string(state.path().join("verso.json")).unwrap(), "{ /* mine */ }");
    assert_eq!(state.path().join("verso.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(state.path().join("agent/sessions/one.jsonl")).unwrap(), "{\"a\":1}\n");
    assert_eq!(said(&state.path().join("agent/agent.sqlite")), ["kept"]);
    let aside = restored.moved_aside.unwrap();
    assert_eq!(said(&aside.join("agent/agent.sqlite")), ["kept", "later"], "nothing is lost");
    assert!(state.path().join("logs/today.log").exists());
}

#[tokio::test]
async fn a_damaged_backup_is_named_and_not_put_back() {
    let (state, _database) = state();
    let clock = Clock::system();
    let to = state.path().join("backups/mine");
    create(state.path(), Some(to.clone()), &clock).unwrap();
    assert!(matches!(create(state.path(), Some(to.clone()), &clock), Err(BackupError::Exists(_))));
    let copy = to.join("files/agent/agent.sqlite");
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&copy, bytes).unwrap();
    fs::remove_file(to.join("files/verso.json")).unwrap();
    let error = restore(&to, state.path(), &clock).await.unwrap_err().to_string();
    assert!(error.contains("agent/agent.sqlite is not what was backed up") && error.contains("verso.json"), "{error}");
    assert!(state.path().join("verso.json").exists(), "nothing has changed");
}

#[tokio::test]
async fn a_running_gateway_keeps_its_state() {
    let (state, _database) = state();
    let clock = Clock::system();
    let taken = create(state.path(), None, &clock).unwrap();
    let holder = crate::lock::this_process(&state.path().join("verso.json"), &state.path().join("run"), &clock);
    let _lock = crate::lock::Lock::acquire(state.path(), std::time::Duration::ZERO, &holder).await.unwrap();
    assert!(matches!(restore(&taken.path, state.path(), &clock).await, Err(BackupError::Running(_))));
}

#[test]
fn a_list_that_reaches_out_of_the_folder_is_no_backup() {
    let (state, _database) = state();
    for path in ["../outside", "/etc/passwd", "run/gateway.lock", ""] {
        let from = state.path().join("backups/evil");
        let entry = Entry { path: path.into(), bytes: 0, mode: 0o600, sha256: String::new() };
        let manifest = Manifest { format: FORMAT, created_at_ms: 0, state_dir: "/".into(), files: vec![entry], skipped: Vec::new() };
        files::create_private_dir(&from).unwrap();
        fs::write(from.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert!(matches!(verify(&from), Err(BackupError::NotABackup { .. })), "{path}");
    }
}
