//! Files: what comes with a message and how it is fetched, and what goes with one.

use serde::{Deserialize, Serialize};
use verso_proto::adapter::v1::{MediaData, MediaKind, MediaRef};
use whatsapp_rust::download::{DownloadParams, MediaType};
use whatsapp_rust::media::{self, AudioOptions, DocumentOptions, ImageOptions, VideoOptions};
use whatsapp_rust::upload::UploadResponse;
use whatsapp_rust::waproto::whatsapp as wa;

/// The largest file that is sent, in bytes: what one message between processes holds, and some room.
pub(crate) const SENT_BYTES_MAX: u64 = 30 << 20;

/// What a file is fetched and decrypted by. It stands in the message's reference, so that it is known after a restart as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    what: What,
    path: String,
    key: String,
    hash: String,
    encrypted_hash: String,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Image,
    Video,
    Audio,
    Document,
    Sticker,
}

impl Reference {
    /// Reads the reference of a message's file.
    pub(crate) fn read(id: &str) -> Option<Self> {
        serde_json::from_str(id).ok()
    }

    /// Returns what the library fetches it by.
    pub(crate) fn params(&self) -> Option<DownloadParams> {
        let [key, hash, encrypted_hash] = [&self.key, &self.hash, &self.encrypted_hash].map(|text| hex::decode(text).ok());
        let what = match self.what {
            What::Image => MediaType::Image,
            What::Video => MediaType::Video,
            What::Audio => MediaType::Audio,
            What::Document => MediaType::Document,
            What::Sticker => MediaType::Sticker,
        };
        Some(DownloadParams::encrypted(self.path.clone(), &key?, &hash?, &encrypted_hash?, self.bytes, what))
    }
}

/// The parts of the library's messages that say where a file is.
struct Parts<'a> {
    path: &'a Option<String>,
    key: &'a Option<Vec<u8>>,
    hash: &'a Option<Vec<u8>>,
    encrypted_hash: &'a Option<Vec<u8>>,
    bytes: Option<u64>,
    mime: &'a Option<String>,
}

macro_rules! parts {
    ($message:expr) => {
        Parts {
            path: &$message.direct_path,
            key: &$message.media_key,
            hash: &$message.file_sha256,
            encrypted_hash: &$message.file_enc_sha256,
            bytes: $message.file_length,
            mime: &$message.mimetype,
        }
    };
}

fn reference(kind: MediaKind, what: What, name: Option<&String>, parts: &Parts<'_>) -> Option<MediaRef> {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(hex::encode);
    let bytes = parts.bytes.unwrap_or_default();
    let reference = Reference {
        what,
        path: parts.path.clone()?,
        key: text(parts.key)?,
        hash: text(parts.hash)?,
        encrypted_hash: text(parts.encrypted_hash)?,
        bytes,
    };
    let id = serde_json::to_string(&reference).ok()?;
    let mime = parts.mime.clone().unwrap_or_default();
    Some(MediaRef { id, kind: kind.into(), mime, name: name.cloned().unwrap_or_default(), bytes })
}

/// Returns what came with a message.
pub(crate) fn attached(message: &wa::Message) -> Option<MediaRef> {
    if let Some(image) = message.image_message.as_option() {
        return reference(MediaKind::Image, What::Image, None, &parts!(image));
    }
    if let Some(video) = message.video_message.as_option().or_else(|| message.ptv_message.as_option()) {
        let kind = if video.gif_playback == Some(true) { MediaKind::Animation } else { MediaKind::Video };
        return reference(kind, What::Video, None, &parts!(video));
    }
    if let Some(audio) = message.audio_message.as_option() {
        let kind = if audio.ptt == Some(true) { MediaKind::Voice } else { MediaKind::Audio };
        return reference(kind, What::Audio, None, &parts!(audio));
    }
    if let Some(document) = message.document_message.as_option() {
        return reference(MediaKind::Document, What::Document, document.file_name.as_ref(), &parts!(document));
    }
    let sticker = message.sticker_message.as_option()?;
    reference(MediaKind::Sticker, What::Sticker, None, &parts!(sticker))
}

/// Returns the word by which an agent is told of a file.
pub(crate) fn placeholder(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "<media:image>",
        MediaKind::Video | MediaKind::Animation => "<media:video>",
        MediaKind::Audio | MediaKind::Voice => "<media:audio>",
        MediaKind::Sticker => "<media:sticker>",
        MediaKind::Document | MediaKind::Unspecified => "<media:document>",
    }
}

/// Returns what a file is sent as.
pub(crate) fn sent_as(file: &MediaData) -> MediaType {
    match file.kind() {
        MediaKind::Image | MediaKind::Sticker => MediaType::Image,
        MediaKind::Animation if file.mime.starts_with("video/") => MediaType::Video,
        MediaKind::Video => MediaType::Video,
        MediaKind::Audio | MediaKind::Voice => MediaType::Audio,
        MediaKind::Animation | MediaKind::Document | MediaKind::Unspecified => MediaType::Document,
    }
}

/// Returns the message that an uploaded file becomes.
pub(crate) fn message(file: &MediaData, upload: UploadResponse, caption: &str, context: Option<wa::ContextInfo>) -> wa::Message {
    let caption = Some(caption.to_owned()).filter(|caption| !caption.is_empty());
    let mimetype = Some(file.mime.clone()).filter(|mime| !mime.is_empty());
    let context_info = context.map(Box::new);
    match sent_as(file) {
        MediaType::Image => media::image_message(upload, ImageOptions { caption, mimetype, context_info, ..ImageOptions::default() }),
        MediaType::Video => {
            let gif_playback = (file.kind() == MediaKind::Animation).then_some(true);
            media::video_message(upload, VideoOptions { caption, mimetype, gif_playback, context_info, ..VideoOptions::default() })
        }
        MediaType::Audio => {
            let spoken = file.kind() == MediaKind::Voice;
            let mimetype = if spoken { Some("audio/ogg; codecs=opus".to_owned()) } else { mimetype };
            media::audio_message(upload, AudioOptions { mimetype, ptt: Some(spoken), context_info, ..AudioOptions::default() })
        }
        _ => {
            let file_name = Some(file.name.clone()).filter(|name| !name.is_empty());
            media::document_message(
                upload,
                DocumentOptions { caption, mimetype, title: file_name.clone(), file_name, context_info, ..DocumentOptions::default() },
            )
        }
    }
}
