//! The page that an empty folder gets, so that there is something to see.

use std::io;
use std::path::Path;

use crate::root;

/// Ours; it talks to the app around it by the names that the apps know.
const PAGE: &str = include_str!("starter.html");

/// Creates the folder when it is missing, and its first page when it is empty. It blocks.
pub(crate) fn prepare(path: &Path) -> io::Result<()> {
    if root::prepare(path)? {
        verso_kit::files::write_atomic(&path.join("index.html"), PAGE.as_bytes(), 0o644)?;
    }
    Ok(())
}
