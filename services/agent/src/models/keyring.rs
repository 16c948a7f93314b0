//! Credentials of model providers: which there are, which is asked next, and which are left alone for a while because they failed.

mod file;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use verso_kit::clock::Clock;
use verso_kit::config::Secret;

use crate::keys::AgentId;
use crate::provider::{Credential, Kind};
use file::{Book, Change, Profile};

/// How long what a file says is believed before it is looked at again, in milliseconds.
const RECHECK_MS: i64 = 2_000;

/// A failure that is older no longer counts, in milliseconds.
const FORGOTTEN_MS: i64 = 24 * 60 * 60 * 1_000;

/// The first cooldown, in milliseconds; each further failure makes it five times as long.
const COOLDOWN_MS: i64 = 60 * 1_000;
const COOLDOWN_MS_MAX: i64 = 60 * 60 * 1_000;

/// The first pause of an account without credit, in milliseconds; it doubles.
const BILLING_MS: i64 = 5 * 60 * 60 * 1_000;
const BILLING_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// Sessions whose credential is remembered.
const PINS_MAX: usize = 10_000;

/// One credential that may be tried.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Names it in files and answers, such as `openai:default`.
    pub(crate) id: String,
    /// None for servers that need nothing.
    pub(crate) credential: Option<Credential>,
    /// `api_key`, `token` or `oauth`.
    pub(crate) kind: &'static str,
    pub(crate) expires_at_ms: Option<i64>,
    /// Whether it is in a file, so that how it fares is written down there.
    stored: bool,
}

/// How a credential fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) errors: u32,
    pub(crate) until_ms: i64,
    pub(crate) reason: Option<String>,
    last_failure_ms: i64,
    last_used_ms: i64,
}

impl Fate {
    /// Whether it is to be left alone at `now_ms`.
    pub(crate) fn cools(&self, now_ms: i64) -> bool {
        self.until_ms > now_ms
    }

    fn fail(&mut self, kind: Kind, now_ms: i64) {
        if now_ms - self.last_failure_ms > FORGOTTEN_MS {
            self.errors = 0;
        }
        self.errors += 1;
        self.last_failure_ms = now_ms;
        self.until_ms = now_ms + pause_ms(kind, self.errors);
        self.reason = Some(kind.reason().to_owned());
    }
}

/// Returns how long a credential is left alone after so many failures.
fn pause_ms(kind: Kind, errors: u32) -> i64 {
    let earlier = errors.saturating_sub(1).min(16);
    match kind {
        Kind::Billing => BILLING_MS.saturating_mul(2_i64.pow(earlier)).min(BILLING_MS_MAX),
        _ => COOLDOWN_MS.saturating_mul(5_i64.saturating_pow(earlier)).min(COOLDOWN_MS_MAX),
    }
}

/// All credentials.
#[derive(Debug)]
pub(crate) struct Keyring {
    /// `<state>/agents`.
    folder: PathBuf,
    main: AgentId,
    /// `auth.order` of the configuration.
    order: HashMap<String, Vec<String>>,
    clock: Clock,
    state: Mutex<State>,
    /// One writer at a time.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    books: HashMap<AgentId, Book>,
    fates: HashMap<String, Fate>,
    /// The credential that a session's last call used: a provider's cache belongs to an account.
    pins: HashMap<String, String>,
}

impl Keyring {
    /// Makes a keyring over the files under `state_dir`.
    pub(crate) fn new(state_dir: &Path, main: AgentId, order: HashMap<String, Vec<String>>, clock: Clock) -> Self {
        let state = Mutex::default();
        Self { folder: state_dir.join("agents"), main, order, clock, state, writing: tokio::sync::Mutex::default() }
    }

    /// Whether it is what a configuration of this default agent and order asks for.
    pub(crate) fn serves(&self, main: &AgentId, order: &HashMap<String, Vec<String>>) -> bool {
        self.main == *main && self.order == *order
    }

