//! Files that come in and go out: looked at, limited, and kept in the service's own folder for a while.
//!
//! Nothing that comes from outside names a file to open: what is kept gets its name here.

#[cfg(test)]
mod tests;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use verso_kit::files::create_private_dir;

use crate::message::MediaKind;

/// The largest picture, in pixels: what it becomes when it is shown is larger than its file says.
const PIXELS_MAX: usize = 50_000_000;

/// The longest name of a file, in characters.
const NAME_CHARS_MAX: usize = 80;

/// The largest files that go out, in bytes, by what they are.
const IMAGE_BYTES_MAX: usize = 6 << 20;
const SOUND_AND_VIDEO_BYTES_MAX: usize = 16 << 20;
const DOCUMENT_BYTES_MAX: usize = 100 << 20;

/// How long a file is kept that went out or waits to, at most: longer than any message waits.
const OUTBOUND_KEPT: Duration = Duration::from_hours(24);

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) kind: MediaKind,
    pub(crate) mime_type: String,
    /// With an ending that fits.
    pub(crate) file_name: String,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the file is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the picture has more than {PIXELS_MAX} pixels")]
    TooManyPixels,
    #[error("the file is empty")]
    Empty,
    #[error("the file is not valid base64")]
    Base64,
    #[error("there is no such file")]
    Unknown,
    #[error("the file could not be kept")]
    Disk(#[from] io::Error),
}

/// Says what a file is by what it holds. What its sender says of it counts only where its bytes do not tell.
pub(crate) fn look(bytes: &[u8], declared: Option<&str>, name: Option<&str>) -> Result<Looked, Unusable> {
    if bytes.is_empty() {
        return Err(Unusable::Empty);
    }
    let found = infer::get(bytes);
    let declared = declared.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    // A picture or sound that does not begin like one is a document, whatever it is called.
    let declared =
        declared.filter(|kind| kind.contains('/') && !["image/", "video/", "audio/"].iter().any(|begin| kind.starts_with(begin)));
    let mime_type =
        found.map_or_else(|| declared.unwrap_or_else(|| "application/octet-stream".to_owned()), |kind| kind.mime_type().to_owned());
    let kind = match mime_type.as_str() {
        "image/gif" => MediaKind::Animation,
        "image/jpeg" | "image/png" | "image/webp" | "image/bmp" | "image/tiff" | "image/heif" | "image/avif" => MediaKind::Image,
        kind if kind.starts_with("video/") => MediaKind::Video,
        kind if kind.starts_with("audio/") => MediaKind::Audio,
        _ => MediaKind::Document,
    };
    if matches!(kind, MediaKind::Image | MediaKind::Animation) {
        check_pixels(bytes)?;
    }
    let ending = found.map_or("bin", |found| found.extension());
    Ok(Looked { kind, mime_type, file_name: clean_name(name, ending) })
}

/// Refuses pictures that would fill the memory of whoever shows them. Only their heads are read.
fn check_pixels(bytes: &[u8]) -> Result<(), Unusable> {
    match imagesize::blob_size(bytes) {
        Ok(size) if size.width.saturating_mul(size.height) > PIXELS_MAX => Err(Unusable::TooManyPixels),
        // One whose size cannot be told is not decoded here either.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Returns the most bytes that a file of a kind may have to go out.
pub(crate) fn bytes_max(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Image | MediaKind::Sticker => IMAGE_BYTES_MAX,
        MediaKind::Animation | MediaKind::Video | MediaKind::Audio | MediaKind::Voice => SOUND_AND_VIDEO_BYTES_MAX,
        MediaKind::Document => DOCUMENT_BYTES_MAX,
    }
}

/// Reads base64, plain or as a `data:` URL. What is too large is refused before it is decoded.
pub(crate) fn decode(text: &str, bytes_max: usize) -> Result<(Vec<u8>, Option<String>), Unusable> {
    let (declared, data) = match text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((kind, data)) => (Some(kind.to_owned()), data),
        None => (None, text),
    };
    // Four characters hold three bytes.
    if data.len() / 4 > bytes_max / 3 + 1 {
        return Err(Unusable::TooLarge(bytes_max));
    }
    let bytes = STANDARD.decode(data.trim()).map_err(|_| Unusable::Base64)?;
    if bytes.len() > bytes_max { Err(Unusable::TooLarge(bytes_max)) } else { Ok((bytes, declared)) }
}

