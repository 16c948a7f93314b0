//! `logs.tail`: log lines from a byte offset.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use verso_kit::telemetry::{Logging, log_file};
use verso_proto::edge::v1::{LogsTailRequest, LogsTailResponse};
use verso_protocol::{Code, ErrorShape};

use super::Local;
use crate::dispatch::Asking;

/// Lines when the caller does not say how many.
const LIMIT: i64 = 500;

/// Bytes when the caller does not say how many.
const BYTES: i64 = 250_000;

pub(super) fn register(local: &mut Local) {
    local.on::<LogsTailRequest, _, _>(|asking, request| async move {
        let path = path(&asking);
        let tail = tokio::task::spawn_blocking(move || tail(&path, &request)).await.map_err(io::Error::other).flatten();
        tail.map_err(|error| ErrorShape::new(Code::Unavailable, format!("log read failed: {error}")))
    });
}

/// Today's file, or the newest one when today has none yet.
fn path(asking: &Asking) -> PathBuf {
    let context = &asking.gateway.context;
    let logging: Logging = context.config.section("logging").unwrap_or_default();
    let today = log_file(&logging, &context.state_dir, &context.clock);
    if logging.file.is_some() || today.exists() {
        return today;
    }
    let folder = today.parent().map(Path::to_owned).unwrap_or_default();
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let dated = files.filter(|path| {
        path.extension().is_some_and(|ending| ending == "log")
            && path.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("verso-"))
    });

    dated.max().unwrap_or(today)
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
}
