//! From what is to be said to the messages that a network takes: texts cut, files enclosed, quotes set.

use tracing::warn;
use verso_kit::web::Fetcher;
use verso_proto::agent::v1::{Payload, ReplyFile};

use crate::adapter::{Ability, Adapter};
use crate::agent::Pieces;
use crate::dispatch::Dispatch;
use crate::gather::Batch;
use crate::media::{self, Shelf, Way};
use crate::message::{Address, Enclosed, MediaKind, Part};
use crate::profile::{ChunkMode, Profile};
use crate::text::{self, Rich};

/// Files that go with one piece of an answer.
const FILES_MAX: usize = 10;

/// The largest file that is fetched to be sent on, in bytes.
pub(crate) const FETCH_BYTES_MAX: usize = 50 << 20;

/// What an answer quotes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quote {
    /// The message that is answered.
    pub(crate) current: Option<String>,
    /// Whether an agent may choose.
    pub(crate) listens: bool,
    /// For the first message.
    pub(crate) first: Option<String>,
    /// For all messages.
    pub(crate) everywhere: Option<String>,
}

/// Makes messages for one account.
#[derive(Debug)]
pub(crate) struct Composer<'a> {
    pub(crate) adapter: &'a dyn Adapter,
    pub(crate) profile: &'a Profile,
    pub(crate) shelf: &'a Shelf,
}

/// A file that is to be sent.
#[derive(Debug)]
pub(crate) struct Luggage {
    pub(crate) bytes: Vec<u8>,
    /// What is said of it.
    pub(crate) mime_type: Option<String>,
    pub(crate) file_name: Option<String>,
}

/// How files are sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wrapping {
    /// A sound as something that was spoken.
    pub(crate) as_voice: bool,
    /// Whatever it is as a file.
    pub(crate) as_document: bool,
}

impl Dispatch {
    pub(crate) fn composer(&self) -> Composer<'_> {
        Composer { adapter: self.adapter.as_ref(), profile: &self.profile, shelf: &self.shelf }
    }

    /// Returns the messages that one piece of an answer becomes. The first takes the place of `preview`.
    pub(crate) async fn compose_answer(&self, batch: &Batch, piece: &Pieces, preview: Option<String>) -> Vec<Part> {
        let to = batch.incoming.address();
        let mut parts = Vec::new();
        for payload in &piece.payloads {
            let about = format!("{}:{}:{}:{}", self.key.channel, self.key.account, batch.name(), piece.first);
            let (files, missing) = self.composer().files(payload, &piece.files, &about).await;
            let said = self.profile.prefixed(&payload.text, &piece.agent, piece.answerer.as_ref());
            let words = if missing.is_empty() { said } else { format!("{said}\n\n{missing}") };
            let mut own = self.composer().parts(&to, &words, files);
            let quote = self.quote(&batch.incoming, piece.first == 0 && parts.is_empty());
            let chosen =
                payload.reply_to_id.clone().or_else(|| (payload.reply_to_current == Some(true)).then(|| quote.current.clone()).flatten());
            for (at, part) in own.iter_mut().enumerate() {
                let first = (at == 0).then(|| chosen.clone().filter(|_| quote.listens).or_else(|| quote.first.clone())).flatten();
                part.reply_to = first.or_else(|| quote.everywhere.clone());
            }
            parts.extend(own);
        }
        // A message of text cannot become a file.
        if let Some(first) = parts.first_mut().filter(|first| first.media.is_none()) {
            first.replaces = preview;
        }
        parts
    }
}