/// Returns a name that shows nothing but a name.
fn clean_name(name: Option<&str>, ending: &str) -> String {
    let name = name.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let allowed = |letter: char| if letter.is_alphanumeric() || "._- ".contains(letter) { letter } else { '_' };
    let clean: String = name.chars().take(NAME_CHARS_MAX).map(allowed).collect();
    let clean = clean.trim_matches(['.', ' ']);
    match clean {
        "" => format!("file.{ending}"),
        clean if clean.contains('.') => clean.to_owned(),
        clean => format!("{clean}.{ending}"),
    }
}

/// The folder of files. Its work blocks, so it runs beside the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// Opens the shelf at `folder`.
    pub(crate) async fn open(folder: PathBuf) -> io::Result<Self> {
        let shelf = Self { folder };
        let making = shelf.clone();
        blocking(move || [Way::In, Way::Out].into_iter().try_for_each(|way| create_private_dir(&making.place(way)))).await?;
        Ok(shelf)
    }

    /// Keeps a file. `about` names it among all others: keeping it again takes the same place. Returns the name it is found by.
    pub(crate) async fn put(&self, way: Way, about: &str, bytes: Vec<u8>) -> io::Result<String> {
        let file = hex::encode(Sha256::digest(about.as_bytes()));
        let path = self.place(way).join(&file);
        blocking(move || verso_kit::files::write_atomic(&path, &bytes, 0o600)).await?;
        Ok(file)
    }

    /// Returns a file that was kept.
    pub(crate) async fn get(&self, way: Way, file: &str) -> Result<Vec<u8>, Unusable> {
        let path = self.path(way, file).ok_or(Unusable::Unknown)?;
        blocking(move || read(&path)).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unusable::Unknown,
            _ => Unusable::Disk(error),
        })
    }

    /// Returns the file about something, if it is kept.
    pub(crate) async fn find(&self, way: Way, about: &str) -> Option<Vec<u8>> {
        self.get(way, &hex::encode(Sha256::digest(about.as_bytes()))).await.ok()
    }

    /// Forgets a file.
    pub(crate) async fn remove(&self, way: Way, file: &str) {
        let Some(path) = self.path(way, file) else { return };
        if let Err(error) = blocking(move || std::fs::remove_file(path)).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a file that was sent could not be removed");
        }
    }

    /// Forgets what was kept for longer than it may be. Returns how many files that were.
    pub(crate) async fn sweep(&self, now: SystemTime, inbound_kept: Duration) -> io::Result<usize> {
        let (inbound, outbound) = (self.place(Way::In), self.place(Way::Out));
        blocking(move || Ok(sweep(&inbound, now, inbound_kept)? + sweep(&outbound, now, OUTBOUND_KEPT)?)).await
    }

    fn place(&self, way: Way) -> PathBuf {
        self.folder.join(match way {
            Way::In => "inbound",
            Way::Out => "outbound",
        })
    }

    /// Only names that were made here are looked for.
    fn path(&self, way: Way, file: &str) -> Option<PathBuf> {
        let made_here = file.len() == 64 && file.bytes().all(|letter| letter.is_ascii_hexdigit());
        made_here.then(|| self.place(way).join(file))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use rustix::fs::{Mode, OFlags};
    // A link in the folder was not made here.
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn sweep(folder: &Path, now: SystemTime, kept: Duration) -> io::Result<usize> {
    let mut gone = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| now.duration_since(at).ok());
        if age.is_some_and(|age| age > kept) {
            std::fs::remove_file(entry.path())?;
            gone += 1;
        }
    }
    Ok(gone)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
