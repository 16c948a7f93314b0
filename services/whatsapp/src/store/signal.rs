//! What the encryption between people keeps.

use std::sync::Arc;

use bytes::Bytes;
use whatsapp_rust::async_trait;
use whatsapp_rust::traits::SignalStore;
use whatsapp_rust::wacore::store::error::{Result, StoreError};

use super::{Kind, Store};

/// Names in the order of their numbers.
fn numbered(id: u32) -> [u8; 4] {
    id.to_be_bytes()
}

fn number(name: &[u8]) -> Result<u32> {
    let bytes = name.try_into().map_err(|_| StoreError::Validation("the name of a key is not a number".to_owned()))?;
    Ok(u32::from_be_bytes(bytes))
}

fn owned(all: &[(Arc<str>, Bytes)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    all.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
}

#[async_trait]
impl SignalStore for Store {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.put(Kind::Identity, address, key).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        let all = identities.iter().map(|(address, key)| (address.as_bytes().to_vec(), key.to_vec())).collect();
        self.put_all(Kind::Identity, all).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let key = self.get(Kind::Identity, address).await?;
        let whole = |key: Vec<u8>| key.try_into().map_err(|_| StoreError::Validation("an identity has not 32 bytes".to_owned()));
        key.map(whole).transpose()
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.delete(Kind::Identity, address).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get(Kind::Session, address).await?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.put(Kind::Session, address, session).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put_all(Kind::Session, owned(sessions)).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.delete(Kind::Session, address).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        let starts = [format!("{user}@").into_bytes(), format!("{user}:").into_bytes()];
        self.read(move |entries| {
            for start in &starts {
                for kind in [Kind::Session, Kind::Identity] {
                    if !entries.beginning_with(kind, start)?.is_empty() {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        })
        .await
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        self.store_prekeys_batch(&[(id, Bytes::copy_from_slice(record))], uploaded).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        let keys = keys.to_vec();
        self.write(move |entries| {
            keys.iter().try_for_each(|(id, record)| entries.put(Kind::PreKey, &numbered(*id), record, i64::from(uploaded)))
        })
        .await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        Ok(self.get(Kind::PreKey, numbered(id)).await?.map(Bytes::from))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let ids = ids.to_vec();
        self.read(move |entries| {
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(record) = entries.get(Kind::PreKey, &numbered(id))? {
                    found.push((id, Bytes::from(record)));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        let ids = ids.to_vec();
        self.write(move |entries| ids.iter().try_for_each(|id| entries.set_number(Kind::PreKey, &numbered(*id), 1))).await
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.delete(Kind::PreKey, numbered(id)).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let all = self.read(|entries| entries.beginning_with(Kind::PreKey, &[])).await?;
        all.last().map_or(Ok(0), |(name, _)| number(name))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.put(Kind::SignedPreKey, numbered(id), record).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        self.get(Kind::SignedPreKey, numbered(id)).await
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let all = self.read(|entries| entries.beginning_with(Kind::SignedPreKey, &[])).await?;
        all.into_iter().map(|(name, record)| Ok((number(&name)?, record))).collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.delete(Kind::SignedPreKey, numbered(id)).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.put(Kind::SenderKey, address, record).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put_all(Kind::SenderKey, owned(sender_keys)).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        self.get(Kind::SenderKey, address).await
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.delete(Kind::SenderKey, address).await
    }
}