impl Composer<'_> {
    /// Returns the messages that a text becomes.
    pub(crate) fn texts(&self, to: &Address, words: &str) -> Vec<Part> {
        let part = |rich: Rich| Part::text(to.clone(), self.adapter.render(&rich), text::plain(&rich));
        self.chunks(words).into_iter().map(part).collect()
    }

    /// Cuts a text into pieces that the network takes.
    pub(crate) fn chunks(&self, words: &str) -> Vec<Rich> {
        let most = self.profile.text_units_max().min(self.adapter.room().text_units_max);
        let rich = text::parse(words);
        match self.profile.chunk_mode {
            ChunkMode::Length => text::chunks::split(rich, most),
            ChunkMode::Newline => text::chunks::paragraphs(rich).into_iter().flat_map(|rich| text::chunks::split(rich, most)).collect(),
        }
    }

    /// Returns the messages that a text and files become: a short text stands below the first file, a longer one comes after them.
    pub(crate) fn parts(&self, to: &Address, words: &str, files: Vec<Enclosed>) -> Vec<Part> {
        let mut texts = self.texts(to, words);
        let fits = |part: &Part| part.plain.encode_utf16().count() <= self.adapter.room().caption_units_max;
        let mut caption = if !files.is_empty() && texts.len() == 1 && texts.first().is_some_and(fits) { texts.pop() } else { None };
        let enclosed = |file: Enclosed| {
            let part = caption.take().unwrap_or_else(|| Part::text(to.clone(), String::new(), String::new()));
            Part { media: Some(file), ..part }
        };
        let mut parts: Vec<Part> = files.into_iter().map(enclosed).collect();
        parts.extend(texts);
        parts
    }

    /// Fetches the files that a payload refers to, and says which are missing.
    async fn files(&self, payload: &Payload, own: &[ReplyFile], about: &str) -> (Vec<Enclosed>, String) {
        let named = if payload.media_urls.is_empty() { payload.media_url.as_slice() } else { payload.media_urls.as_slice() };
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        let wrapping = Wrapping { as_voice: payload.audio_as_voice == Some(true), as_document: false };
        for (number, reference) in named.iter().take(FILES_MAX).enumerate() {
            let enclosed = match own.iter().find(|file| file.reference == *reference) {
                _ if !self.adapter.abilities().contains(&Ability::Media) => Err("this network takes no files".to_owned()),
                Some(file) => Ok(Luggage {
                    bytes: file.content.clone(),
                    mime_type: Some(file.mime_type.clone()),
                    file_name: Some(file.file_name.clone()),
                }),
                None => self.fetch(reference).await,
            };
            let enclosed = match enclosed {
                Ok(luggage) => self.enclose(luggage, wrapping, &format!("{about}:{number}")).await.map_err(|error| error.to_string()),
                Err(reason) => Err(reason),
            };
            match enclosed {
                Ok(enclosed) => files.push(enclosed),
                // An address can be followed by whoever reads it.
                Err(_) if is_address(reference) && !self.adapter.abilities().contains(&Ability::Media) => missing.push(reference.clone()),
                Err(reason) => {
                    warn!(%reason, "a file of an answer could not be sent");
                    missing.push(format!("⚠️ A file could not be sent: {reason}"));
                }
            }
        }
        (files, missing.join("\n"))
    }

    /// Fetches a file by its address. A path is none: nothing of this host is read because somebody names it.
    pub(crate) async fn fetch(&self, reference: &str) -> Result<Luggage, String> {
        if reference.starts_with("data:") {
            let (bytes, mime_type) = media::decode(reference, FETCH_BYTES_MAX).map_err(|error| error.to_string())?;
            return Ok(Luggage { bytes, mime_type, file_name: None });
        }
        if !is_address(reference) {
            return Err("files are sent from https addresses, not from paths of this host".to_owned());
        }
        let web = Fetcher { hosts_allowed: self.profile.media_allow_hosts.clone() };
        let fetched = web.get(reference, FETCH_BYTES_MAX).await.map_err(|error| error.to_string())?;
        Ok(Luggage { bytes: fetched.bytes, mime_type: fetched.mime_type, file_name: fetched.file_name })
    }

    /// Keeps a file until it is sent. `about` names it among all others.
    pub(crate) async fn enclose(&self, luggage: Luggage, wrapping: Wrapping, about: &str) -> Result<Enclosed, media::Unusable> {
        let Luggage { bytes, mime_type, file_name } = luggage;
        let looked = media::look(&bytes, mime_type.as_deref(), file_name.as_deref())?;
        let spoken = wrapping.as_voice && looked.kind == MediaKind::Audio && looked.mime_type.contains("ogg");
        let kind = match looked.kind {
            _ if wrapping.as_document => MediaKind::Document,
            MediaKind::Audio if spoken => MediaKind::Voice,
            // A picture that is too large for a picture goes as a file.
            kind if bytes.len() > media::bytes_max(kind) => MediaKind::Document,
            kind => kind,
        };
        if bytes.len() > media::bytes_max(kind) {
            return Err(media::Unusable::TooLarge(media::bytes_max(kind)));
        }
        let file = self.shelf.put(Way::Out, about, bytes).await?;
        Ok(Enclosed { file, kind, mime_type: looked.mime_type, file_name: looked.file_name })
    }
}

fn is_address(reference: &str) -> bool {
    reference.starts_with("https://") || reference.starts_with("http://")
}
