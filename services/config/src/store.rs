//! Changes the file: one writer at a time, on top of what the writer has seen, whole or not at all, with a way back.

mod disk;
mod generations;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use verso_kit::config::Env;
use verso_kit::files::create_private_dir;

use crate::check::Problem;
use crate::document::{Document, EditError};
use crate::redact::RestoreError;
use crate::snapshot::Snapshot;
pub use disk::{Disk, Fs};
pub use generations::{GENERATIONS_MAX, Generation};

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has changed the file since the writer looked at it.
    #[error("config changed since last load; re-run config.get and retry")]
    Changed,
    /// The writer did not say what it has seen.
    #[error("config base hash required; re-run config.get and retry")]
    BaseRequired,
    /// The file as it would become cannot be used.
    #[error("invalid config")]
    Invalid(Vec<Problem>),
    /// The file as it is cannot be changed by a patch.
    #[error("invalid config; fix before patching")]
    AlreadyInvalid,
    /// The change cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A secret cannot be put back.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// There is no generation of that number.
    #[error("no generation {0}")]
    NoGeneration(u64),
    /// Replacing a link would cut it.
    #[error("{0} is a symbolic link; configure the file that it leads to")]
    Link(PathBuf),
    /// The disk refused.
    #[error("could not {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What a change came to.
#[derive(Debug, Clone)]
pub struct Written {
    /// The text before; none when there was no file.
    pub before: Option<String>,
    /// The text now.
    pub text: String,
    /// The number under which it is kept; 0 when it could not be kept.
    pub generation: u64,
    /// Whether the text differs at all.
    pub changed: bool,
}

/// The file and what belongs to it.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    env: Env,
    fs: Arc<dyn Fs>,
}

impl Store {
    /// The file at `path`, whose variables are those of `env`.
    pub fn new(path: &Path, env: &Env) -> Self {
        Self { path: path.to_owned(), env: env.clone(), fs: Arc::new(Disk) }
    }

    /// The same on another disk, for tests.
    #[must_use]
    pub fn on(self, fs: Arc<dyn Fs>) -> Self {
        Self { fs, ..self }
    }

