//! Reading the log file from a byte offset, as `logs.tail` answers and as the CLI reads it while the gateway is down.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use verso_proto::edge::v1::{LogsTailRequest, LogsTailResponse};

use super::{Logging, log_file};
use crate::clock::Clock;

/// Lines when the caller does not say how many.
const LIMIT: i64 = 500;

/// Bytes when the caller does not say how many.
const BYTES: i64 = 250_000;

/// A log file on this machine.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
}

impl Tail {
    /// The file that is written now; when it rolls daily and today's is not there yet, the newest before it.
    pub fn current(logging: &Logging, state_dir: &Path, clock: &Clock) -> Self {
        Self::newest(log_file(logging, state_dir, clock), logging.file.is_none())
    }

    /// The file at `path`; when it rolls daily and is not there yet, the newest before it.
    fn newest(path: PathBuf, rolls: bool) -> Self {
        if path.exists() || !rolls {
            return Self { path };
        }
        let newest = path.parent().and_then(newest_in);
        Self { path: newest.unwrap_or(path) }
    }

    /// Whether there is anything to read.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads what was added after the cursor, or the end of the file without one. A file that is missing is empty.
    pub fn read(&self, request: &LogsTailRequest) -> io::Result<LogsTailResponse> {
        tail(&self.path, request)
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

fn tail(path: &Path, request: &LogsTailRequest) -> io::Result<LogsTailResponse> {
    let mut response = LogsTailResponse { file: path.display().to_string(), ..LogsTailResponse::default() };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(response),
        Err(error) => return Err(error),
    };
    let size = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
    let bytes_max = request.max_bytes.unwrap_or(BYTES);
    let newest = (size - bytes_max).max(0);
    let start = match request.cursor {
        Some(cursor) if cursor > size => {
            response.reset = true;
            response.truncated = newest > 0;
            newest
        }
        Some(cursor) if size - cursor > bytes_max => {
            (response.reset, response.truncated) = (true, true);
            newest
        }
        Some(cursor) => cursor,
        None => {
            response.truncated = newest > 0;
            newest
        }
    };
    let text = read_from(&mut file, start, size)?;
    let limit = usize::try_from(request.limit.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let lines: Vec<&str> = text.lines().collect();
    response.lines = lines[lines.len().saturating_sub(limit)..].iter().map(|line| (*line).to_owned()).collect();
    (response.cursor, response.size) = (size, size);
    Ok(response)
}

/// Reads from `start` to `end`, without the rest of a line that began before `start`.
fn read_from(file: &mut File, start: i64, end: i64) -> io::Result<String> {
    let from = u64::try_from((start - 1).max(0)).unwrap_or_default();
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(end).unwrap_or_default().saturating_sub(from)).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if start == 0 {
        return Ok(text.into_owned());
    }
    // The byte before `start` tells whether a line begins there.
    Ok(text.split_once('\n').map(|(_, whole)| whole.to_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn follows_from_the_cursor() {
        let file = file("one\ntwo\n");
        let first = tail(file.path(), &LogsTailRequest::default()).unwrap();
        assert_eq!((first.lines, first.cursor, first.truncated, first.reset), (vec!["one".into(), "two".into()], 8, false, false));
        std::fs::write(file.path(), "one\ntwo\nthree\n").unwrap();
        let next = tail(file.path(), &LogsTailRequest { cursor: Some(8), ..LogsTailRequest::default() }).unwrap();
        assert_eq!((next.lines, next.cursor), (vec!["three".to_owned()], 14));
    }

    #[test]
    fn a_cursor_past_the_end_starts_again() {
        let file = file("one\n");
        let tail = tail(file.path(), &LogsTailRequest { cursor: Some(99), ..LogsTailRequest::default() }).unwrap();
        assert_eq!((tail.reset, tail.truncated, tail.lines), (true, false, vec!["one".to_owned()]));
    }

    #[test]
    fn drops_the_partial_first_line_and_keeps_the_newest() {
        let file = file("first line\nsecond\nthird\n");
        let some = tail(file.path(), &LogsTailRequest { max_bytes: Some(16), ..LogsTailRequest::default() }).unwrap();
        assert_eq!((some.lines, some.truncated), (vec!["second".to_owned(), "third".to_owned()], true));
        let one = tail(file.path(), &LogsTailRequest { limit: Some(1), ..LogsTailRequest::default() }).unwrap();
        assert_eq!(one.lines, ["third"]);
        let whole_line = tail(file.path(), &LogsTailRequest { max_bytes: Some(13), ..LogsTailRequest::default() }).unwrap();
        assert_eq!(whole_line.lines, ["second", "third"], "a start on a line's first byte keeps the line");
    }

    #[test]
    fn a_missing_file_is_empty() {
        let tail = tail(Path::new("/nonexistent/verso.log"), &LogsTailRequest::default()).unwrap();
        assert_eq!((tail.lines.len(), tail.cursor, tail.reset), (0, 0, false));
    }

    fn request(cursor: Option<i64>, limit: i64, max_bytes: i64) -> LogsTailRequest {
        LogsTailRequest { cursor, limit: Some(limit), max_bytes: Some(max_bytes) }
    }

    #[test]
    fn follows_what_is_added_and_notices_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verso-2026-01-01.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let tail = Tail::newest(folder.path().join("verso-2026-01-02.log"), true);
        let first = tail.read(&request(None, 2, 1_000)).unwrap();
        assert_eq!(first.lines, ["two", "three"]);
        writeln!(File::options().append(true).open(&path).unwrap(), "four").unwrap();
        let second = tail.read(&request(Some(first.cursor), 2, 1_000)).unwrap();
        assert_eq!((second.lines, second.reset), (vec!["four".to_owned()], false));
        fs::write(&path, "new\n").unwrap();
        let third = tail.read(&request(Some(second.cursor), 2, 1_000)).unwrap();
        assert_eq!((third.lines, third.reset), (vec!["new".to_owned()], true));
    }

    #[test]
    fn never_begins_inside_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::write(&path, "first line\nsecond\n").unwrap();
        let tail = Tail::newest(path, false);
        assert_eq!(tail.read(&request(None, 10, 9)).unwrap().lines, ["second"]);
        assert_eq!(tail.read(&request(None, 10, 7)).unwrap().lines, ["second"], "a line that begins exactly there is whole");
        assert!(tail.read(&request(Some(0), 10, 7)).unwrap().truncated);
    }
}
