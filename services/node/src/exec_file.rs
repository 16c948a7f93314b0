//! The file that says which programs may be run on which agent's behalf. People edit it too, so what counts is what is on disk.

use std::path::Path;
use std::{fs, io};

use sha2::{Digest as _, Sha256};
use verso_kit::files;
use verso_proto::node::v1::{ExecApprovalsDefaults, ExecApprovalsFile, ExecApprovalsSnapshot};

use crate::error::Error;
use crate::store::Store;

const NAME: &str = "exec-approvals.json";

/// The file, and who may write it.
#[derive(Debug)]
pub(crate) struct ExecFile(Store);

/// The file as it was found.
struct Found {
    /// None when there is no file.
    bytes: Option<Vec<u8>>,
    file: ExecApprovalsFile,
}

impl ExecFile {
    pub(crate) fn new(store: &Store) -> Self {
        Self(store.clone())
    }

    /// Reads the file.
    pub(crate) async fn get(&self) -> Result<ExecApprovalsSnapshot, Error> {
        self.0
            .exclusively(|folder| {
                let path = folder.join(NAME);
                Found::load(&path).map(|found| found.snapshot(&path))
            })
            .await
    }

    /// Replaces the file if it still hashes to `base_hash`. The socket's secrets, which nobody is shown, stay.
    pub(crate) async fn set(&self, mut file: ExecApprovalsFile, base_hash: Option<String>) -> Result<ExecApprovalsSnapshot, Error> {
        self.0
            .exclusively(move |folder| {
                let path = folder.join(NAME);
                let found = Found::load(&path)?;
                match base_hash.as_deref().map(str::trim).filter(|hash| !hash.is_empty()) {
                    None if found.bytes.is_some() => return Err(Error::BaseHashRequired),
                    Some(hash) if hash != found.hash() => return Err(Error::BaseHashStale),
                    None | Some(_) => {}
                }
                if let Some(known) = found.file.socket {
                    let socket = file.socket.get_or_insert_default();
                    socket.path = socket.path.take().or(known.path);
                    socket.token = socket.token.take().or(known.token);
                }
                let save = |source| Error::Save { path: path.clone(), source };
                let mut bytes = serde_json::to_vec_pretty(&file).map_err(|error| save(error.into()))?;
                bytes.push(b'\n');
                files::write_atomic(&path, &bytes, 0o600).map_err(save)?;
                Ok(Found { bytes: Some(bytes), file }.snapshot(&path))
            })
            .await
    }
}

impl Found {
    fn load(path: &Path) -> Result<Self, Error> {
        match fs::read(path) {
            Ok(bytes) => {
                let file = serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
                Ok(Self { bytes: Some(bytes), file })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { bytes: None, file: ExecApprovalsFile { version: 1, ..ExecApprovalsFile::default() } })
            }
            Err(source) => Err(Error::Load { path: path.to_owned(), source }),
        }
    }

    /// A missing file hashes like an empty one.
    fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.bytes.as_deref().unwrap_or_default()))
    }

    fn snapshot(mut self, path: &Path) -> ExecApprovalsSnapshot {
        let hash = self.hash();
        if let Some(socket) = &mut self.file.socket {
            socket.token = None;
        }
        let given = self.file.defaults.clone().unwrap_or_default();
        let resolved = ExecApprovalsDefaults {
            security: given.security.or_else(|| Some("deny".to_owned())),
            ask: given.ask.or_else(|| Some("on-miss".to_owned())),
            ask_fallback: given.ask_fallback.or_else(|| Some("deny".to_owned())),
            auto_allow_skills: given.auto_allow_skills.or(Some(false)),
        };
        ExecApprovalsSnapshot {
            path: path.display().to_string(),
            exists: self.bytes.is_some(),
            hash,
            file: Some(self.file),
            resolved_defaults: Some(resolved),
        }
    }
}
