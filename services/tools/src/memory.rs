//! What an agent has written down: `MEMORY.md` and `memory/*.md` of its own workspace, searched by words. The index is made for each
//! search from the files as they are, so it is never behind them, and holds nothing of anybody else.

use std::path::Path;

use futures_util::future::{BoxFuture, FutureExt as _};
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::files::Place;
use crate::tool::{Answer, Refused, Scene, Spec, Tool, arguments, blocking};

/// Files that are searched at most, the newest names first: they are named by days.
const FILES_MAX: usize = 400;

/// The largest file that is searched, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Lines of one piece.
const PIECE_LINES: usize = 20;

/// Results unless the call says otherwise, and at most.
const RESULTS: usize = 6;
const RESULTS_MAX: usize = 30;

/// Words of a question that count.
const WORDS_MAX: usize = 24;

/// Lines that `memory_get` shows unless the call says otherwise, and at most.
const LINES: usize = 200;
const LINES_MAX: usize = 2_000;

/// The files at the top that are part of the memory.
const TOP: [&str; 2] = ["MEMORY.md", "memory.md"];

/// The folder of the others.
const FOLDER: &str = "memory";

/// The tool `memory_search`.
#[derive(Debug)]
pub struct MemorySearch;

/// The tool `memory_get`.
#[derive(Debug)]
pub struct MemoryGet;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchArguments {
    query: String,
    max_results: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct GetArguments {
    path: String,
    from: Option<usize>,
    lines: Option<usize>,
}

impl Tool for MemorySearch {
    fn spec(&self) -> Spec {
        let properties = json!({"query": {"type": "string"}, "maxResults": {"type": "number"}});
        Spec::new("memory_search", "Searches MEMORY.md and memory/*.md for words.", properties, &["query"])
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: SearchArguments = arguments(value)?;
            let place = Place::new(&scene.workspace);
            blocking(move || {
                let found = search(&place, &wanted).map_err(|error| Refused::failed("the memory cannot be searched", error))?;
                Ok(Answer::json(json!({"results": found})))
            })
            .await
        }
        .boxed()
    }
}

impl Tool for MemoryGet {
    fn spec(&self) -> Spec {
        let properties = json!({"path": {"type": "string"}, "from": {"type": "number", "description": "First line, from 1"}, "lines": {"type": "number"}});
        Spec::new("memory_get", "Shows lines of MEMORY.md or of a file in memory/.", properties, &["path"])
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: GetArguments = arguments(value)?;
            let place = Place::new(&scene.workspace);
            blocking(move || get(&place, &wanted)).await
        }
        .boxed()
    }
}

