//! The text of a PDF. Whoever sent it may have made it to exhaust or break its reader, so that each is read in a process of its own: with
//! little memory, little time, no environment of ours, and nothing to do but this.

use std::io::{self, Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use lopdf::{DecompressError, Document, LoadOptions};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The hidden command that reads its standard input as [`run`] does.
const COMMAND: &str = "pdf-text";

/// Memory of one reader, in bytes.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// What one packed part of a file, or the content of one page, may unfold to, in bytes: kilobytes may hold gibibytes.
const UNFOLDED_BYTES_MAX: usize = 64 << 20;

/// What one reader may compute, in seconds.
const CPU_SECONDS_MAX: u64 = 10;

/// How long one may take all in all.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Readers at the same time; further files wait.
const READERS_MAX: usize = 2;

/// The allocator takes memory as it is needed. It would reserve more than [`MEMORY_BYTES_MAX`] at its start, before that limit holds, and be
/// left with what happens to fit into its reserve.
const ALLOCATOR: (&str, &str) = ("MIMALLOC_DISALLOW_ARENA_ALLOC", "1");

/// The largest text, in bytes.
const TEXT_BYTES_MAX: u64 = 4 << 20;

static READERS: Semaphore = Semaphore::const_new(READERS_MAX);

/// Why a file has no text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no process to read it.
    #[error("could not start a reader of PDF files")]
    Start(#[source] io::Error),
    /// It takes longer than it may.
    #[error("a PDF file was not read within {} s", TIME_MAX.as_secs())]
    TimedOut,
    /// It is no PDF, or one that the reader did not survive.
    #[error("a PDF file could not be read: its reader ended with {0}")]
    Unreadable(std::process::ExitStatus),
}

/// Returns the text of the first pages of a file.
pub(crate) async fn text(file: &[u8], pages_max: usize) -> Result<String, Error> {
    let reading = async {
        // Never closed.
        let _place = READERS.acquire().await;
        let program = std::env::current_exe().map_err(Error::Start)?;
        let mut command = Command::new(program);
        command.args([COMMAND, "--pages", &pages_max.to_string()]).env_clear().env(ALLOCATOR.0, ALLOCATOR.1);
        command.current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut reader = command.spawn().map_err(Error::Start)?;
        let (stdin, stdout) = (reader.stdin.take(), reader.stdout.take());
        let tell = async {
            if let Some(mut stdin) = stdin {
                // One that has seen enough may hang up.
                drop(stdin.write_all(file).await);
            }
        };
        let hear = async {
            let mut text = Vec::new();
            if let Some(stdout) = stdout {
                drop(stdout.take(TEXT_BYTES_MAX).read_to_end(&mut text).await);
            }
            text
        };
        let ((), text) = tokio::join!(tell, hear);
        let status = reader.wait().await.map_err(Error::Start)?;
        if status.success() { Ok(String::from_utf8_lossy(&text).into_owned()) } else { Err(Error::Unreadable(status)) }
    };
    timeout(TIME_MAX, reading).await.unwrap_or(Err(Error::TimedOut))
}

/// Reads a PDF from standard input and writes the text of its first pages to standard output. This process may do no more than that takes.
pub fn run(pages_max: usize) -> io::Result<()> {
    let fixed = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::Data, fixed(MEMORY_BYTES_MAX))?;
    setrlimit(Resource::Cpu, fixed(CPU_SECONDS_MAX))?;
    setrlimit(Resource::Core, fixed(0))?;
    let mut file = Vec::new();
    io::stdin().lock().read_to_end(&mut file)?;
    let text = read(&file, pages_max).map_err(io::Error::other)?;
    let mut out = io::stdout().lock();
    // Its reader takes no more than it has room for.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Pages are parted by an empty line. One whose text cannot be found is left out; one that unfolds without end condemns its file.
fn read(file: &[u8], pages_max: usize) -> Result<String, lopdf::Error> {
    let document = Document::load_mem_with_options(file, LoadOptions::with_max_decompressed_size(UNFOLDED_BYTES_MAX))?;
    let mut texts = Vec::new();
    for page in document.get_pages().into_keys().take(pages_max) {
        match document.extract_text_with_limit(&[page], UNFOLDED_BYTES_MAX) {
            Ok(text) => texts.push(text.trim().to_owned()),
            Err(error @ lopdf::Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => return Err(error),
            Err(_) => {}
        }
    }
    texts.retain(|text| !text.is_empty());
    Ok(texts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// A file of so many pages, each of which says its number.
    fn file(pages: usize) -> Vec<u8> {
        let kids: Vec<String> = (0..pages).map(|page| format!("{} 0 R", 4 + page * 2)).collect();
        let mut objects = vec![
            "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
            format!("<</Type/Pages/Kids[{}]/Count {pages}>>", kids.join(" ")),
            "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
        ];
        for page in 0..pages {
            let words = format!("BT /F1 12 Tf 72 720 Td (page {page}) Tj ET");
            objects.push(format!(
                "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>/Contents {} 0 R>>",
                5 + page * 2
            ));
            objects.push(format!("<</Length {}>>stream\n{words}\nendstream", words.len()));
        }
        let (mut text, mut places) = ("%PDF-1.4\n".to_owned(), Vec::new());
        for (index, object) in objects.iter().enumerate() {
            places.push(text.len());
            write!(text, "{} 0 obj\n{object}\nendobj\n", index + 1).unwrap();
        }
        let table = text.len();
        write!(text, "xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).unwrap();
        for place in &places {
            writeln!(text, "{place:010} 00000 n ").unwrap();
        }
        write!(text, "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n", places.len() + 1).unwrap();
        text.into_bytes()
    }

    #[test]
    fn the_first_pages_are_read() {
        assert_eq!(read(&file(2), 4).unwrap(), "page 0\n\npage 1");
        assert_eq!(read(&file(9), 2).unwrap(), "page 0\n\npage 1");
        assert!(read(b"no pdf", 4).is_err());
    }
}