    /// Returns the credentials for a provider, the next to be tried first; those that cool come last. `configured` is what the
    /// configuration or the environment has: it stands behind the profiles in the files.
    pub(crate) async fn keys(&self, agent: &AgentId, session: &str, provider: &str, configured: Option<&Credential>) -> Vec<Key> {
        let now_ms = self.clock.now_ms();
        self.refresh(agent, now_ms).await;
        let state = self.state();
        let mut found: Vec<(Key, Fate)> = Vec::new();
        for book in [agent, &self.main].iter().filter_map(|agent| state.books.get(*agent)) {
            for profile in book.profiles.iter().filter(|profile| profile.provider.eq_ignore_ascii_case(provider)) {
                // An agent's own profile hides the main agent's of the same name.
                if profile.usable(now_ms) && found.iter().all(|(key, _)| key.id != profile.id) {
                    let fate = state.fates.get(&profile.id).cloned().unwrap_or_default();
                    found.push((profile.key(), fate));
                }
            }
        }
        let order = state.books.get(agent).and_then(|book| book.order.get(provider)).or_else(|| self.order.get(provider));
        arrange(&mut found, order, now_ms);
        if let Some(pin) = state.pins.get(&pin(session, provider))
            && let Some(place) = found.iter().position(|(key, fate)| key.id == *pin && !fate.cools(now_ms))
            && order.is_none()
        {
            found[..=place].rotate_right(1);
        }
        if found.is_empty() || configured.is_some() {
            let id = format!("{provider}:{}", if configured.is_some() { "configured" } else { "none" });
            let fate = state.fates.get(&id).cloned().unwrap_or_default();
            let key = Key { id, credential: configured.cloned(), kind: "api_key", expires_at_ms: None, stored: false };
            found.push((key, fate));
        }
        let (mut ready, cooling): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, fate)| !fate.cools(now_ms));
        ready.extend(cooling);
        ready.into_iter().map(|(key, _)| key).collect()
    }

    /// Returns how a credential fares.
    pub(crate) fn fate(&self, id: &str) -> Fate {
        self.state().fates.get(id).cloned().unwrap_or_default()
    }

    /// Whether a credential is to be left alone for now.
    pub(crate) fn cools(&self, id: &str) -> bool {
        self.fate(id).cools(self.clock.now_ms())
    }

    /// Notes that a credential was accepted.
    pub(crate) async fn succeeded(&self, agent: &AgentId, session: &str, provider: &str, key: &Key) {
        let now_ms = self.clock.now_ms();
        let changed = {
            let mut state = self.state();
            if key.stored {
                if state.pins.len() >= PINS_MAX {
                    state.pins.clear();
                }
                state.pins.insert(pin(session, provider), key.id.clone());
            }
            let fate = state.fates.entry(key.id.clone()).or_default();
            let failed_before = fate.errors > 0;
            *fate = Fate { last_used_ms: now_ms, ..Fate::default() };
            failed_before
        };
        // When it was used last is not worth a write each time.
        if key.stored && changed {
            self.write_down(agent, key).await;
        }
    }

    /// Notes that a credential was not accepted, or is used up for now.
    pub(crate) async fn failed(&self, agent: &AgentId, key: &Key, kind: Kind) {
        if !kind.cools() {
            return;
        }
        let now_ms = self.clock.now_ms();
        self.state().fates.entry(key.id.clone()).or_default().fail(kind, now_ms);
        if key.stored {
            self.write_down(agent, key).await;
        }
    }

    /// Keeps an API key under `id`.
    pub(crate) async fn keep(&self, agent: &AgentId, id: String, provider: String, key: Secret<String>) -> io::Result<()> {
        self.state().fates.remove(&id);
        self.change(agent, Change::Key { id, provider, key }).await
    }

    /// Forgets an agent's own credentials: those of a provider, or the one of that id. Returns which.
    pub(crate) async fn forget(&self, agent: &AgentId, provider: Option<&str>, id: Option<&str>) -> io::Result<Vec<String>> {
        self.refresh(agent, self.clock.now_ms()).await;
        let ids: Vec<String> = {
            let state = self.state();
            let profiles = state.books.get(agent).map(|book| book.profiles.as_slice()).unwrap_or_default();
            let meant = |profile: &&Profile| match (provider, id) {
                (_, Some(id)) => profile.id == id,
                (Some(provider), None) => profile.provider.eq_ignore_ascii_case(provider),
                (None, None) => false,
            };
            profiles.iter().filter(meant).map(|profile| profile.id.clone()).collect()
        };
        if !ids.is_empty() {
            self.change(agent, Change::Forget { ids: ids.clone() }).await?;
        }
        Ok(ids)
    }

    /// Says in which order a provider's credentials are tried.
    pub(crate) async fn set_order(&self, agent: &AgentId, provider: String, ids: Vec<String>) -> io::Result<()> {
        self.change(agent, Change::Order { provider, ids }).await
    }

    async fn change(&self, agent: &AgentId, change: Change) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        let path = self.path(agent);
        tokio::task::spawn_blocking(move || file::change(&path, &change)).await.map_err(io::Error::other)??;
        // Whoever looks next reads it anew.
        self.state().books.remove(agent);
        Ok(())
    }

    async fn refresh(&self, agent: &AgentId, now_ms: i64) {
        for agent in [agent, &self.main] {
            let known = self.state().books.get(agent).map(|book| (book.checked_at_ms, book.modified));
            if known.is_some_and(|(checked_at_ms, _)| (0..RECHECK_MS).contains(&(now_ms - checked_at_ms))) {
                continue;
            }
            let (path, modified) = (self.path(agent), known.and_then(|(_, modified)| modified));
            let read = tokio::task::spawn_blocking(move || file::read(&path, modified)).await;
            let mut state = self.state();
            match read {
                Ok(Some((book, fates))) => {
                    for (id, fate) in fates {
                        // What this process has seen is newer than what it has written.
                        state.fates.entry(id).or_insert(fate);
                    }
                    state.books.insert(agent.clone(), Book { checked_at_ms: now_ms, ..book });
                }
                Ok(None) | Err(_) => state.books.entry(agent.clone()).or_default().checked_at_ms = now_ms,
            }
        }
    }

    /// Writes down how a credential fares, beside it.
    async fn write_down(&self, agent: &AgentId, key: &Key) {
        let _one_at_a_time = self.writing.lock().await;
        let owner = {
            let state = self.state();
            let own = state.books.get(agent).is_some_and(|book| book.profiles.iter().any(|profile| profile.id == key.id));
            if own { agent.clone() } else { self.main.clone() }
        };
        let (path, id, fate) = (self.path(&owner), key.id.clone(), self.fate(&key.id));
        let written = tokio::task::spawn_blocking(move || file::note(&path, &id, &fate)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not write down how a credential fared");
        }
    }

    fn path(&self, agent: &AgentId) -> PathBuf {
        self.folder.join(agent.as_str()).join("agent").join("auth-profiles.json")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pin(session: &str, provider: &str) -> String {
    format!("{session}\n{provider}")
}

/// Puts credentials into the order in which they are tried: as somebody said, else logins before keys and each in its turn.
fn arrange(keys: &mut [(Key, Fate)], order: Option<&Vec<String>>, now_ms: i64) {
    keys.sort_by_key(|(key, fate)| {
        let place = order.map_or(0, |order| order.iter().position(|id| *id == key.id).unwrap_or(usize::MAX));
        let kind = ["oauth", "token"].iter().position(|kind| *kind == key.kind).unwrap_or(2);
        (fate.cools(now_ms), if fate.cools(now_ms) { fate.until_ms } else { 0 }, place, kind, fate.last_used_ms)
    });
    debug_assert!(keys.iter().all(|(key, _)| key.stored), "only profiles have an order");
}

impl Profile {
    fn key(&self) -> Key {
        let credential = Credential { secret: self.secret.clone(), login: self.kind != "api_key" };
        Key { id: self.id.clone(), credential: Some(credential), kind: self.kind, expires_at_ms: self.expires_at_ms, stored: true }
    }

    fn usable(&self, now_ms: i64) -> bool {
        !self.secret.expose().trim().is_empty() && self.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms)
    }
}
