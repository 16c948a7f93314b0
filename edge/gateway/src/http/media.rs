//! Pictures and files of a request: within limits that are looked at before anything is decoded, and fetched only past the guard of the
//! agent service.

mod documents;
mod pictures;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tracing::info;
use verso_proto::agent::v1::{Attachment, FetchMediaRequest};

use super::prompt::{Part, Source};
use crate::gateway::Gateway;

/// What a picture may be.
const PICTURE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// What a file may be.
const FILE_TYPES: [&str; 6] = ["text/plain", "text/markdown", "text/html", "text/csv", "application/json", documents::PDF];

/// Limits of one kind of media, as configured.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Section {
    allow_url: Option<bool>,
    allowed_mimes: Option<Vec<String>>,
    url_allowlist: Vec<String>,
    max_bytes: Option<usize>,
    /// Characters of a file's text.
    max_chars: Option<usize>,
    max_redirects: Option<i64>,
    timeout_ms: Option<i64>,
    pdf: Pdf,
}

/// Limits of PDF files, as configured.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Pdf {
    max_pages: Option<usize>,
}

/// Limits of one kind of media.
#[derive(Debug)]
struct Limits {
    url_allowed: bool,
    types: Vec<String>,
    hosts: Vec<String>,
    bytes_max: usize,
    chars_max: usize,
    /// Pages of a PDF that are read.
    pages_max: usize,
    redirects_max: i64,
    timeout_ms: i64,
}

impl Section {
    fn limits(&self, url_allowed: bool, types: &[&str], bytes_max: usize) -> Limits {
        let own = self.allowed_mimes.clone().filter(|types| !types.is_empty());
        Limits {
            url_allowed: self.allow_url.unwrap_or(url_allowed),
            types: own.unwrap_or_else(|| types.iter().map(|kind| (*kind).to_owned()).collect()),
            hosts: self.url_allowlist.clone(),
            bytes_max: self.max_bytes.unwrap_or(bytes_max),
            chars_max: self.max_chars.unwrap_or(200_000),
            pages_max: self.pdf.max_pages.unwrap_or(4),
            redirects_max: self.max_redirects.unwrap_or(3),
            timeout_ms: self.timeout_ms.unwrap_or(10_000),
        }
    }
}

/// The limits of one API.
#[derive(Debug)]
pub(super) struct Policy {
    pictures: Limits,
    files: Limits,
    /// Parts of one request that may be fetched.
    url_parts_max: usize,
    /// Pictures of one request.
    pictures_max: usize,
    /// Bytes of all pictures together.
    total_bytes_max: usize,
}

impl Policy {
    /// The limits of the chat API, which has no files. Pictures are fetched only where that is configured.
    pub(super) fn chat(images: &Section, pictures_max: Option<usize>, total_bytes_max: Option<usize>) -> Self {
        Self {
            pictures: images.limits(false, &PICTURE_TYPES, 10 << 20),
            files: Section::default().limits(false, &FILE_TYPES, 5 << 20),
            url_parts_max: pictures_max.unwrap_or(8),
            pictures_max: pictures_max.unwrap_or(8),
            total_bytes_max: total_bytes_max.unwrap_or(20 << 20),
        }
    }

    /// The limits of the responses API.
    pub(super) fn responses(images: &Section, files: &Section, url_parts_max: Option<usize>) -> Self {
        Self {
            pictures: images.limits(true, &PICTURE_TYPES, 10 << 20),
            files: files.limits(true, &FILE_TYPES, 5 << 20),
            url_parts_max: url_parts_max.unwrap_or(8),
            pictures_max: 8,
            total_bytes_max: 20 << 20,
        }
    }

    /// The largest picture or file, in bytes.
    pub(super) fn part_bytes_max(&self) -> usize {
        self.pictures.bytes_max.max(self.files.bytes_max)
    }
}

/// Why a part cannot be used. The words are for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("more than {0} images")]
    TooManyPictures(usize),
    #[error("more than {0} parts are to be fetched")]
    TooManyUrls(usize),
    #[error("fetching by URL is turned off")]
    UrlsOff,
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    #[error("the images are larger than {0} bytes together")]
    TooLargeTogether(usize),
    #[error("Unsupported {what} MIME type: {kind}")]
    Type { what: &'static str, kind: String },
    #[error("invalid base64 content")]
    Base64,
    #[error("invalid data URL")]
    DataUrl,
    #[error("no picture that can be read")]
    NoPicture,
    #[error("no PDF that can be read")]
    NoPdf,
    #[error("more than {0} pixels")]
    TooManyPixels(u64),
    #[error("neither an address nor data")]
    Unreadable,
    /// Why is in the log: whoever asks might learn about networks that he cannot see.
    #[error("invalid request")]
    Fetch,
}

