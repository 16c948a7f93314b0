//! The folder that agents work in, as the commands that set a gateway up make it.

use std::path::Path;
use std::{fs, io};

use verso_kit::files;

/// Makes the folder, readable by its owner. What is to be in it, the agent service writes when it first works there.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    files::create_private_dir(folder)
}