    /// Returns where the file is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks the file.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::read(&self.path, &self.env)
    }

    /// Changes the file. `admit` sees the present text and may refuse; `edit` makes the new one. Nobody else changes it meanwhile, and
    /// a text that cannot be used is refused. Blocks.
    pub fn change(
        &self,
        admit: impl FnOnce(Option<&str>) -> Result<(), Error>,
        edit: impl FnOnce(&Document) -> Result<String, Error>,
    ) -> Result<Written, Error> {
        self.under_lock(|| {
            let before = self.read()?;
            admit(before.as_deref())?;
            // A file that does not parse can be replaced, not edited.
            let document = Document::parse(before.as_deref().unwrap_or_default()).or_else(|_| Document::parse(""))?;
            let text = edit(&document)?;
            self.check(&text)?;
            self.replace(before, text)
        })
    }

    /// Does what [`Store::change`] would, but for the writing, and returns what the file would be. Blocks.
    pub fn rehearse(
        &self,
        admit: impl FnOnce(Option<&str>) -> Result<(), Error>,
        edit: impl FnOnce(&Document) -> Result<String, Error>,
    ) -> Result<Snapshot, Error> {
        let before = self.read()?;
        admit(before.as_deref())?;
        let document = Document::parse(before.as_deref().unwrap_or_default()).or_else(|_| Document::parse(""))?;
        Ok(Snapshot::of_text(&self.path, edit(&document)?, &self.env))
    }

    /// Lists the kept generations, the newest first.
    pub fn generations(&self) -> Result<Vec<Generation>, Error> {
        let folder = self.generations_folder();
        generations::list(&folder).map_err(|source| Error::Io { doing: "list", path: folder, source })
    }

    /// Returns the text of a generation.
    pub fn generation(&self, number: u64) -> Result<String, Error> {
        let found = self.generations()?.into_iter().find(|generation| generation.number == number).ok_or(Error::NoGeneration(number))?;
        std::fs::read_to_string(&found.path).map_err(|source| Error::Io { doing: "read", path: found.path, source })
    }

    /// Goes back to a generation, or to the one before the present text. That is a change like any other, so it can be taken back too.
    pub fn roll_back(&self, number: Option<u64>) -> Result<(u64, Written), Error> {
        let number = if let Some(number) = number {
            number
        } else {
            let present = self.read()?.map(|text| content_hash(&text));
            let mut others = self.generations()?.into_iter().filter(|generation| Some(&generation.hash) != present.as_ref());
            others.next().ok_or(Error::NoGeneration(0))?.number
        };
        let text = self.generation(number)?;
        Ok((number, self.change(|_| Ok(()), |_| Ok(text))?))
    }

    /// Returns the present text; none when there is no file.
    pub fn read(&self) -> Result<Option<String>, Error> {
        match self.fs.read(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { doing: "read", path: self.path.clone(), source }),
        }
    }

    fn check(&self, text: &str) -> Result<(), Error> {
        let snapshot = Snapshot::of_text(&self.path, text.to_owned(), &self.env);
        if snapshot.is_valid() {
            return Ok(());
        }
        Err(Error::Invalid(snapshot.problems.into_iter().chain(snapshot.legacy).collect()))
    }

    fn replace(&self, before: Option<String>, text: String) -> Result<Written, Error> {
        let io_error = |doing, source| Error::Io { doing, path: self.path.clone(), source };
        if self.path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return Err(Error::Link(self.path.clone()));
        }
        let folder = self.generations_folder();
        if before.as_deref() == Some(text.as_str()) {
            let generation = generations::latest(&folder).map_or(0, |generation| generation.number);
            return Ok(Written { before, text, generation, changed: false });
        }
        // What somebody wrote by hand is kept before it is replaced.
        if let Some(before) = &before
            && generations::latest(&folder).is_none_or(|latest| latest.hash != content_hash(before))
        {
            self.keep(before).map_err(|source| io_error("keep the previous state of", source))?;
        }
        disk::write_whole(&*self.fs, &self.path, text.as_bytes()).map_err(|source| io_error("write", source))?;
        // The file is changed already: not being able to keep a copy is not a reason to say that it is not.
        let generation = self.keep(&text).unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the new configuration was written but not kept as a generation");
            0
        });
        Ok(Written { before, text, generation, changed: true })
    }

    fn keep(&self, text: &str) -> io::Result<u64> {
        generations::keep(&*self.fs, &self.generations_folder(), text)
    }

    fn generations_folder(&self) -> PathBuf {
        self.beside(".generations")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.file_name().map_or_else(|| OsString::from("verso.json"), OsString::from);
        name.push(ending);
        self.path.with_file_name(name)
    }

    /// Processes exclude each other by a lock on a file beside, which stays: a name that is removed would be locked twice.
    fn under_lock<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let path = self.beside(".lock");
        let failed = |doing, source| Error::Io { doing, path: path.clone(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            create_private_dir(folder).map_err(|source| failed("create the folder of", source))?;
        }
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(|source| failed("open", source))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed("lock", error.into()))?;
        let result = work();
        drop::<File>(lock);
        result
    }

    /// Takes others' rights away from the file and what is kept of it. Returns whether there was anything to take.
    pub fn close_to_others(&self) -> io::Result<bool> {
        let kept = generations::list(&self.generations_folder()).unwrap_or_default().into_iter().map(|generation| generation.path);
        let mut changed = false;
        for path in std::iter::once(self.path.clone()).chain(kept) {
            let Ok(found) = path.metadata() else { continue };
            let mode = found.permissions().mode();
            if mode & 0o077 != 0 {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode & 0o700))?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

/// Names a text: hexadecimal SHA-256.
pub fn content_hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