fn get(place: &Place, wanted: &GetArguments) -> Result<Answer, Refused> {
    let path = wanted.path.trim().trim_start_matches("./");
    let inner = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
    let memory = TOP.contains(&path) || inner.is_some_and(|name| !name.contains('/') && is_note(Path::new(name)));
    if !memory {
        return Err(Refused::Forbidden(format!("{path} is not part of the memory")));
    }
    let bytes = place.read(path, FILE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let (from, count) = (wanted.from.unwrap_or(1).max(1), wanted.lines.unwrap_or(LINES).clamp(1, LINES_MAX));
    let shown: Vec<&str> = text.lines().skip(from - 1).take(count).collect();
    Ok(Answer::json(json!({"path": path, "text": shown.join("\n")})))
}

fn search(place: &Place, wanted: &SearchArguments) -> rusqlite::Result<Vec<Value>> {
    let index = Connection::open_in_memory()?;
    index.execute_batch("CREATE VIRTUAL TABLE piece USING fts5(text, path UNINDEXED, first UNINDEXED, last UNINDEXED, tokenize = 'unicode61 remove_diacritics 2')")?;
    {
        let mut insert = index.prepare("INSERT INTO piece (text, path, first, last) VALUES (?1, ?2, ?3, ?4)")?;
        for path in files(place) {
            let Ok(bytes) = place.read(&path, FILE_BYTES_MAX) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            for (place_in_file, piece) in lines.chunks(PIECE_LINES).enumerate() {
                let first = place_in_file * PIECE_LINES + 1;
                insert.execute(params![piece.join("\n"), path, number(first), number(first + piece.len() - 1)])?;
            }
        }
    }
    let question = question(&wanted.query);
    if question.is_empty() {
        return Ok(Vec::new());
    }
    let count = wanted.max_results.unwrap_or(RESULTS).clamp(1, RESULTS_MAX);
    let mut select =
        index.prepare("SELECT path, first, last, text, bm25(piece) FROM piece WHERE piece MATCH ?1 ORDER BY bm25(piece) LIMIT ?2")?;
    let rows = select.query_map(params![question, number(count)], |row| {
        let (path, first, last): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (text, rank): (String, f64) = (row.get(3)?, row.get(4)?);
        Ok(json!({"path": path, "startLine": first, "endLine": last, "score": -rank, "snippet": text}))
    })?;
    rows.collect()
}

/// `SQLite` counts with signs.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Turns words into a question for the index: any of them, each as it is.
fn question(text: &str) -> String {
    let words = text.split(|sign: char| !sign.is_alphanumeric()).filter(|word| !word.is_empty()).take(WORDS_MAX);
    words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" OR ")
}

fn files(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.root().join(FOLDER)).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| is_note(Path::new(name))).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.truncate(FILES_MAX);
    // On some disks the two names are one file, which is then found once.
    let top = TOP.iter().find(|name| place.root().join(name).is_file()).map(|name| (*name).to_owned());
    top.into_iter().chain(names.into_iter().map(|name| format!("{FOLDER}/{name}"))).collect()
}

fn is_note(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &Place, query: &str) -> Vec<String> {
        let wanted = SearchArguments { query: query.to_owned(), max_results: None };
        search(place, &wanted)
            .unwrap()
            .iter()
            .map(|result| format!("{}:{}", result["path"].as_str().unwrap(), result["startLine"]))
            .collect()
    }

    fn get_text(place: &Place, path: &str) -> Result<Answer, Refused> {
        get(place, &GetArguments { path: path.to_owned(), from: Some(1), lines: None })
    }

    #[test]
    fn finds_what_was_written_down_and_shows_it() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("memory")).unwrap();
        std::fs::write(home.path().join("MEMORY.md"), "The user likes Käse.\n").unwrap();
        std::fs::write(home.path().join("memory/2026-11-01.md"), format!("{}The deploy key is rotated.\n", "nothing\n".repeat(20)))
            .unwrap();
        let place = Place::new(home.path());
        assert_eq!(found(&place, "what about kase?"), ["MEMORY.md:1"]);
        assert_eq!(found(&place, "DEPLOY"), ["memory/2026-11-01.md:21"]);
        assert!(found(&place, "unheard").is_empty() && found(&place, "?!\" OR * NEAR(").is_empty());
        assert!(get_text(&place, "./memory/2026-11-01.md").unwrap().words().contains("rotated"));
    }

    #[test]
    fn sec_69_the_memory_is_the_agents_own_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join("own");
        std::fs::create_dir_all(own.join("memory")).unwrap();
        std::fs::create_dir_all(home.path().join("other/memory")).unwrap();
        std::fs::write(home.path().join("other/memory/x.md"), "a secret").unwrap();
        std::os::unix::fs::symlink("../../other/memory/x.md", own.join("memory/link.md")).unwrap();
        std::fs::write(own.join("secret.md"), "a secret").unwrap();
        let place = Place::new(&own);
        assert!(found(&place, "secret").is_empty());
        for path in ["secret.md", "../other/memory/x.md", "memory/link.md", "memory/../secret.md", "memory/a/b.md", "/etc/hostname"] {
            assert!(get_text(&place, path).is_err(), "{path}");
        }
    }
}
