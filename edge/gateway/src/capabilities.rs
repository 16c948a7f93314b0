//! Secret addresses of the canvas, for who cannot present anything else: the browser of a node on another machine.
//!
//! Kept in `<state>/edge/canvas-addresses/`, one file each, so that they outlive the edge: an edge and its successor know the same ones.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest as _, Sha256};
use tracing::warn;
use verso_kit::clock::Clock;
use verso_kit::files;
use verso_proto::wire::v1::Principal;

/// How long an address works after it was last used, in milliseconds.
pub(crate) const LIFE_MS: i64 = 10 * 60 * 1_000;

/// How much later than written down an address may end before it is written down again, in milliseconds.
const WRITTEN_LATE_MS: i64 = 60 * 1_000;

/// How many addresses there may be; the one that was used longest ago makes room.
const CAPABILITIES_MAX: usize = 4_096;

/// How much chance is in an address, in bytes.
const TOKEN_BYTES: usize = 18;

/// What a file of an address ends in.
const ENDING: &str = "address";

/// The addresses that work. What is kept does not open anything.
#[derive(Debug)]
pub(crate) struct Capabilities {
    live: Mutex<HashMap<[u8; 32], Entry>>,
    folder: PathBuf,
    clock: Clock,
}

/// What an address is good for.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// On whose behalf its bearer acts.
    pub(crate) principal: Principal,
    /// The only session whose surfaces it shows, and in which its bearer acts.
    pub(crate) session_key: String,
}

/// What is written down of an address. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    principal: Option<Principal>,
    #[prost(string, tag = "2")]
    session_key: String,
    /// Ends with this connection.
    #[prost(string, optional, tag = "3")]
    conn_id: Option<String>,
    #[prost(int64, tag = "4")]
    expires_ms: i64,
    /// Says what let its owner in: under other settings it does not count.
    #[prost(bytes = "vec", tag = "5")]
    admitted: Vec<u8>,
    /// When it ends by its file; not itself in there.
    #[prost(int64, tag = "6")]
    written_ms: i64,
}

/// An address that works, and the connection that it ends with.
pub(crate) type Presented = (Grant, Option<String>);

impl Capabilities {
    /// Reads the addresses of a state folder.
    pub(crate) fn open(state_dir: &Path, clock: Clock) -> io::Result<Self> {
        let folder = state_dir.join("edge/canvas-addresses");
        files::create_private_dir(&folder)?;
        let (now_ms, mut live) = (clock.now_ms(), HashMap::new());
        for file in std::fs::read_dir(&folder)? {
            let path = file?.path();
            let Some(key) = key_of(&path) else { continue };
            match read(&path).filter(|entry| entry.expires_ms > now_ms) {
                Some(entry) => drop(live.insert(key, entry)),
                // An earlier edge may do the same at this moment.
                None => drop(std::fs::remove_file(&path)),
            }
        }
        Ok(Self { live: Mutex::new(live), folder, clock })
    }

    /// Makes an address for somebody whom `admitted` has let in; with `conn_id` it ends with that connection. It is on disk when this
    /// returns.
    pub(crate) async fn mint(&self, grant: Grant, conn_id: Option<&str>, admitted: &[u8]) -> io::Result<String> {
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
        let expires_ms = self.clock.now_ms() + LIFE_MS;
        let entry = Entry {
            principal: Some(grant.principal),
            session_key: grant.session_key,
            conn_id: conn_id.map(str::to_owned),
            expires_ms,
            admitted: admitted.to_vec(),
            written_ms: expires_ms,
        };
        self.write(digest(&token), &entry).await?;
        self.remove(&self.make_room());
        self.live().insert(digest(&token), entry);
        Ok(token)
    }

    /// Returns what an address is good for, and lets it live on; none when it does not work any more, or never did.
    pub(crate) async fn present(&self, token: &str, admitted: &[u8]) -> Option<Presented> {
        let key = digest(token);
        // An earlier edge may have made it after this one has begun.
        if !self.live().contains_key(&key) {
            let path = self.path(&key);
            let found = tokio::task::spawn_blocking(move || read(&path)).await.ok()??;
            self.live().entry(key).or_insert(found);
        }
        let now_ms = self.clock.now_ms();
        let entry = {
            let mut live = self.live();
            let entry = live.get_mut(&key).filter(|entry| entry.expires_ms > now_ms && entry.admitted == admitted)?;
            entry.expires_ms = now_ms + LIFE_MS;
            let known = entry.clone();
            if entry.expires_ms - entry.written_ms > WRITTEN_LATE_MS {
                entry.written_ms = entry.expires_ms;
            }
            known
        };
        if entry.expires_ms - entry.written_ms > WRITTEN_LATE_MS
            && let Err(error) = self.write(key, &entry).await
        {
            warn!(error = &error as &dyn std::error::Error, "an address of the canvas may end sooner than it should");
        }
        Some((Grant { principal: entry.principal.unwrap_or_default(), session_key: entry.session_key }, entry.conn_id))
    }

    /// A connection has ended, and with it its addresses.
    pub(crate) fn left(&self, conn_id: &str) {
        let bound: Vec<[u8; 32]> =
            self.live().extract_if(|_, entry| entry.conn_id.as_deref() == Some(conn_id)).map(|(key, _)| key).collect();
        self.remove(&bound);
    }

