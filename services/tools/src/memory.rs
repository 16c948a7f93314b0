//! What an agent has written down: `MEMORY.md` and `memory/*.md` of its own workspace, searched by words. The index is made for each
//! search from the files as they are, so it is never behind them, and holds nothing of anybody else. Where somebody computes vectors, what
//! means the same in other words is found too.

mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use futures_util::future::{BoxFuture, FutureExt as _};
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::{Value, json};

pub use vectors::Embed;
use vectors::{Hash, Vectors};

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

/// Pieces that are looked at for their words.
const CANDIDATES_MAX: usize = 120;

/// Words of a question that count.
const WORDS_MAX: usize = 24;

/// Lines that `memory_get` shows unless the call says otherwise, and at most.
const LINES: usize = 200;
const LINES_MAX: usize = 2_000;

/// The files at the top that are part of the memory.
const TOP: [&str; 2] = ["MEMORY.md", "memory.md"];

/// The folder of the others.
const FOLDER: &str = "memory";

/// How much likeness in meaning and likeness in words count, unless configured.
const VECTOR_WEIGHT: f64 = 0.7;
const TEXT_WEIGHT: f64 = 0.3;

/// The least that a result is worth, unless configured.
const SCORE_MIN: f64 = 0.35;

/// The section `memorySearch.query`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Query {
    /// Default: 6.
    pub max_results: Option<usize>,
    /// From 0 to 1. Counts where there are vectors. Default: 0.35.
    pub min_score: Option<f64>,
    /// How meaning and words are put together.
    pub hybrid: Hybrid,
}

/// The section `memorySearch.query.hybrid`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hybrid {
    /// Default: true.
    pub enabled: Option<bool>,
    /// Default: 0.7.
    pub vector_weight: Option<f64>,
    /// Default: 0.3.
    pub text_weight: Option<f64>,
}

/// The tool `memory_search`.
#[derive(Debug, Default)]
pub struct MemorySearch {
    /// Who computes vectors.
    pub embed: Option<Arc<dyn Embed>>,
    /// Where they are kept: a file for each agent.
    pub folder: PathBuf,
    /// What counts.
    pub query: Query,
}

/// Some lines of a file.
#[derive(Debug, Clone)]
struct Piece {
    path: String,
    first: usize,
    last: usize,
    text: String,
}

/// The tool `memory_get`.
#[derive(Debug)]
pub struct MemoryGet;

#[derive(Debug, Clone, Deserialize)]
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
    fn spec(&self) -> Arc<Spec> {
        let properties = json!({"query": {"type": "string"}, "maxResults": {"type": "number"}});
        let about = if self.embed.is_some() {
            "Searches MEMORY.md and memory/*.md by meaning and words."
        } else {
            "Searches MEMORY.md and memory/*.md for words."
        };
        Spec::new("memory_search", about, properties, &["query"]).into()
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: SearchArguments = arguments(value)?;
            let wanted = SearchArguments { max_results: wanted.max_results.or(self.query.max_results), ..wanted };
            let (place, question) = (Place::new(&scene.workspace), wanted.clone());
            let (pieces, by_words) = blocking(move || {
                let pieces = pieces(&place);
                let found = by_words(&pieces, &question.query).map_err(|error| Refused::failed("the memory cannot be searched", error))?;
                Ok((pieces, found))
            })
            .await?;
            let Some(embed) = &self.embed else { return Ok(shown(&pieces, by_words, &wanted, None)) };
            match self.by_meaning(embed.as_ref(), &pieces, &wanted.query, &scene.agent).await {
                Ok(likenesses) => Ok(shown(&pieces, self.together(likenesses, &by_words), &wanted, None)),
                // Words are better than nothing.
                Err(refused) => Ok(shown(&pieces, by_words, &wanted, Some(refused.to_string()))),
            }
        }
        .boxed()
    }
}

impl Tool for MemoryGet {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({"path": {"type": "string"}, "from": {"type": "number", "description": "First line, from 1"}, "lines": {"type": "number"}});
            Spec::new("memory_get", "Shows lines of MEMORY.md or of a file in memory/.", properties, &["path"]).into()
        });
        Arc::clone(&SPEC)
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

