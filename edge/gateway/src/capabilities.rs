//! Secret addresses of the canvas, for who cannot present anything else: the browser of a node on another machine.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use verso_proto::wire::v1::Principal;

/// How long an address works after it was last used.
pub(crate) const LIFE: Duration = Duration::from_mins(10);

/// How many addresses there may be; the one that was used longest ago makes room.
const CAPABILITIES_MAX: usize = 4_096;

/// How much chance is in an address, in bytes.
const TOKEN_BYTES: usize = 18;

/// The addresses that work. What is kept does not open anything.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    live: Mutex<HashMap<[u8; 32], Entry>>,
}

/// What an address is good for.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// On whose behalf its bearer acts.
    pub(crate) principal: Principal,
    /// The only session whose surfaces it shows, and in which its bearer acts.
    pub(crate) session_key: String,
}

#[derive(Debug)]
struct Entry {
    grant: Grant,
    /// Ends with this connection.
    conn_id: Option<String>,
    expires: Instant,
}

impl Capabilities {
    /// Makes an address; with `conn_id` it ends with that connection.
    pub(crate) fn mint(&self, grant: Grant, conn_id: Option<&str>) -> String {
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
        let now = Instant::now();
        let mut live = self.live();
        if live.len() >= CAPABILITIES_MAX {
            live.retain(|_, entry| entry.expires > now);
            let oldest = live.iter().min_by_key(|(_, entry)| entry.expires).map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| live.len() >= CAPABILITIES_MAX) {
                live.remove(&oldest);
            }
        }
        live.insert(digest(&token), Entry { grant, conn_id: conn_id.map(str::to_owned), expires: now + LIFE });
        token
    }

    /// Returns what an address is good for, and lets it live on; none when it does not work any more, or never did.
    pub(crate) fn present(&self, token: &str) -> Option<Grant> {
        let now = Instant::now();
        let mut live = self.live();
        let entry = live.get_mut(&digest(token)).filter(|entry| entry.expires > now)?;
        entry.expires = now + LIFE;
        Some(entry.grant.clone())
    }

    /// A connection has ended, and with it its addresses.
    pub(crate) fn left(&self, conn_id: &str) {
        self.live().retain(|_, entry| entry.conn_id.as_deref() != Some(conn_id));
    }

    /// Ends all addresses: what let their owners in does not count any more.
    pub(crate) fn clear(&self) {
        self.live().clear();
    }

    fn live(&self) -> MutexGuard<'_, HashMap<[u8; 32], Entry>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant { principal: Principal::default(), session_key: "main".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_lives_as_long_as_it_is_used_and_its_connection_lasts() {
        let capabilities = Capabilities::default();
        let (used, unused) = (capabilities.mint(grant(), None), capabilities.mint(grant(), None));
        let bound = capabilities.mint(grant(), Some("c"));
        assert!(used.len() == 24 && used != unused);
        tokio::time::advance(LIFE.mul_f32(0.9)).await;
        assert!(capabilities.present(&used).is_some() && capabilities.present(&bound).is_some());
        tokio::time::advance(LIFE.mul_f32(0.9)).await;
        assert!(capabilities.present(&used).is_some() && capabilities.present(&unused).is_none());
        capabilities.left("c");
        assert!(capabilities.present(&bound).is_none() && capabilities.present("").is_none());
        capabilities.clear();
        assert!(capabilities.present(&used).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_the_limit() {
        let capabilities = Capabilities::default();
        let first = capabilities.mint(grant(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..CAPABILITIES_MAX {
            capabilities.mint(grant(), None);
        }
        assert_eq!(capabilities.live().len(), CAPABILITIES_MAX);
        assert!(capabilities.present(&first).is_none());
    }
}
