//! What came along with a message: fetched once it was let in, looked at, and shown to the agent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracing::{info, warn};
use verso_proto::agent::v1::Attachment;

use crate::adapter::{Ability, Refusal};
use crate::dispatch::Dispatch;
use crate::media::{self, Looked, Way};
use crate::message::{Attached, Incoming, MediaKind};

/// Pictures that an agent is shown with one message, and how large each may be, in bytes.
const IMAGES_MAX: usize = 10;
const IMAGE_BYTES_MAX: usize = 5_000_000;

/// Files that are fetched for one message.
const FILES_MAX: usize = 20;

/// The longest text file that an agent reads as text, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// How often a file is asked for.
const ATTEMPTS: u32 = 3;

/// The pause before another attempt; the network may ask for more, up to the second.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
const RETRY_PAUSE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// What an agent is given besides the words of a message.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    pub(crate) attachments: Vec<Attachment>,
    /// What is said of the files.
    pub(crate) words: String,
}

impl Dispatch {
    /// Fetches what came along. A file that cannot be had is said to be missing: the words are answered without it.
    pub(crate) async fn fetch(&self, incoming: &Incoming, name: &str) -> Luggage {
        let mut luggage = Luggage::default();
        if !self.adapter.abilities().contains(&Ability::Media) {
            return luggage;
        }
        for (number, attached) in incoming.media.iter().take(FILES_MAX).enumerate() {
            let about = format!("{}:{}:{name}:{number}", self.key.channel, self.key.account);
            match self.fetch_one(attached, &about).await {
                Ok((bytes, looked)) => luggage.add(&bytes, &looked),
                Err(reason) => {
                    info!(channel = %self.key.channel, account = %self.key.account, %reason, "a file was not fetched");
                    luggage.say(&format!("[a file is missing: {reason}]"));
                }
            }
        }
        if incoming.media.len() > FILES_MAX {
            luggage.say(&format!("[more than {FILES_MAX} files: the rest is missing]"));
        }
        luggage
    }

    async fn fetch_one(&self, attached: &Attached, about: &str) -> Result<(Vec<u8>, Looked), String> {
        let bytes_max = self.profile.media_bytes_max();
        // An earlier incarnation may have fetched it.
        let bytes = if let Some(bytes) = self.shelf.find(Way::In, about).await {
            bytes
        } else {
            let bytes = self.insist(attached, bytes_max).await?;
            if let Err(error) = self.shelf.put(Way::In, about, bytes.clone()).await {
                warn!(%error, "a file could not be kept");
            }
            bytes
        };
        let looked = media::look(&bytes, attached.mime_type.as_deref(), attached.file_name.as_deref());
        Ok((bytes, looked.map_err(|error| error.to_string())?))
    }

    async fn insist(&self, attached: &Attached, bytes_max: usize) -> Result<Vec<u8>, String> {
        let megabytes = bytes_max / 1_048_576;
        if attached.bytes.is_some_and(|bytes| usize::try_from(bytes).map_or(true, |bytes| bytes > bytes_max)) {
            return Err(format!("larger than the {megabytes} MB that are taken in"));
        }
        let mut attempt = 1;
        loop {
            match self.adapter.fetch(attached, bytes_max).await {
                Ok(bytes) if bytes.len() > bytes_max => return Err(format!("larger than the {megabytes} MB that are taken in")),
                Ok(bytes) => return Ok(bytes),
                Err(Refusal::Later { after, .. }) if attempt < ATTEMPTS => {
                    tokio::time::sleep(after.unwrap_or(RETRY_PAUSE * attempt).min(RETRY_PAUSE_MAX)).await;
                }
                Err(Refusal::Unknown(_)) if attempt < ATTEMPTS => tokio::time::sleep(RETRY_PAUSE * attempt).await,
                Err(refusal) => return Err(refusal.to_string()),
            }
            attempt += 1;
        }
    }
}

impl Luggage {
    fn say(&mut self, line: &str) {
        self.words.push('\n');
        self.words.push_str(line);
    }

    fn add(&mut self, bytes: &[u8], looked: &Looked) {
        let Looked { kind, mime_type, file_name } = looked;
        let shown = matches!(kind, MediaKind::Image | MediaKind::Animation);
        if shown && bytes.len() <= IMAGE_BYTES_MAX && self.attachments.len() < IMAGES_MAX {
            self.attachments.push(Attachment {
                r#type: Some("image".to_owned()),
                mime_type: Some(mime_type.clone()),
                file_name: Some(file_name.clone()),
                content: Some(STANDARD.encode(bytes)),
            });
            return;
        }
        self.say(&format!("[file: {file_name}, {mime_type}, {} bytes]", bytes.len()));
        let text = (bytes.len() <= TEXT_BYTES_MAX && *kind == MediaKind::Document).then(|| std::str::from_utf8(bytes).ok()).flatten();
        if let Some(text) = text.filter(|text| !text.contains('\0')) {
            self.say(&format!("[contents of {file_name}]\n{text}\n[/contents]"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shown_and_short_texts_are_read() {
        let mut luggage = Luggage::default();
        let looked = |kind, mime_type: &str, name: &str| Looked { kind, mime_type: mime_type.into(), file_name: name.into() };
        luggage.add(b"picture", &looked(MediaKind::Image, "image/png", "a.png"));
        luggage.add(b"words", &looked(MediaKind::Document, "text/plain", "a.txt"));
        luggage.add(b"\xff\xfe", &looked(MediaKind::Document, "application/pdf", "a.pdf"));
        assert_eq!(luggage.attachments.len(), 1);
        assert_eq!(luggage.attachments[0].content.as_deref(), Some("cGljdHVyZQ=="));
        let expected =
            "\n[file: a.txt, text/plain, 5 bytes]\n[contents of a.txt]\nwords\n[/contents]\n[file: a.pdf, application/pdf, 2 bytes]";
        assert_eq!(luggage.words, expected);
        for _ in 0..20 {
            luggage.add(b"x", &looked(MediaKind::Image, "image/png", "b.png"));
        }
        assert_eq!(luggage.attachments.len(), IMAGES_MAX);
        let large = vec![b'x'; IMAGE_BYTES_MAX + 1];
        let mut of_large = Luggage::default();
        of_large.add(&large, &looked(MediaKind::Image, "image/png", "l.png"));
        assert_eq!((of_large.attachments.len(), of_large.words.as_str()), (0, "\n[file: l.png, image/png, 5000001 bytes]"));
    }
}
