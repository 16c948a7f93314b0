use std::os::unix::fs::FileExt as _;

use rusqlite::Connection;

use super::super::create;
use super::*;

/// Rows of the damaged table; they fill some hundred pages.
const ROWS: i64 = 5_000;

const NAME: &str = "agent/agent.sqlite";

/// A state folder with a database.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("agent")).unwrap();
    let database = Connection::open(folder.path().join(NAME)).unwrap();
    database.execute_batch("PRAGMA user_version = 7; BEGIN").unwrap();
    database.execute_batch("CREATE TABLE line (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT").unwrap();
    database.execute_batch("CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB) STRICT, WITHOUT ROWID").unwrap();
    database.execute_batch("CREATE INDEX line_text ON line (text)").unwrap();
    for number in 0..ROWS {
        database.execute("INSERT INTO line VALUES (?1, ?2)", (number, format!("{number} {}", "x".repeat(200)))).unwrap();
    }
    database.execute("INSERT INTO fact VALUES ('a', x'01')", []).unwrap();
    database.execute_batch("COMMIT").unwrap();
    folder
}

fn clock() -> Clock {
    Clock::fixed(1_800_000_000_000)
}

fn mend_it(folder: &tempfile::TempDir) -> Mended {
    mend(folder.path(), Path::new(NAME), &clock()).unwrap()
}

#[test]
fn a_damaged_page_costs_what_is_on_it_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join(NAME);
    let pages = path.metadata().unwrap().len() / 4096;
    // A page with rows of the table: it is the larger part of the file.
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0xa5; 4096], pages / 3 * 4096).unwrap();
    assert!(damage(&path).is_some());
    let mended = mend_it(&folder);
    let Mending::Salvaged(salvaged) = &mended.by else { panic!("{mended:?}") };
    assert_eq!(salvaged.cut, ["line"]);
    assert!(salvaged.rows > 4_900 && salvaged.rows < ROWS.unsigned_abs() + 1, "{salvaged:?}");
    assert_eq!(damage(&path), None);
    assert!(mended.aside.exists() && damage(&mended.aside).is_some(), "what was damaged is kept");
    let database = Connection::open(&path).unwrap();
    let (version, fact): (i64, Vec<u8>) = (
        database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap(),
        database.query_row("SELECT value FROM fact", [], |row| row.get(0)).unwrap(),
    );
    assert_eq!((version, fact), (7, vec![1]));
    let last: i64 = database.query_row("SELECT max(id) FROM line", [], |row| row.get(0)).unwrap();
    assert_eq!(last, ROWS - 1, "rows behind the damage are there too");
}

#[test]
fn what_nothing_can_be_read_of_is_put_back_from_the_last_whole_backup() {
    let folder = folder();
    let path = folder.path().join(NAME);
    let older = create(folder.path(), None, &Clock::fixed(1_700_000_000_000)).unwrap();
    let newer = create(folder.path(), None, &Clock::fixed(1_700_000_100_000)).unwrap();
    fs::write(newer.path.join("files").join(NAME), "damaged as well").unwrap();
    fs::write(&path, "no database at all").unwrap();
    let mended = mend_it(&folder);
    assert_eq!(mended.by, Mending::PutBack { backup: older.path, created_at_ms: 1_700_000_000_000 });
    assert_eq!(damage(&path), None);
}

#[test]
fn what_is_empty_is_damaged_and_without_a_copy_its_owner_begins_afresh() {
    let folder = folder();
    let path = folder.path().join(NAME);
    fs::write(&path, "").unwrap();
    assert_eq!(damage(&path), Some("it is empty".to_owned()));
    let mended = mend_it(&folder);
    assert!(mended.by == Mending::Nothing && mended.aside.exists() && !path.exists());
}

#[test]
fn a_document_is_put_back_whole() {
    let folder = folder();
    let name = Path::new("devices/paired.json");
    let path = folder.path().join(name);
    fs::create_dir(folder.path().join("devices")).unwrap();
    fs::write(&path, "{\"a\": 1}").unwrap();
    create(folder.path(), None, &clock()).unwrap();
    fs::write(&path, "{\"a\":").unwrap();
    assert!(damage(&path).is_some());
    assert!(matches!(mend(folder.path(), name, &clock()).unwrap().by, Mending::PutBack { .. }));
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\": 1}");
}
