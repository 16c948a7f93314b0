//! The two files of devices.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use verso_kit::files;

use crate::fence::Fence;

#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    fence: Fence,
}

impl Store {
    pub(super) fn new(folder: PathBuf, fence: Fence) -> Self {
        Self { folder, fence }
    }

    /// Reads a file; one that does not exist is empty. A broken one is an error: forgetting every device would lock all of them out.
    pub(super) fn load<T: DeserializeOwned + Default>(&self, name: &str) -> io::Result<T> {
        let path = self.folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| at(&path, &error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err(at(&path, &error)),
        }
    }

    pub(super) async fn save<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let (folder, path) = (self.folder.clone(), self.folder.join(name));
        let bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
        let fence = self.fence.clone();
        let write = move || {
            let _others_wait = fence.enter()?;
            files::create_private_dir(&folder)?;
            files::write_atomic(&path, &bytes, 0o600).map_err(|error| at(&path, &error))
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

/// Says which file it is about.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
