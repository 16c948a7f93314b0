//! Keeps an edge that was replaced from writing what is its successor's now.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use verso_kit::files;

/// Who may write the edge's files: the incarnation whose number is the highest that has claimed them.
///
/// While connections are handed over two edges run, and the earlier one still answers what it was asked. So the next one claims the files
/// once that is over; until then, whoever of them writes first has them.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    path: Arc<PathBuf>,
    epoch: u64,
}

impl Fence {
    /// The fence of a state folder, for the incarnation `epoch`.
    pub(crate) fn new(state_dir: &Path, epoch: u64) -> Self {
        Self { path: Arc::new(state_dir.join("edge").join("epoch")), epoch }
    }

    /// Takes the files over: edges with lower numbers write no more. It blocks.
    pub(crate) fn claim(&self) -> io::Result<()> {
        self.enter().map(drop)
    }

    /// Keeps other edges out until what is returned is dropped, and takes the files over; fails for an edge that was replaced. It blocks.
    pub(crate) fn enter(&self) -> io::Result<File> {
        files::create_private_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&*self.path)?;
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // One that was cut short by the end of the machine says nothing: no earlier edge has outlived that.
        let claimed: u64 = text.trim().parse().unwrap_or(0);
        if claimed > self.epoch {
            return Err(io::Error::other(format!("edge {claimed} has taken over from edge {}", self.epoch)));
        }
        if claimed < self.epoch {
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(self.epoch.to_string().as_bytes())?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_74_an_edge_that_was_replaced_writes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Fence::new(folder.path(), 3), Fence::new(folder.path(), 4));
        drop(old.enter().unwrap());
        new.claim().unwrap();
        assert!(old.enter().unwrap_err().to_string().contains("edge 4 has taken over"));
        drop(new.enter().unwrap());
        Fence::new(folder.path(), 12).claim().unwrap();
        new.enter().unwrap_err();
    }
}
