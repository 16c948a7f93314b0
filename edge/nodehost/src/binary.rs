//! Which file a name means, and whether it still is the same file.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// A program's file as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// Without links on the way.
    pub(crate) path: PathBuf,
    device: u64,
    inode: u64,
    size_bytes: u64,
    changed_ns: (i64, i64),
    sha256: [u8; 32],
}

impl Binary {
    /// Finds the file that `name` means in the folder `cwd` with that search path, and notes what it is. It reads the file, so it blocks.
    pub(crate) fn find(name: &str, path: &str, cwd: &Path) -> io::Result<Self> {
        let found = if name.contains('/') { cwd.join(name) } else { which(name, path).ok_or(io::ErrorKind::NotFound)? };
        Self::read(&fs::canonicalize(found)?)
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let facts = file.metadata()?;
        if !is_program(&facts) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
        }
        Ok(Self {
            path: path.to_owned(),
            device: facts.dev(),
            inode: facts.ino(),
            size_bytes: facts.len(),
            changed_ns: (facts.ctime(), facts.ctime_nsec()),
            sha256: hash.finalize().into(),
        })
    }
}

/// Finds a program on the search path; only absolute folders count, so that nothing is run from where one happens to be.
pub(crate) fn which(name: &str, path: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return None;
    }
    let folders = path.split(':').map(Path::new).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(|file| fs::metadata(file).is_ok_and(|facts| is_program(&facts)))
}

fn is_program(facts: &Metadata) -> bool {
    facts.is_file() && facts.permissions().mode() & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn sec_46_a_program_that_was_replaced_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let (tool, other) = (folder.path().join("tool"), folder.path().join("other"));
        program(&tool, "#!/bin/sh\necho one\n");
        let path = folder.path().display().to_string();
        let first = Binary::find("tool", &path, Path::new("/")).unwrap();
        assert_eq!(first, Binary::find("tool", &path, Path::new("/")).unwrap());
        program(&other, "#!/bin/sh\necho two\n");
        fs::rename(&other, &tool).unwrap();
        assert_ne!(first, Binary::find("tool", &path, Path::new("/")).unwrap());
    }

    #[test]
    fn sec_50_nothing_is_found_where_one_happens_to_be() {
        let folder = tempfile::tempdir().unwrap();
        program(&folder.path().join("tool"), "");
        for path in ["", ".", ":", "bin"] {
            assert!(Binary::find("tool", path, folder.path()).is_err(), "{path:?}");
        }
        assert!(Binary::find("./tool", "", folder.path()).is_ok(), "unless it is said so");
    }
}
