//! What providers send, as it came: JSON lines in a file of this user's, for whoever debugs a dialect.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tracing::warn;
use verso_kit::clock::Clock;
use verso_kit::config::Env;

use super::reading::{Parse, Step};
use super::{Delta, Failure};

/// The largest file, in bytes: a forgotten switch must not fill the disk.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Where it is written.
#[derive(Debug, Clone)]
pub(crate) struct RawStream {
    file: Arc<Mutex<Option<File>>>,
    clock: Clock,
}

impl RawStream {
    /// Opens the file that the environment asks for; none when it asks for none, or it cannot be opened.
    pub(crate) fn asked_for(env: &Env, state_dir: &Path, clock: Clock) -> Option<Self> {
        if !env.flag("VERSO_RAW_STREAM") {
            return None;
        }
        let path = env.get("VERSO_RAW_STREAM_PATH").map_or_else(|| state_dir.join("logs/raw-stream.jsonl"), PathBuf::from);
        match OpenOptions::new().append(true).create(true).mode(0o600).open(&path) {
            Ok(file) => {
                warn!(path = %path.display(), "what model providers send is written to a file in clear text");
                Some(Self { file: Arc::new(Mutex::new(Some(file))), clock })
            }
            Err(error) => {
                warn!(path = %path.display(), error = &error as &dyn std::error::Error, "could not open the file for what providers send");
                None
            }
        }
    }

    /// Has a parser's pieces written before it reads them.
    pub(super) fn record(&self, url: &str, parser: Box<dyn Parse>) -> Box<dyn Parse> {
        // What is behind the question mark may be a key.
        let url = url.split('?').next().unwrap_or_default().to_owned();
        Box::new(Recorded { to: self.clone(), url, parser })
    }

    fn write(&self, url: &str, data: &str) {
        let line = json!({"ts": self.clock.now_ms(), "event": "provider_stream", "url": url, "data": data});
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = file.as_mut()
            && let Err(error) = append(open, &format!("{line}\n"))
        {
            warn!(error = &error as &dyn std::error::Error, "what providers send is not written any more");
            *file = None;
        }
    }
}

fn append(file: &mut File, line: &str) -> io::Result<()> {
    if file.metadata()?.len() + line.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the file has reached {} MiB", FILE_BYTES_MAX >> 20)));
    }
    file.write_all(line.as_bytes())
}

struct Recorded {
    to: RawStream,
    url: String,
    parser: Box<dyn Parse>,
}

impl Parse for Recorded {
    fn piece(&mut self, data: &str) -> Result<Step, Failure> {
        self.to.write(&self.url, data);
        self.parser.piece(data)
    }

    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure> {
        self.to.write(&self.url, &String::from_utf8_lossy(body));
        self.parser.document(body)
    }
}
