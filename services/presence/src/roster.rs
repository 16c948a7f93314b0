//! The entries: what names them, how they merge and age, how many there may be, and the version that counts their changes.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use verso_kit::clock::Clock;
use verso_proto::Json;
use verso_proto::presence::v1::Entry;

use crate::entry::{bounded, merge};
use crate::error::Error;
use crate::{line, notice};

/// How long an entry lives after it was last heard of, in milliseconds.
pub(crate) const TTL_MS: i64 = 5 * 60 * 1_000;

/// The longest list, the gateway's own entry included.
pub(crate) const ENTRIES_MAX: usize = 200;

/// How many changes one incarnation may count before the next one's numbers begin, as a power of two: small enough that numbers stay
/// below 2^53 even when incarnations are numbered by the seconds since 1970.
const INCARNATION_BITS: u32 = 20;

/// The reason of an entry whose connection is gone.
const GONE: &str = "disconnect";

/// How much of a text names an entry that has no better name, in characters.
const KEY_CHARS_MAX: usize = 64;

/// Names an entry, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Arc<str>);

impl Key {
    /// Takes the first name that says something.
    fn first<'a>(names: impl IntoIterator<Item = Option<&'a str>>) -> Option<Self> {
        let name = names.into_iter().flatten().map(str::trim).find(|name| !name.is_empty())?;
        Some(Self(name.to_lowercase().into()))
    }
}

/// When an entry was last heard of, and which of several in one millisecond it was.
type Place = (i64, u64);

#[derive(Debug)]
struct Record {
    entry: Entry,
    /// The entry as JSON, rendered when it changes: a list is read far more often.
    json: String,
    place: Place,
    /// What was announced last, and by which connection.
    announced: Option<(String, Entry)>,
    /// Whether the text was given, rather than written by us.
    text_given: bool,
}

/// Everybody who was heard of lately.
#[derive(Debug)]
pub(crate) struct Roster {
    clock: Clock,
    own: Entry,
    records: BTreeMap<Key, Record>,
    by_age: BTreeMap<Place, Key>,
    heard: u64,
    version: u64,
}

impl Roster {
    /// Starts with the gateway's `own` entry. `epoch` is the number of the incarnation.
    pub(crate) fn new(clock: Clock, own: Entry, epoch: u64) -> Self {
        let version = epoch.saturating_sub(1).saturating_mul(1 << INCARNATION_BITS).saturating_add(1);
        Self { clock, own, records: BTreeMap::new(), by_age: BTreeMap::new(), heard: 0, version }
    }

    /// Returns the number of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Counts the entries, the gateway's own one included.
    pub(crate) fn len(&self) -> usize {
        self.records.len() + 1
    }

    /// Lists every entry that is not too old, newest first, as a JSON array. The gateway's own one is always of now.
    pub(crate) fn list(&mut self) -> Json {
        let now_ms = self.clock.now_ms();
        self.forget_old(now_ms);
        let mut own = self.own.clone();
        // A clock that was set back must not put it below others.
        own.ts_ms = self.by_age.last_key_value().map_or(now_ms, |((newest_ms, _), _)| now_ms.max(*newest_ms));
        let own = render(&own);
        let others = self.by_age.values().rev().filter_map(|key| self.records.get(key)).map(|record| record.json.as_str());
        let size_bytes = own.len() + 2 + self.records.values().map(|record| record.json.len() + 1).sum::<usize>();
        let mut text = String::with_capacity(size_bytes);
        text.push('[');
        text.push_str(&own);
        for other in others {
            text.push(',');
            text.push_str(other);
        }
        text.push(']');
        Json { text }
    }

    /// Records that a connection came or went; false when that was known.
    pub(crate) fn announce(&mut self, conn_id: String, entry: Entry) -> Result<bool, Error> {
        let now_ms = self.clock.now_ms();
        let changed = self.place_connection(conn_id, entry, now_ms)?;
        self.version += u64::from(changed);
        Ok(changed)
    }

