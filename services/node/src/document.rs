//! A value that is a file: in memory as it is on disk.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use verso_kit::files;

use crate::error::Error;
use crate::store::Store;

/// The layout of the files.
const FORMAT: u32 = 1;

/// A value in a file of its own beside the file of nodes, whose owner owns it too.
#[derive(Debug)]
pub(crate) struct Document<T> {
    store: Store,
    name: &'static str,
    /// Held while a change goes to disk and then to memory.
    saving: tokio::sync::Mutex<()>,
    value: Mutex<T>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved<T> {
    format: u32,
    content: T,
}

impl<T: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + 'static> Document<T> {
    /// Loads the file `name`; a missing one is the default.
    pub(crate) async fn open(store: &Store, name: &'static str) -> Result<Self, Error> {
        let value = store.exclusively(move |folder| load(&folder.join(name))).await?;
        Ok(Self { store: store.clone(), name, saving: tokio::sync::Mutex::new(()), value: Mutex::new(value) })
    }

    /// Looks at the value.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value())
    }

    /// Edits a copy of the value, saves it if it differs, and only then lets it count.
    pub(crate) async fn change<R>(&self, edit: impl FnOnce(&mut T) -> Result<R, Error>) -> Result<R, Error> {
        let _saving = self.saving.lock().await;
        let mut changed = self.value().clone();
        let outcome = edit(&mut changed)?;
        if *self.value() != changed {
            let (name, content) = (self.name, changed.clone());
            self.store.exclusively(move |folder| save(&folder.join(name), content)).await?;
            *self.value() = changed; // memory never runs ahead of the disk
        }
        Ok(outcome)
    }

    fn value(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load<T: Default + DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(source) => return Err(Error::Load { path: path.to_owned(), source }),
    };
    let saved: Saved<T> = serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
    if saved.format != FORMAT {
        let source = serde::de::Error::custom(format_args!("format {} is not known", saved.format));
        return Err(Error::Damaged { path: path.to_owned(), source });
    }
    Ok(saved.content)
}

fn save<T: Serialize>(path: &Path, content: T) -> Result<(), Error> {
    let save = |source| Error::Save { path: path.to_owned(), source };
    let bytes = serde_json::to_vec_pretty(&Saved { format: FORMAT, content }).map_err(|error| save(error.into()))?;
    files::write_atomic(path, &bytes, 0o600).map_err(save)
}
