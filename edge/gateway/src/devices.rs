//! Device identities: pairing requests, paired devices and their tokens.
//!
//! Kept in `<state>/devices/{pending,paired}.json`, in the layout that existing gateways write, so that a copied folder just works.

mod record;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::Mutex;
use verso_kit::clock::Clock;
use verso_proto::edge::v1::{PairedDevice, PairingRequest};
use verso_protocol::auth::{PairingReason, covers, pairing_needed, same_secret};

pub(crate) use record::{Claim, Paired, Token};
use store::Store;

/// How long a pairing request waits for an answer, in milliseconds.
const PENDING_TTL_MS: i64 = 5 * 60 * 1000;

/// Pairing requests that may wait; the oldest gives way.
const PENDING_MAX: usize = 100;

/// Why a device request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such pairing request, or it has expired.
    #[error("unknown requestId")]
    UnknownRequest,
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
    store: Store,
    clock: Clock,
}

#[derive(Debug, Clone, Default)]
struct State {
    pending: BTreeMap<String, PairingRequest>,
    paired: BTreeMap<String, Paired>,
}

impl Devices {
    /// Reads the devices of a state folder.
    pub(crate) fn open(state_dir: &Path, clock: Clock) -> std::io::Result<Self> {
        let store = Store::new(state_dir.join("devices"));
        let state = State { pending: store.load("pending.json")?, paired: store.load("paired.json")? };
        Ok(Self { state: Mutex::new(state), store, clock })
    }

    /// Says why a device must be paired before it may connect as it claims to be; none when it was approved for all of that.
    pub(crate) async fn missing(&self, claim: &Claim) -> Option<PairingReason> {
        let state = self.state.lock().await;
        pairing_needed(state.paired.get(&claim.device_id).map(Paired::approved), &claim.asked())
    }

    /// Records that a device asks to be paired. One request a device: a repeat keeps its id. True when it is new.
    pub(crate) async fn ask(&self, claim: &Claim) -> Result<(PairingRequest, bool), Error> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        changed.pending.retain(|_, request| now_ms - request.ts_ms < PENDING_TTL_MS);
        let known = changed.pending.values().find(|request| request.device_id == claim.device_id).map(|request| request.request_id.clone());
        let request_id = known.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let request = claim.request(request_id.clone(), changed.paired.contains_key(&claim.device_id), now_ms);
        changed.pending.insert(request_id, request.clone());
        if changed.pending.len() > PENDING_MAX {
            let oldest = changed.pending.values().min_by_key(|request| request.ts_ms).map(|request| request.request_id.clone());
            oldest.and_then(|oldest| changed.pending.remove(&oldest));
        }
        self.store.save("pending.json", &changed.pending).await.map_err(Error::Save)?;
        *state = changed;
        Ok((request, known.is_none()))
    }

    /// Pairs a device without asking anybody: it is on this machine and has proven itself. Roles and scopes are added to what it has.
    pub(crate) async fn pair(&self, claim: &Claim) -> Result<(), Error> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        record::merge(&mut changed.paired, claim, now_ms);
        changed.pending.retain(|_, request| request.device_id != claim.device_id);
        self.replace(&mut state, changed).await
    }

    /// Accepts a pairing request.
    pub(crate) async fn approve(&self, request_id: &str) -> Result<PairedDevice, Error> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        let request = changed.pending.remove(request_id).filter(|request| now_ms - request.ts_ms < PENDING_TTL_MS);
        let request = request.ok_or(Error::UnknownRequest)?;
        let device = record::merge(&mut changed.paired, &Claim::of(&request), now_ms).view();
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
        paired.sort_by_key(|device| std::cmp::Reverse(device.approved_at_ms));
        (pending, paired)
    }

    /// Whether `token` lets the device connect as it claims to be.
    pub(crate) async fn accepts(&self, claim: &Claim, token: &str) -> bool {
        let state = self.state.lock().await;
        let known = state.paired.get(&claim.device_id).and_then(|device| device.tokens.get(&claim.role));
        known.is_some_and(|known| known.revoked_at_ms.is_none() && same_secret(token, &known.value) && covers(&known.scopes, &claim.scopes))
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

    /// Replaces a device's token of a role.
    pub(crate) async fn rotate(&self, device_id: &str, role: &str, scopes: Option<Vec<String>>) -> Result<Token, Error> {
        let now_ms = self.clock.now_ms();
        self.change_token(device_id, role, |old, approved| {
            // A rotation never widens what was approved.
            let asked = scopes.filter(|asked| covers(approved, asked)).unwrap_or_else(|| old.scopes.clone());
            let rotated_at_ms = Some(now_ms);
            Token { created_at_ms: old.created_at_ms, rotated_at_ms, ..Token::mint(role, asked, now_ms) }
        })
        .await
    }

    /// Revokes a device's token of a role.
    pub(crate) async fn revoke(&self, device_id: &str, role: &str) -> Result<Token, Error> {
        let now_ms = self.clock.now_ms();
        self.change_token(device_id, role, |old, _| Token { revoked_at_ms: Some(now_ms), ..old.clone() }).await
    }

    async fn change_token(&self, device_id: &str, role: &str, change: impl FnOnce(&Token, &[String]) -> Token) -> Result<Token, Error> {
        let mut state = self.state.lock().await;
        let mut changed = state.clone();
        let device = changed.paired.get_mut(device_id).ok_or(Error::UnknownToken)?;
        let old = device.tokens.get(role).ok_or(Error::UnknownToken)?;
        let token = change(old, &device.scopes);
        device.tokens.insert(role.to_owned(), token.clone());
        self.replace(&mut state, changed).await?;
        Ok(token)
    }

    /// **Invariant:** memory never runs ahead of the disk.
    async fn replace(&self, state: &mut State, changed: State) -> Result<(), Error> {
        self.store.save("paired.json", &changed.paired).await.map_err(Error::Save)?;
        self.store.save("pending.json", &changed.pending).await.map_err(Error::Save)?;
        *state = changed;
        Ok(())
    }
}
