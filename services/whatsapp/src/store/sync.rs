//! What the state that all devices of the account share keeps.

use whatsapp_rust::async_trait;
use whatsapp_rust::traits::{AppStateSyncKey, AppSyncStore};
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::error::Result;

use super::{Kind, Store, to_json};

/// The name of the entry that says which key came last.
const LATEST_KEY: &[u8] = b"sync-key";

fn in_collection(collection: &str, index: &[u8]) -> Vec<u8> {
    [collection.as_bytes(), b"\0", index].concat()
}

#[async_trait]
impl AppSyncStore for Store {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get_json(Kind::SyncKey, key_id).await
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let (id, key) = (key_id.to_vec(), to_json(&key)?);
        self.write(move |entries| {
            entries.put(Kind::SyncKey, &id, &key, 0)?;
            entries.put(Kind::Latest, LATEST_KEY, &id, 0)
        })
        .await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        Ok(self.get_json(Kind::SyncVersion, name).await?.unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.put_json(Kind::SyncVersion, name, &state).await
    }

    async fn put_mutation_macs(&self, name: &str, _version: u64, mutations: &[AppStateMutationMAC]) -> Result<()> {
        let entry = |mac: &AppStateMutationMAC| (in_collection(name, &mac.index_mac), mac.value_mac.clone());
        self.put_all(Kind::SyncMac, mutations.iter().map(entry).collect()).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get(Kind::SyncMac, in_collection(name, index_mac)).await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let names: Vec<_> = index_macs.iter().map(|index| in_collection(name, index)).collect();
        self.write(move |entries| names.iter().try_for_each(|name| entries.delete(Kind::SyncMac, name))).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        let start = in_collection(name, &[]);
        self.write(move |entries| {
            let all = entries.beginning_with(Kind::SyncMac, &start)?;
            all.iter().try_for_each(|(name, _)| entries.delete(Kind::SyncMac, name))
        })
        .await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.get(Kind::Latest, LATEST_KEY).await
    }
}