    /// Merges what a device says of itself. Returns what is worth passing on.
    pub(crate) fn beacon(&mut self, mut said: Entry) -> Result<Option<String>, Error> {
        let text = said.text.take().unwrap_or_default();
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::TextRequired);
        }
        let mut entry = line::read(text);
        let start: String = text.chars().take(KEY_CHARS_MAX).collect();
        let names = [said.device_id.as_deref(), said.instance_id.as_deref(), entry.host.as_deref(), entry.ip.as_deref(), Some(&start)];
        let key = Key::first(names).ok_or(Error::TextRequired)?;
        merge(&mut entry, said);
        entry.text = Some(text.to_owned());
        let now_ms = self.clock.now_ms();
        let before = self.records.get(&key).map(|record| record.entry.clone());
        self.put(key.clone(), bounded(entry), now_ms, None);
        self.version += 1;
        Ok(self.records.get(&key).and_then(|record| notice::line(text, before.as_ref(), &record.entry)))
    }

    /// Takes over what an edge holds, and continues above the version that it has shown.
    ///
    /// An entry's own time counts, where it has one: being told of again makes nobody younger.
    pub(crate) fn restore(&mut self, mut connections: Vec<(String, Entry)>, shown: u64) -> Result<(), Error> {
        let now_ms = self.clock.now_ms();
        let heard_ms = |entry: &Entry| if entry.ts_ms > 0 { entry.ts_ms.min(now_ms) } else { now_ms };
        // The newest connection of an entry is the one that counts.
        connections.sort_by_key(|(_, entry)| heard_ms(entry));
        for (conn_id, entry) in connections {
            let heard_ms = heard_ms(&entry);
            if now_ms - heard_ms <= TTL_MS {
                self.place_connection(conn_id, entry, heard_ms)?;
            }
        }
        self.version = self.version.max(shown) + 1;
        Ok(())
    }

    fn place_connection(&mut self, conn_id: String, entry: Entry, heard_ms: i64) -> Result<bool, Error> {
        let names = [entry.device_id.as_deref(), entry.instance_id.as_deref(), Some(conn_id.as_str())];
        let key = Key::first(names).ok_or(Error::UnnamedConnection)?;
        let entry = bounded(Entry { ts_ms: 0, ..entry });
        if let Some((latest, said)) = self.records.get(&key).and_then(|record| record.announced.as_ref()) {
            let late = *latest != conn_id && gone(&entry);
            let known = *latest == conn_id && *said == entry;
            if late || known {
                return Ok(false);
            }
        }
        self.put(key, entry.clone(), heard_ms, Some((conn_id, entry)));
        Ok(true)
    }

    /// Merges `entry` into what `key` names, and makes it the newest.
    fn put(&mut self, key: Key, entry: Entry, heard_ms: i64, announced: Option<(String, Entry)>) {
        self.heard += 1;
        let mut place = (heard_ms, self.heard);
        let text_given = entry.text.is_some();
        let mut record = match self.records.remove(&key) {
            Some(known) => {
                self.by_age.remove(&known.place);
                place.0 = place.0.max(known.place.0);
                known
            }
            None => Record { entry: Entry::default(), json: String::new(), place, announced: None, text_given },
        };
        merge(&mut record.entry, entry);
        record.place = place;
        record.entry.ts_ms = place.0;
        record.text_given |= text_given;
        record.announced = announced.or(record.announced);
        if !record.text_given {
            record.entry.text = Some(line::write(&record.entry));
        }
        record.json = render(&record.entry);
        self.by_age.insert(place, key.clone());
        self.records.insert(key, record);
        while self.records.len() >= ENTRIES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_old(&mut self, now_ms: i64) {
        while self.by_age.first_key_value().is_some_and(|((heard_ms, _), _)| now_ms.saturating_sub(*heard_ms) > TTL_MS) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_first() {
            self.records.remove(&key);
        }
    }
}

fn render(entry: &Entry) -> String {
    serde_json::to_string(entry).expect("an entry holds strings, numbers and lists of strings")
}

/// Whether an announced connection is gone.
pub(crate) fn gone(entry: &Entry) -> bool {
    entry.reason.as_deref() == Some(GONE)
}
