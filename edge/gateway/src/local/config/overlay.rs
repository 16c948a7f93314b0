//! Patches that the edge itself lays over the file for somebody, the way `config.patch` does.

use serde_json::Value;
use verso_config::{Document, EditError, Error, Redactor, Snapshot};

use super::Desk;
use super::answer::resolved_leniently;
use crate::dispatch::Asking;

/// Why a patch was not laid over the file. No text here holds a secret of the file or of the patch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::local) enum NotLaid {
    /// The file as it would become cannot be used: what is wrong with it, one line each.
    #[error("{0}")]
    Refused(String),
    /// The file could not be read or written.
    #[error("{0}")]
    Failed(String),
}

/// The file, and what it says.
pub(in crate::local) struct Overlay {
    desk: Desk,
    patch: Value,
}

impl Overlay {
    /// Reads the file for a patch.
    pub(in crate::local) fn new(asking: &Asking, patch: Value) -> Result<Self, NotLaid> {
        let mut desk = Desk::of(asking).map_err(|error| NotLaid::Failed(error.message.into_owned()))?;
        desk.redactor = Redactor::of([&desk.seen.parsed, desk.seen.file.value(), &resolved_leniently(&desk.seen.file), &patch]);
        Ok(Self { desk, patch })
    }

    /// What the file says now.
    pub(in crate::local) fn present(&self) -> &Value {
        self.desk.seen.file.value()
    }

    /// Says whether the file with the patch could be used. Writes nothing.
    pub(in crate::local) fn check(&self) -> Result<(), NotLaid> {
        let checked = || {
            let stored = Document::parse(self.desk.seen.raw.as_deref().unwrap_or_default())?;
            let text = self.desk.merged(&stored, &self.patch, &[])?;
            let after = Snapshot::of_text(self.desk.store.path(), text, self.desk.seen.file.env());
            let problems: Vec<_> = after.problems.into_iter().chain(after.legacy).collect();
            if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
        };
        checked().map_err(|error| self.told(&error))
    }

    /// Writes the patch over whatever the file says by now: it only sets what was asked for, so a change that came between stays.
    pub(in crate::local) fn write(&self) -> Result<(), NotLaid> {
        self.desk.write(|_| Ok(()), |stored| self.desk.merged(stored, &self.patch, &[])).map_err(|error| self.told(&error))
    }

    fn told(&self, error: &Error) -> NotLaid {
        match error {
            Error::Invalid(problems) => {
                let lines: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
                NotLaid::Refused(self.desk.redactor.text(&lines.join("\n")))
            }
            Error::Io { .. } | Error::Link(_) | Error::Edit(EditError::TooLarge) => {
                tracing::error!(error = error as &dyn std::error::Error, "configuration not written");
                NotLaid::Failed(format!("config not written: {error}"))
            }
            other => NotLaid::Refused(self.desk.redactor.text(&other.to_string())),
        }
    }
}