impl MemorySearch {
    /// Returns how like the question every piece is.
    async fn by_meaning(&self, embed: &dyn Embed, pieces: &[Piece], query: &str, agent: &str) -> Result<Vec<f64>, Refused> {
        let hashes: Vec<Hash> = pieces.iter().map(|piece| vectors::hash(&piece.text)).collect();
        let present: BTreeSet<Hash> = hashes.iter().copied().collect();
        let failed = |error: rusqlite::Error| Refused::failed("vectors cannot be kept", error);
        let (path, model, wanted) = (self.folder.join(format!("{agent}.sqlite")), embed.model().to_owned(), present.clone());
        let mut known = blocking(move || Vectors::open(&path).and_then(|file| file.known(&model, &wanted)).map_err(failed)).await?;
        let mut missing: BTreeMap<Hash, &str> = BTreeMap::new();
        for (piece, hash) in pieces.iter().zip(&hashes).filter(|(_, hash)| !known.contains_key(*hash)) {
            if missing.len() < vectors::COMPUTED_MAX {
                missing.insert(*hash, &piece.text);
            }
        }
        let mut computed = Vec::with_capacity(missing.len());
        let missing: Vec<(Hash, String)> = missing.into_iter().map(|(hash, text)| (hash, text.to_owned())).collect();
        for batch in missing.chunks(vectors::BATCH) {
            let texts: Vec<String> = batch.iter().map(|(_, text)| text.clone()).collect();
            let found = embed.embed(texts).await?;
            if found.len() != batch.len() {
                return Err(Refused::Failed("the model of embeddings answers with another number of vectors".to_owned()));
            }
            computed.extend(batch.iter().map(|(hash, _)| *hash).zip(found));
        }
        let question = embed.embed(vec![query.to_owned()]).await?.into_iter().next().unwrap_or_default();
        known.extend(computed.iter().cloned());
        if !computed.is_empty() {
            let (path, model) = (self.folder.join(format!("{agent}.sqlite")), embed.model().to_owned());
            blocking(move || Vectors::open(&path).and_then(|mut file| file.keep(&model, &computed, &present)).map_err(failed)).await?;
        }
        Ok(hashes.iter().map(|hash| known.get(hash).map_or(0.0, |vector| vectors::likeness(vector, &question))).collect())
    }

    /// Puts meaning and words together, and leaves out what is worth little.
    fn together(&self, likenesses: Vec<f64>, by_words: &[(usize, f64)]) -> Vec<(usize, f64)> {
        let Hybrid { enabled, vector_weight, text_weight } = self.query.hybrid.clone();
        let (vector_weight, text_weight) = match enabled {
            Some(false) => (1.0, 0.0),
            _ => (vector_weight.unwrap_or(VECTOR_WEIGHT), text_weight.unwrap_or(TEXT_WEIGHT)),
        };
        let best = by_words.iter().map(|(_, score)| *score).fold(f64::MIN_POSITIVE, f64::max);
        let words: BTreeMap<usize, f64> = by_words.iter().map(|(place, score)| (*place, score / best)).collect();
        let score =
            |(place, likeness): (usize, f64)| (place, vector_weight * likeness + text_weight * words.get(&place).copied().unwrap_or(0.0));
        let least = self.query.min_score.unwrap_or(SCORE_MIN);
        let mut all: Vec<(usize, f64)> = likenesses.into_iter().enumerate().map(score).filter(|(_, score)| *score >= least).collect();
        all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        all
    }
}

/// Returns what was found, the best first.
fn shown(pieces: &[Piece], found: Vec<(usize, f64)>, wanted: &SearchArguments, note: Option<String>) -> Answer {
    let count = wanted.max_results.unwrap_or(RESULTS).clamp(1, RESULTS_MAX);
    let row = |(place, score): (usize, f64)| {
        let piece = pieces.get(place)?;
        Some(json!({"path": piece.path, "startLine": piece.first, "endLine": piece.last, "score": score, "snippet": piece.text}))
    };
    let results: Vec<Value> = found.into_iter().take(count).filter_map(row).collect();
    match note {
        Some(note) => Answer::json(json!({"results": results, "note": format!("by words alone: {note}")})),
        None => Answer::json(json!({"results": results})),
    }
}

