//! Device identities: pairing requests, paired devices and their tokens.
//!
//! Kept in `<state>/devices/{pending,paired}.json`, in the layout that existing gateways write, so that a copied folder just works.

mod record;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::PoisonError;

use tokio::sync::Mutex;
use tracing::warn;
use verso_kit::clock::Clock;
use verso_proto::edge::v1::{PairedDevice, PairingRequest};
use verso_protocol::Version;
use verso_protocol::auth::{PairingReason, covers, pairing_needed, same_secret};

use crate::fence::Fence;
pub(crate) use record::{Approval, Claim, Paired, Token};
use store::Store;

/// How long a pairing request waits for an answer, in milliseconds.
const PENDING_TTL_MS: i64 = 5 * 60 * 1000;

/// Pairing requests that may wait; the oldest gives way.
const PENDING_MAX: usize = 100;

/// Pairing requests from one address; its oldest gives way, so that nobody crowds out others.
const PENDING_PER_ADDRESS_MAX: usize = 10;

/// Why a device request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such pairing request, or it has expired.
    #[error("unknown requestId")]
    UnknownRequest,
    /// No such device.
    #[error("unknown deviceId")]
    UnknownDevice,
    /// No such device, or it has no token of that role.
    #[error("unknown deviceId/role")]
    UnknownToken,
    /// The devices could not be written.
    #[error("could not save the paired devices")]
    Save(#[source] std::io::Error),
}

/// The devices of one gateway. The edge alone writes them.
#[derive(Debug)]
pub(crate) struct Devices {
    state: Mutex<State>,
    /// When devices came and went since their file was written last: not worth a write each time.
    seen: std::sync::Mutex<HashMap<String, Seen>>,
    store: Store,
    clock: Clock,
}

/// When a device was seen last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at_ms: i64,
    reason: &'static str,
}

/// What a presented token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenCheck {
    /// It is the device's, and covers what the device asks for.
    Right,
    /// It is the device's, but covers less.
    TooNarrow,
    /// It is not the device's, or no longer.
    Wrong,
}

/// Why a device must be paired first, and what it was approved for so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) reason: PairingReason,
    pub(crate) roles: Vec<String>,
    pub(crate) scopes: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct State {
    pending: BTreeMap<String, PairingRequest>,
    paired: BTreeMap<String, Paired>,
}

impl Devices {
    /// Reads the devices of a state folder.
    pub(crate) fn open(state_dir: &Path, fence: Fence, clock: Clock) -> std::io::Result<Self> {
        let store = Store::new(state_dir.join("devices"), fence);
        let state = State { pending: store.load("pending.json")?, paired: store.load("paired.json")? };
        Ok(Self { state: Mutex::new(state), seen: std::sync::Mutex::default(), store, clock })
    }

    /// Reads the files again: another edge has written them until now. What cannot be read changes nothing.
    pub(crate) async fn reread(&self) {
        let mut state = self.state.lock().await;
        let read = self.store.load("pending.json").and_then(|pending| Ok(State { pending, paired: self.store.load("paired.json")? }));
        match read {
            Ok(read) => *state = read,
            Err(error) => warn!(error = &error as &dyn std::error::Error, "could not read the paired devices again"),
        }
    }

    /// Whether a device is paired in a role, and its token of that role was not taken away.
    pub(crate) async fn is_paired(&self, device_id: &str, role: &str) -> bool {
        let state = self.state.lock().await;
        let known = state.paired.get(device_id).and_then(|device| device.tokens.get(role));
        known.is_some_and(|token| token.revoked_at_ms.is_none())
    }

    /// Says why a device must be paired before it may connect as it claims to be, and what it was approved for; none when it was approved
    /// for all of that.
    pub(crate) async fn missing(&self, version: Version, claim: &Claim) -> Option<Missing> {
        let state = self.state.lock().await;
        let known = state.paired.get(&claim.device_id);
        let reason = pairing_needed(version, known.map(Paired::approved), &claim.asked())?;
        let (roles, scopes) = known.map(|known| (known.roles.clone(), known.scopes.clone())).unwrap_or_default();
        Some(Missing { reason, roles, scopes })
    }