    /// Takes out what has ended, and if that is not enough what was used longest ago.
    fn make_room(&self) -> Vec<[u8; 32]> {
        let now_ms = self.clock.now_ms();
        let mut live = self.live();
        if live.len() < CAPABILITIES_MAX {
            return Vec::new();
        }
        let mut gone: Vec<[u8; 32]> = live.extract_if(|_, entry| entry.expires_ms <= now_ms).map(|(key, _)| key).collect();
        let oldest = live.iter().min_by_key(|(_, entry)| entry.expires_ms).map(|(key, _)| *key);
        if let Some(oldest) = oldest.filter(|_| live.len() >= CAPABILITIES_MAX) {
            live.remove(&oldest);
            gone.push(oldest);
        }
        gone
    }

    async fn write(&self, key: [u8; 32], entry: &Entry) -> io::Result<()> {
        let (path, bytes) = (self.path(&key), entry.encode_to_vec());
        tokio::task::spawn_blocking(move || files::write_atomic(&path, &bytes, 0o600)).await.map_err(io::Error::other)?
    }

    /// Removes files. One that stays has no effect but on the time of the next start.
    fn remove(&self, keys: &[[u8; 32]]) {
        if keys.is_empty() {
            return;
        }
        let paths: Vec<PathBuf> = keys.iter().map(|key| self.path(key)).collect();
        drop(tokio::task::spawn_blocking(move || paths.iter().for_each(|path| drop(std::fs::remove_file(path)))));
    }

    fn path(&self, key: &[u8; 32]) -> PathBuf {
        self.folder.join(hex::encode(key)).with_extension(ENDING)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<[u8; 32], Entry>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Option<Entry> {
    let entry = Entry::decode(std::fs::read(path).ok()?.as_slice()).ok()?;
    Some(Entry { written_ms: entry.expires_ms, ..entry })
}

fn key_of(path: &Path) -> Option<[u8; 32]> {
    let name = path.file_stem()?.to_str().filter(|_| path.extension().is_some_and(|ending| ending == ENDING))?;
    hex::decode(name).ok()?.try_into().ok()
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"settings";

    fn grant() -> Grant {
        Grant { principal: Principal { role: "node".to_owned(), ..Principal::default() }, session_key: "main".to_owned() }
    }

    fn open(folder: &tempfile::TempDir, now_ms: i64) -> Capabilities {
        Capabilities::open(folder.path(), Clock::fixed(now_ms)).unwrap()
    }

    fn files(folder: &tempfile::TempDir) -> usize {
        std::fs::read_dir(folder.path().join("edge/canvas-addresses")).unwrap().count()
    }

    #[tokio::test]
    async fn an_address_lives_as_long_as_it_is_used_and_its_connection_lasts() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(&folder, 0);
        let (used, unused) = (first.mint(grant(), None, SECRET).await.unwrap(), first.mint(grant(), None, SECRET).await.unwrap());
        let bound = first.mint(grant(), Some("c"), SECRET).await.unwrap();
        assert!(used.len() == 24 && used != unused);
        // Another edge knows them, and that the first was used there.
        let later = open(&folder, LIFE_MS * 9 / 10);
        let (known, conn_id) = later.present(&used, SECRET).await.unwrap();
        assert_eq!((known.principal, known.session_key.as_str(), conn_id), (grant().principal, "main", None));
        assert_eq!(later.present(&bound, SECRET).await.unwrap().1.as_deref(), Some("c"));
        let last = open(&folder, LIFE_MS * 18 / 10);
        assert!(last.present(&used, SECRET).await.is_some() && last.present(&unused, SECRET).await.is_none());
        assert_eq!(files(&folder), 2, "what has ended is no file any more");
        last.left("c");
        assert!(last.live().len() == 1 && last.present("", SECRET).await.is_none());
        assert!(last.present(&used, b"other settings").await.is_none());
        let after = open(&folder, LIFE_MS * 28 / 10 + 1);
        assert!(after.present(&used, SECRET).await.is_none());
    }

    #[tokio::test]
    async fn an_edge_knows_what_an_earlier_one_has_made_since() {
        let folder = tempfile::tempdir().unwrap();
        let (earlier, later) = (open(&folder, 0), open(&folder, 0));
        let token = earlier.mint(grant(), None, SECRET).await.unwrap();
        assert!(later.present(&token, SECRET).await.is_some());
        assert!(later.present("../../x", SECRET).await.is_none());
    }

    #[tokio::test]
    async fn there_are_never_more_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let capabilities = open(&folder, 0);
        let kept = |number: usize| Entry { expires_ms: 1 + i64::try_from(number).unwrap(), ..Entry::default() };
        capabilities.live().extend((0..CAPABILITIES_MAX).map(|number| (digest(&number.to_string()), kept(number))));
        capabilities.mint(grant(), None, SECRET).await.unwrap();
        assert_eq!(capabilities.live().len(), CAPABILITIES_MAX);
        assert!(!capabilities.live().contains_key(&digest("0")));
    }
}
