//! The log file itself, for when the gateway is down. Offsets mean the same as in `logs.tail`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use verso_proto::edge::v1::LogsTailResponse;

/// A log file on this machine.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
}

impl Tail {
    /// The file at `path`; when it rolls daily and today's is not there yet, the newest before it.
    pub(super) fn newest(path: PathBuf, rolls: bool) -> Self {
        if path.exists() || !rolls {
            return Self { path };
        }
        let newest = path.parent().and_then(newest_in);
        Self { path: newest.unwrap_or(path) }
    }

    /// Whether there is anything to read.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads what was added after `cursor`, or the end of the file without one.
    pub(super) fn read(&self, cursor: Option<i64>, lines_max: usize, bytes_max: u64) -> io::Result<LogsTailResponse> {
        let mut answer = LogsTailResponse { file: self.path.display().to_string(), ..LogsTailResponse::default() };
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(answer),
            file => file?,
        };
        let size = file.metadata()?.len();
        let end = size.saturating_sub(bytes_max);
        let cursor = cursor.and_then(|cursor| u64::try_from(cursor).ok());
        let start = match cursor {
            Some(cursor) if cursor > size => {
                answer.reset = true;
                end
            }
            Some(cursor) if cursor < end => {
                answer.truncated = true;
                end
            }
            Some(cursor) => cursor,
            None => end,
        };
        // One byte earlier: whether a line begins at `start` is told by what is before it.
        file.seek(SeekFrom::Start(start.saturating_sub(1)))?;
        let mut bytes = Vec::new();
        file.take(size - start + u64::from(start > 0)).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let whole = if start == 0 { &text[..] } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
        let lines: Vec<&str> = whole.lines().filter(|line| !line.is_empty()).collect();
        answer.lines = lines[lines.len().saturating_sub(lines_max)..].iter().map(|line| (*line).to_owned()).collect();
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        (answer.cursor, answer.size) = (size, size);
        Ok(answer)
    }
}

fn newest_in(folder: &Path) -> Option<PathBuf> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("verso-") && path.extension().is_some_and(|extension| extension == "log")
    };
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(is_ours);
    files.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn follows_what_is_added_and_notices_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verso-2026-01-01.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let tail = Tail::newest(folder.path().join("verso-2026-01-02.log"), true);
        let first = tail.read(None, 2, 1_000).unwrap();
        assert_eq!(first.lines, ["two", "three"]);
        writeln!(File::options().append(true).open(&path).unwrap(), "four").unwrap();
        let second = tail.read(Some(first.cursor), 2, 1_000).unwrap();
        assert_eq!((second.lines, second.reset), (vec!["four".to_owned()], false));
        fs::write(&path, "new\n").unwrap();
        let third = tail.read(Some(second.cursor), 2, 1_000).unwrap();
        assert_eq!((third.lines, third.reset), (vec!["new".to_owned()], true));
    }

    #[test]
    fn never_begins_inside_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::write(&path, "first line\nsecond\n").unwrap();
        let tail = Tail::newest(path, false);
        assert_eq!(tail.read(None, 10, 9).unwrap().lines, ["second"]);
        assert_eq!(tail.read(None, 10, 7).unwrap().lines, ["second"], "a line that begins exactly there is whole");
        assert!(tail.read(Some(0), 10, 7).unwrap().truncated);
    }
}