/// What a request brings along.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Loaded {
    pub(super) pictures: Vec<Attachment>,
    /// Texts of files, for the system prompt.
    pub(super) documents: Vec<String>,
}

impl Loaded {
    /// Returns what is added to the system prompt: what the request says itself, then the texts of its files.
    pub(super) fn system(documents: Vec<String>, own: Option<String>) -> Option<String> {
        let texts: Vec<String> = own.into_iter().chain(documents).collect();
        (!texts.is_empty()).then(|| texts.join("\n\n"))
    }
}

/// Decodes or fetches everything, one after the other: what one request holds in memory stays within its limits.
pub(super) async fn load(gateway: &Gateway, parts: Vec<Part>, policy: &Policy) -> Result<Loaded, Error> {
    let is_remote = |source: &Source| matches!(source, Source::Url(url) if !url.starts_with("data:"));
    let remote = |part: &&Part| matches!(part, Part::Picture(source) | Part::File { source, .. } if is_remote(source));
    if parts.iter().filter(remote).count() > policy.url_parts_max {
        return Err(Error::TooManyUrls(policy.url_parts_max));
    }
    if parts.iter().filter(|part| matches!(part, Part::Picture(_))).count() > policy.pictures_max {
        return Err(Error::TooManyPictures(policy.pictures_max));
    }
    let mut loaded = Loaded::default();
    let mut total_bytes = 0;
    for part in parts {
        match part {
            Part::Picture(source) => {
                let content = get(gateway, source, &policy.pictures).await?;
                total_bytes += content.bytes.len();
                if total_bytes > policy.total_bytes_max {
                    return Err(Error::TooLargeTogether(policy.total_bytes_max));
                }
                loaded.pictures.push(pictures::attachment(&content, &policy.pictures)?);
            }
            Part::File { source, name } => {
                let content = get(gateway, source, &policy.files).await?;
                loaded.documents.push(documents::text(&content, name.as_deref(), &policy.files).await?);
            }
        }
    }
    Ok(loaded)
}

/// What a part holds.
#[derive(Debug)]
struct Content {
    /// As its sender or its server says, with parameters.
    media_type: Option<String>,
    bytes: Vec<u8>,
}

impl Content {
    /// The type without parameters, in lower case.
    fn plain_type(&self) -> Option<String> {
        let kind = self.media_type.as_deref()?.split(';').next()?.trim().to_ascii_lowercase();
        (!kind.is_empty()).then_some(kind)
    }
}

async fn get(gateway: &Gateway, source: Source, limits: &Limits) -> Result<Content, Error> {
    match source {
        Source::Base64 { media_type, data } => decode(media_type, &data, limits.bytes_max),
        Source::Url(url) => match url.strip_prefix("data:") {
            Some(data) => data_url(data, limits.bytes_max),
            None => fetch(gateway, url, limits).await,
        },
        Source::Unreadable => Err(Error::Unreadable),
    }
}

/// Reads `<type>;base64,<data>`.
fn data_url(rest: &str, bytes_max: usize) -> Result<Content, Error> {
    let (head, data) = rest.split_once(',').ok_or(Error::DataUrl)?;
    let kind = head.strip_suffix(";base64").ok_or(Error::DataUrl)?;
    decode(Some(kind.to_owned()).filter(|kind| !kind.is_empty()), data, bytes_max)
}

fn decode(media_type: Option<String>, data: &str, bytes_max: usize) -> Result<Content, Error> {
    // Refused before it is decoded: four characters hold three bytes.
    if data.len() / 4 * 3 > bytes_max + 3 {
        return Err(Error::TooLarge(bytes_max));
    }
    let bytes = STANDARD.decode(data.trim()).map_err(|_| Error::Base64)?;
    if bytes.len() > bytes_max { Err(Error::TooLarge(bytes_max)) } else { Ok(Content { media_type, bytes }) }
}

async fn fetch(gateway: &Gateway, url: String, limits: &Limits) -> Result<Content, Error> {
    if !limits.url_allowed {
        return Err(Error::UrlsOff);
    }
    let request = FetchMediaRequest {
        url,
        bytes_max: i64::try_from(limits.bytes_max).unwrap_or(i64::MAX),
        redirects_max: limits.redirects_max,
        timeout_ms: limits.timeout_ms,
        hosts_allowed: limits.hosts.clone(),
    };
    let fetched = gateway.services.call(request).await.map_err(|status| {
        info!(error = status.message(), "a picture or file of a request was not fetched");
        Error::Fetch
    })?;
    Ok(Content { media_type: fetched.media_type, bytes: fetched.content })
}

#[cfg(test)]
mod tests;
