//! Vectors of what is in the memory: computed by somebody's model, kept in a file of the agent's own, compared here. Without anybody who
//! computes them, words alone are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use crate::tool::Refused;

/// Texts of one request.
pub(super) const BATCH: usize = 64;

/// Texts whose vectors are computed for one search; the others have theirs computed for the next ones.
pub(super) const COMPUTED_MAX: usize = 512;

/// The largest vector, in numbers.
const DIMENSIONS_MAX: usize = 8_192;

/// How long the file may be in somebody else's hands.
const BUSY: Duration = Duration::from_secs(5);

/// Turns texts into vectors.
pub trait Embed: fmt::Debug + Send + Sync {
    /// Names the model: vectors of two models cannot be compared.
    fn model(&self) -> &str;

    /// Returns a vector for each text, in their order.
    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Refused>>;
}

/// What a text is known by.
pub(super) type Hash = [u8; 32];

/// Returns what a text is known by.
pub(super) fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// The file of one agent's vectors.
#[derive(Debug)]
pub(super) struct Vectors(Connection);

impl Vectors {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS vector (model TEXT NOT NULL, hash BLOB NOT NULL, numbers BLOB NOT NULL, PRIMARY KEY (model, hash)) WITHOUT ROWID;",
        )?;
        Ok(Self(connection))
    }

    /// Returns the vectors that are known.
    pub(super) fn known(&self, model: &str, hashes: &BTreeSet<Hash>) -> rusqlite::Result<BTreeMap<Hash, Vec<f32>>> {
        let mut select = self.0.prepare("SELECT numbers FROM vector WHERE model = ?1 AND hash = ?2")?;
        let mut known = BTreeMap::new();
        for hash in hashes {
            let found: Option<Vec<u8>> = select.query_row(params![model, hash.as_slice()], |row| row.get(0)).optional()?;
            known.extend(found.map(|bytes| (*hash, numbers(&bytes))));
        }
        Ok(known)
    }

    /// Keeps what was computed, and forgets the vectors of what is no longer there.
    pub(super) fn keep(&mut self, model: &str, computed: &[(Hash, Vec<f32>)], present: &BTreeSet<Hash>) -> rusqlite::Result<()> {
        let change = self.0.transaction()?;
        {
            let mut insert = change.prepare("INSERT OR REPLACE INTO vector (model, hash, numbers) VALUES (?1, ?2, ?3)")?;
            for (hash, vector) in computed {
                insert.execute(params![model, hash.as_slice(), bytes(vector)])?;
            }
            let mut select = change.prepare("SELECT model, hash FROM vector")?;
            let all: Vec<(String, Vec<u8>)> =
                select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
            let mut delete = change.prepare("DELETE FROM vector WHERE model = ?1 AND hash = ?2")?;
            for (of, hash) in all {
                let here = of == model && <Hash>::try_from(hash.as_slice()).is_ok_and(|hash| present.contains(&hash));
                if !here {
                    delete.execute(params![of, hash])?;
                }
            }
        }
        change.commit()
    }
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// Says how much two vectors point the same way, from 0 to 1; nothing in common if they are of two kinds.
pub(super) fn likeness(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() || a.len() > DIMENSIONS_MAX {
        return 0.0;
    }
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let length = |vector: &[f32]| vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    let both = length(a) * length(b);
    if both > 0.0 { (dot / both).clamp(0.0, 1.0) } else { 0.0 }
}
