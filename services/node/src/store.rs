//! The file of paired nodes, and who may write it and the files beside it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use verso_kit::files;
use verso_proto::node::v1::NodeInfo;

use crate::error::Error;

/// The layout of the file.
const FORMAT: u32 = 1;

/// The paired nodes by their ids.
pub(crate) type Nodes = BTreeMap<String, NodeInfo>;

/// What the file holds. A node is kept in its wire form, as it was last known.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// The incarnation that may write.
    epoch: u64,
    nodes: Vec<NodeInfo>,
}

/// Loads and saves the file for one incarnation. Its work blocks, so it runs beside the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: Arc<PathBuf>,
    epoch: u64,
}

impl Store {
    /// Claims the file at `path` for the incarnation `epoch` and loads it. Older incarnations can write it no more.
    pub(crate) async fn open(path: PathBuf, epoch: u64) -> Result<(Self, Nodes), Error> {
        let store = Self { path: Arc::new(path), epoch };
        let claiming = store.clone();
        let nodes = blocking(move || claiming.claim()).await?;
        Ok((store, nodes))
    }

    /// Replaces what the file holds.
    pub(crate) async fn save(&self, nodes: &Nodes) -> Result<(), Error> {
        let (store, nodes) = (self.clone(), nodes.values().cloned().collect());
        blocking(move || {
            let _lock = store.lock()?;
            store.load_current()?;
            store.write(nodes)
        })
        .await
    }

    /// Does something to other files of the folder while no other incarnation can; fails when a newer one has claimed it.
    pub(crate) async fn exclusively<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        blocking(move || {
            let _lock = store.lock()?;
            store.load_current()?;
            work(store.path.parent().unwrap_or(Path::new(".")))
        })
        .await
    }

    fn claim(&self) -> Result<Nodes, Error> {
        let _lock = self.lock()?;
        let found = self.load_current()?;
        let claimed = found.as_ref().is_some_and(|saved| saved.epoch == self.epoch);
        let nodes = found.map(|saved| saved.nodes).unwrap_or_default();
        if !claimed {
            self.write(nodes.clone())?;
        }
        Ok(nodes.into_iter().map(|node| (node.node_id.clone(), node)).collect())
    }

    /// Keeps other incarnations out until the file is dropped.
    fn lock(&self) -> Result<File, Error> {
        let path = self.path.with_extension("lock");
        let locked = File::options().create(true).truncate(false).write(true).open(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| Error::Save { path, source })
    }

    fn load_current(&self) -> Result<Option<Saved>, Error> {
        let path = self.path.to_path_buf();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Load { path, source }),
        };
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path: path.clone(), source })?;
        if saved.format != FORMAT {
            let source = serde::de::Error::custom(format_args!("format {} is not known", saved.format));
            return Err(Error::Damaged { path, source });
        }
        if saved.epoch > self.epoch { Err(Error::Replaced) } else { Ok(Some(saved)) }
    }

    fn write(&self, nodes: Vec<NodeInfo>) -> Result<(), Error> {
        let save = |source| Error::Save { path: self.path.to_path_buf(), source };
        let saved = Saved { format: FORMAT, epoch: self.epoch, nodes };
        let bytes = serde_json::to_vec_pretty(&saved).map_err(|error| save(error.into()))?;
        files::write_atomic(&self.path, &bytes, 0o600).map_err(save)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
