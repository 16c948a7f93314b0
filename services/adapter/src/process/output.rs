//! What an adapter prints: into our log, within limits, and the last of it into the reason why it ended.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tracing::{info, warn};

/// The longest line that is passed on, in bytes.
const LINE_BYTES_MAX: usize = 4_096;

/// Lines that are passed on in a minute.
const LINES_PER_MINUTE: u32 = 200;

/// How much of the last line is told as the reason, in characters.
const LAST_WORDS_CHARS_MAX: usize = 300;

/// How long what is left of the output of an ended process is read.
const REST_TIMEOUT: Duration = Duration::from_millis(200);

type Lines<R> = FramedRead<R, LinesCodec>;

/// Both outputs of a process.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Option<Lines<ChildStdout>>,
    stderr: Option<Lines<ChildStderr>>,
    channel: String,
    account: String,
    last: Option<String>,
    minute: Instant,
    passed: u32,
}

impl Output {
    pub(super) fn of(child: &mut Child, channel: &str, account: &str) -> Self {
        let codec = || LinesCodec::new_with_max_length(LINE_BYTES_MAX);
        Self {
            stdout: child.stdout.take().map(|out| FramedRead::new(out, codec())),
            stderr: child.stderr.take().map(|out| FramedRead::new(out, codec())),
            channel: channel.to_owned(),
            account: account.to_owned(),
            last: None,
            minute: Instant::now(),
            passed: 0,
        }
    }

    /// Passes one line on; never returns when there will be none.
    pub(super) async fn pass_on(&mut self) {
        if self.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Passes on what is left.
    pub(super) async fn rest(&mut self) {
        // A child of the process may hold the pipe open for ever.
        drop(timeout(REST_TIMEOUT, async { while self.next().await.is_some() {} }).await);
    }

    /// Returns the last line that said anything.
    pub(super) fn last_words(&self) -> Option<String> {
        self.last.as_ref().map(|line| line.chars().filter(|letter| !letter.is_control()).take(LAST_WORDS_CHARS_MAX).collect())
    }

    async fn next(&mut self) -> Option<()> {
        let (line, error) = tokio::select! {
            line = next_of(&mut self.stderr), if self.stderr.is_some() => (line, true),
            line = next_of(&mut self.stdout), if self.stdout.is_some() => (line, false),
            else => return None,
        };
        match line {
            Some(Ok(line)) => self.take(&line),
            Some(Err(LinesCodecError::MaxLineLengthExceeded)) => self.take("(a line that was too long)"),
            Some(Err(LinesCodecError::Io(_))) | None if error => self.stderr = None,
            Some(Err(LinesCodecError::Io(_))) | None => self.stdout = None,
        }
        Some(())
    }

    fn take(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        self.last = Some(line.trim().to_owned());
        if self.minute.elapsed() >= Duration::from_mins(1) {
            (self.minute, self.passed) = (Instant::now(), 0);
        }
        self.passed = self.passed.saturating_add(1);
        let Self { channel, account, .. } = &*self;
        match self.passed.cmp(&LINES_PER_MINUTE) {
            std::cmp::Ordering::Less => info!(%channel, %account, line, "adapter"),
            std::cmp::Ordering::Equal => warn!(%channel, %account, "the adapter prints too much; the rest of this minute is left out"),
            std::cmp::Ordering::Greater => {}
        }
    }
}

async fn next_of<R: tokio::io::AsyncRead + Unpin>(lines: &mut Option<Lines<R>>) -> Option<Result<String, LinesCodecError>> {
    match lines {
        Some(lines) => lines.next().await,
        None => None,
    }
}