    /// Records that a device asks to be paired. One request a device: a repeat keeps its id unless it asks for more, because whoever
    /// approves an id has seen what it asked for. True when it is new.
    pub(crate) async fn ask(&self, claim: &Claim) -> Result<(PairingRequest, bool), Error> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        changed.pending.retain(|_, request| now_ms - request.ts_ms < PENDING_TTL_MS);
        let known = changed.pending.values().find(|request| request.device_id == claim.device_id && claim.is_within(request));
        let known = known.map(|request| request.request_id.clone());
        let request_id = known.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let request = claim.request(request_id.clone(), changed.paired.contains_key(&claim.device_id), now_ms);
        changed.pending.retain(|_, request| request.device_id != claim.device_id);
        make_room(&mut changed.pending, claim.remote_ip.as_deref());
        changed.pending.insert(request_id, request.clone());
        self.store.save("pending.json", &changed.pending).await.map_err(Error::Save)?;
        *state = changed;
        Ok((request, known.is_none()))
    }

    /// Pairs a device without asking anybody: it is on this machine and has proven itself. Roles and scopes are added to what it has.
    pub(crate) async fn pair(&self, claim: &Claim) -> Result<(), Error> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        record::merge(&mut changed.paired, claim, Approval::Silent, now_ms);
        changed.pending.retain(|_, request| request.device_id != claim.device_id);
        self.replace(&mut state, changed).await
    }

    /// Accepts a pairing request, if `may_grant` says that the caller may give away those scopes.
    pub(crate) async fn approve<E: From<Error>>(
        &self,
        request_id: &str,
        may_grant: impl FnOnce(&[String]) -> Result<(), E> + Send,
    ) -> Result<PairedDevice, E> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        let request = changed.pending.remove(request_id).filter(|request| now_ms - request.ts_ms < PENDING_TTL_MS);
        let request = request.ok_or(Error::UnknownRequest)?;
        may_grant(&request.scopes)?;
        let device = record::merge(&mut changed.paired, &Claim::of(&request), Approval::Owner, now_ms).view();
        self.replace(&mut state, changed).await?;
        Ok(device)
    }

    /// Refuses a pairing request; returns the device that asked.
    pub(crate) async fn reject(&self, request_id: &str) -> Result<String, Error> {
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        let request = changed.pending.remove(request_id).ok_or(Error::UnknownRequest)?;
        self.replace(&mut state, changed).await?;
        Ok(request.device_id)
    }

    /// Lists what waits and what is paired.
    pub(crate) async fn list(&self) -> (Vec<PairingRequest>, Vec<PairedDevice>) {
        let now_ms = self.clock.now_ms();
        let state = self.state.lock().await;
        let mut pending: Vec<_> = state.pending.values().filter(|request| now_ms - request.ts_ms < PENDING_TTL_MS).cloned().collect();
        pending.sort_by_key(|request| std::cmp::Reverse(request.ts_ms));
        let mut paired: Vec<_> = state.paired.values().map(Paired::view).collect();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for device in &mut paired {
            if let Some(seen) = seen.get(&device.device_id) {
                (device.last_seen_at_ms, device.last_seen_reason) = (Some(seen.at_ms), Some(seen.reason.to_owned()));
            }
        }
        drop(seen);
        paired.sort_by_key(|device| std::cmp::Reverse(device.approved_at_ms));
        (pending, paired)
    }

    /// Forgets a device, its tokens and its requests.
    pub(crate) async fn remove(&self, device_id: &str) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        changed.paired.remove(device_id).ok_or(Error::UnknownDevice)?;
        changed.pending.retain(|_, request| request.device_id != device_id);
        self.replace(&mut state, changed).await
    }

    /// Forgets a device in one role, and altogether when it has no other; false when it was not paired for that role.
    pub(crate) async fn remove_role(&self, device_id: &str, role: &str) -> Result<bool, Error> {
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        changed.pending.retain(|_, request| request.device_id != device_id || request.role.as_deref() != Some(role));
        let known = changed.paired.get_mut(device_id).filter(|device| device.roles.iter().any(|known| known == role));
        let was_paired = known.is_some();
        if let Some(device) = known {
            device.roles.retain(|known| known != role);
            device.tokens.remove(role);
            if device.roles.is_empty() {
                changed.paired.remove(device_id);
            }
        }
        self.replace(&mut state, changed).await?;
        Ok(was_paired)
    }

    /// Gives a device another display name.
    pub(crate) async fn rename(&self, device_id: &str, display_name: &str) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        changed.paired.get_mut(device_id).ok_or(Error::UnknownDevice)?.display_name = Some(display_name.to_owned());
        self.replace(&mut state, changed).await
    }

    /// Notes that a device came or went.
    pub(crate) fn saw(&self, device_id: &str, reason: &'static str) {
        let seen = Seen { at_ms: self.clock.now_ms(), reason };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(device_id.to_owned(), seen);
    }

    /// Says whether `token` lets the device connect as it claims to be.
    pub(crate) async fn check_token(&self, claim: &Claim, token: &str) -> TokenCheck {
        let state = self.state.lock().await;
        let known = state.paired.get(&claim.device_id).and_then(|device| device.tokens.get(&claim.role));
        match known.filter(|known| known.revoked_at_ms.is_none() && same_secret(token, &known.value)) {
            None => TokenCheck::Wrong,
            Some(known) if covers(&known.scopes, &claim.scopes) => TokenCheck::Right,
            Some(_) => TokenCheck::TooNarrow,
        }
    }

    /// Whether the device was issued a token for its role that is still valid.
    pub(crate) async fn has_token(&self, claim: &Claim) -> bool {
        let state = self.state.lock().await;
        let known = state.paired.get(&claim.device_id).and_then(|device| device.tokens.get(&claim.role));
        known.is_some_and(|known| known.revoked_at_ms.is_none())
    }

    /// Returns the device's token of its role: the one that it has if that covers the scopes, else a new one.
    pub(crate) async fn token(&self, claim: &Claim) -> Result<Token, Error> {
        let mut state = self.state.lock().await;
        let device = state.paired.get(&claim.device_id).ok_or(Error::UnknownToken)?;
        let known = device.tokens.get(&claim.role).filter(|token| token.revoked_at_ms.is_none() && covers(&token.scopes, &claim.scopes));
        if let Some(token) = known {
            return Ok(token.clone());
        }
        let token = Token::mint(&claim.role, claim.scopes.clone(), self.clock.now_ms());
        let mut changed = state.clone();
        if let Some(device) = changed.paired.get_mut(&claim.device_id) {
            device.tokens.insert(claim.role.clone(), token.clone());
        }
        self.replace(&mut state, changed).await?;
        Ok(token)
    }

    /// Replaces a device's token of a role, if `may_grant` says that the caller may give away the new one's scopes.
    pub(crate) async fn rotate<E: From<Error>>(
        &self,
        (device_id, role): (&str, &str),
        scopes: Option<Vec<String>>,
        may_grant: impl FnOnce(&[String]) -> Result<(), E> + Send,
    ) -> Result<Token, E> {
        let now_ms = self.clock.now_ms();
        self.change_token(device_id, role, |old, approved| {
            // A rotation never widens what was approved.
            let asked = scopes.filter(|asked| covers(approved, asked)).unwrap_or_else(|| old.scopes.clone());
            may_grant(&asked)?;
            let rotated_at_ms = Some(now_ms);
            Ok(Token { created_at_ms: old.created_at_ms, rotated_at_ms, ..Token::mint(role, asked, now_ms) })
        })
        .await
    }

    /// Revokes a device's token of a role.
    pub(crate) async fn revoke(&self, device_id: &str, role: &str) -> Result<Token, Error> {
        let now_ms = self.clock.now_ms();
        self.change_token(device_id, role, |old, _| Ok(Token { revoked_at_ms: Some(now_ms), ..old.clone() })).await
    }

    async fn change_token<E: From<Error>>(
        &self,
        device_id: &str,
        role: &str,
        change: impl FnOnce(&Token, &[String]) -> Result<Token, E>,
    ) -> Result<Token, E> {
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        let device = changed.paired.get_mut(device_id).ok_or(Error::UnknownToken)?;
        let old = device.tokens.get(role).ok_or(Error::UnknownToken)?;
        let token = change(old, &device.scopes)?;
        device.tokens.insert(role.to_owned(), token.clone());
        self.replace(&mut state, changed).await?;
        Ok(token)
    }

    /// **Invariant:** memory never runs ahead of the disk.
    async fn replace(&self, state: &mut State, mut changed: State) -> Result<(), Error> {
        for (device_id, seen) in self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(device) = changed.paired.get_mut(device_id) {
                (device.last_seen_at_ms, device.last_seen_reason) = (Some(seen.at_ms), Some(seen.reason.to_owned()));
            }
        }
        self.store.save("paired.json", &changed.paired).await.map_err(Error::Save)?;
        self.store.save("pending.json", &changed.pending).await.map_err(Error::Save)?;
        *state = changed;
        Ok(())
    }
}

/// Makes room for one more request, first among those of the same address.
fn make_room(pending: &mut BTreeMap<String, PairingRequest>, address: Option<&str>) {
    let oldest = |pending: &BTreeMap<String, PairingRequest>, of: &dyn Fn(&PairingRequest) -> bool| {
        pending.values().filter(|request| of(request)).min_by_key(|request| request.ts_ms).map(|request| request.request_id.clone())
    };
    let same = |request: &PairingRequest| request.remote_ip.as_deref() == address;
    while pending.values().filter(|request| same(request)).count() >= PENDING_PER_ADDRESS_MAX {
        oldest(pending, &same).and_then(|oldest| pending.remove(&oldest));
    }
    while pending.len() >= PENDING_MAX {
        oldest(pending, &|_| true).and_then(|oldest| pending.remove(&oldest));
    }
}
