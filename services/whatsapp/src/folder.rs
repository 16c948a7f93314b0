//! The folder of the account's keys.
//!
//! The database is the truth. Beside it lies `creds.json`, which says that the device is linked and to whom: the channel service looks for it
//! before it starts anything.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use verso_kit::files::{create_private_dir, write_atomic};
use whatsapp_rust::traits::DeviceStore as _;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::error::{Result, StoreError};

use crate::store::Store;

const DATABASE: &str = "whatsapp.sqlite";

/// The database's own further files.
const DATABASE_ALSO: [&str; 2] = ["whatsapp.sqlite-wal", "whatsapp.sqlite-shm"];

const MARK: &str = "creds.json";

/// A folder of keys.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Opens the database in it.
    pub(crate) async fn open(&self) -> Result<Store> {
        create_private_dir(&self.0)?;
        Store::open(&self.0.join(DATABASE)).await
    }

    /// Returns the device, if it is linked.
    pub(crate) async fn linked(&self) -> Result<Option<(Store, Device)>> {
        if !self.0.join(DATABASE).is_file() {
            return Ok(None);
        }
        let store = self.open().await?;
        let device = store.load().await?.filter(|device| device.pn.is_some());
        Ok(device.map(|device| (store, device)))
    }

    /// Says that the device is linked.
    pub(crate) fn mark(&self, device: &Device) -> io::Result<()> {
        let shown = |id: &Option<whatsapp_rust::Jid>| id.as_ref().map(ToString::to_string);
        let said = json!({"me": {"id": shown(&device.pn), "lid": shown(&device.lid), "name": device.push_name}, "registered": true});
        write_atomic(&self.0.join(MARK), said.to_string().as_bytes(), 0o600)
    }

    /// Forgets the device. Returns whether there was one.
    pub(crate) fn wipe(&self) -> Result<bool> {
        let mut any = false;
        for file in [MARK, DATABASE].into_iter().chain(DATABASE_ALSO) {
            match std::fs::remove_file(self.0.join(file)) {
                Ok(()) => any = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::Io(error)),
            }
        }
        Ok(any)
    }
}