/// Reads the memory, some lines at a time.
fn pieces(place: &Place) -> Vec<Piece> {
    let mut all = Vec::new();
    for path in files(place) {
        let Ok(bytes) = place.read(&path, FILE_BYTES_MAX) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        all.extend(lines.chunks(PIECE_LINES).enumerate().map(|(number, piece)| {
            let first = number * PIECE_LINES + 1;
            Piece { path: path.clone(), first, last: first + piece.len() - 1, text: piece.join("\n") }
        }));
    }
    all
}

/// Returns the places of the pieces that hold a word of the question, the best first.
fn by_words(pieces: &[Piece], query: &str) -> rusqlite::Result<Vec<(usize, f64)>> {
    let index = Connection::open_in_memory()?;
    index.execute_batch("CREATE VIRTUAL TABLE piece USING fts5(text, tokenize = 'unicode61 remove_diacritics 2')")?;
    {
        let mut insert = index.prepare("INSERT INTO piece (rowid, text) VALUES (?1, ?2)")?;
        for (place, piece) in pieces.iter().enumerate() {
            insert.execute(params![number(place), piece.text])?;
        }
    }
    let question = question(query);
    if question.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = index.prepare("SELECT rowid, bm25(piece) FROM piece WHERE piece MATCH ?1 ORDER BY bm25(piece) LIMIT ?2")?;
    let rows = select.query_map(params![question, number(CANDIDATES_MAX)], |row| {
        let (place, rank): (i64, f64) = (row.get(0)?, row.get(1)?);
        Ok((usize::try_from(place).unwrap_or(usize::MAX), -rank))
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
        let pieces = pieces(place);
        by_words(&pieces, query).unwrap().into_iter().map(|(place, _)| format!("{}:{}", pieces[place].path, pieces[place].first)).collect()
    }

    fn scene(workspace: &Path) -> Scene {
        Scene {
            agent: "main".to_owned(),
            session: "s".to_owned(),
            run: "r".to_owned(),
            call: "c".to_owned(),
            workspace: workspace.to_owned(),
            variables: Vec::new(),
            cancelled: verso_kit::CancellationToken::new(),
            progress: crate::tool::Progress::silent(),
        }
    }

    /// Counts letters: texts of the same letters mean the same.
    #[derive(Debug, Default)]
    struct Letters {
        asked: std::sync::Mutex<Vec<usize>>,
        broken: bool,
    }

    impl Embed for Letters {
        fn model(&self) -> &'static str {
            "letters"
        }

        fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Refused>> {
            self.asked.lock().unwrap().push(texts.len());
            let vector = |text: String| {
                let mut counts = vec![0_f32; 26];
                text.bytes().filter(u8::is_ascii_lowercase).for_each(|letter| counts[usize::from(letter - b'a')] += 1.0);
                counts
            };
            let answer =
                if self.broken { Err(Refused::Failed("no credit".to_owned())) } else { Ok(texts.into_iter().map(vector).collect()) };
            async move { answer }.boxed()
        }
    }

    #[tokio::test]
    async fn what_means_the_same_is_found_and_computed_once() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("memory")).unwrap();
        std::fs::write(home.path().join("MEMORY.md"), "listen\n").unwrap();
        std::fs::write(home.path().join("memory/a.md"), "quux quux\n").unwrap();
        let letters = Arc::new(Letters::default());
        let tool = MemorySearch { embed: Some(letters.clone()), folder: home.path().to_owned(), query: Query::default() };
        let scene = scene(home.path());
        let search = async |query: &str| tool.call(&scene, json!({"query": query})).await.unwrap().details["results"].clone();
        let found = search("silent").await;
        assert_eq!((found[0]["path"].as_str(), found.as_array().unwrap().len()), (Some("MEMORY.md"), 1), "{found}");
        assert_eq!(*letters.asked.lock().unwrap(), [2, 1], "both pieces, then the question");
        search("tinsel").await;
        assert_eq!(*letters.asked.lock().unwrap(), [2, 1, 1], "the pieces are known");
        std::fs::write(home.path().join("MEMORY.md"), "enlist now\n").unwrap();
        search("inlets").await;
        assert_eq!(letters.asked.lock().unwrap()[3..], [1, 1], "only what has changed");
        let broken = MemorySearch { embed: Some(Arc::new(Letters { broken: true, ..Letters::default() })), ..tool };
        let answer = broken.call(&scene, json!({"query": "enlist"})).await.unwrap().details;
        assert!(answer["note"] == "by words alone: no credit" && answer["results"][0]["path"] == "MEMORY.md", "{answer}");
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
