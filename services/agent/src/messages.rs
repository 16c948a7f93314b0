//! Transcript messages: how they are made and read.

use verso_proto::agent::v1::{ChatMessage, ContentBlock, MessagePlace, MessageUsage, Usage};

use crate::store::Placed;

/// The stop reason of a message that no model wrote.
pub(crate) const INJECTED: &str = "injected";

/// The provider of a message that no model wrote.
pub(crate) const OURSELVES: &str = "verso";

/// Whether these are the words of a model, and not our own about something else.
pub(crate) fn is_a_model(provider: &str, model: &str) -> bool {
    provider != OURSELVES || model == crate::models::OFFLINE_MODEL
}

/// The `model` of a command's reply, which is not shown to models.
pub(crate) const COMMAND: &str = "command";

/// A picture that a user attached.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Image {
    pub(crate) mime_type: String,
    /// Base64.
    pub(crate) data: String,
}

/// Who wrote an assistant's message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author<'a> {
    /// The provider's dialect.
    pub(crate) api: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
}

/// Returns a block of text.
pub(crate) fn text_block(text: impl Into<String>) -> ContentBlock {
    ContentBlock { r#type: "text".to_owned(), text: Some(text.into()), ..ContentBlock::default() }
}

/// Returns what a user says.
pub(crate) fn user(text: &str, images: &[Image], at_ms: i64) -> ChatMessage {
    let pictures = images.iter().map(|image| ContentBlock {
        r#type: "image".to_owned(),
        mime_type: Some(image.mime_type.clone()),
        data: Some(image.data.clone()),
        ..ContentBlock::default()
    });
    let words = (!text.is_empty() || images.is_empty()).then(|| text_block(text));
    ChatMessage {
        role: "user".to_owned(),
        content: words.into_iter().chain(pictures).collect(),
        timestamp_ms: Some(at_ms),
        ..ChatMessage::default()
    }
}

/// Messages that their senders recognise.
pub(crate) trait Named {
    /// Names a user's message after the run that answers it.
    fn named(self, run_id: &str) -> Self;
}

impl Named for ChatMessage {
    fn named(self, run_id: &str) -> Self {
        Self { idempotency_key: Some(format!("{run_id}:user")), ..self }
    }
}

/// Puts what a session heard since its last turn, a line each, above what the user says.
pub(crate) fn after_events(mut message: ChatMessage, heard: &[String]) -> ChatMessage {
    if !heard.is_empty() {
        let text = format!("{}\n\n{}", heard.join("\n"), text_of(&message));
        message = with_text(message, text);
    }
    message
}

/// Replaces the words of a message, and keeps the rest.
pub(crate) fn with_text(mut message: ChatMessage, text: String) -> ChatMessage {
    let others = message.content.into_iter().filter(|block| block.r#type != "text");
    message.content = std::iter::once(text_block(text)).chain(others).collect();
    message
}

/// Returns what an assistant says.
pub(crate) fn assistant(content: Vec<ContentBlock>, author: Author<'_>, usage: &Usage, stop_reason: &str, at_ms: i64) -> ChatMessage {
    ChatMessage {
        role: "assistant".to_owned(),
        content,
        timestamp_ms: Some(at_ms),
        api: Some(author.api.to_owned()),
        provider: Some(author.provider.to_owned()),
        model: Some(author.model.to_owned()),
        usage: Some(MessageUsage {
            input: usage.input,
            output: usage.output,
            cache_read: Some(usage.cache_read),
            cache_write: Some(usage.cache_write),
            total_tokens: usage.total,
        }),
        stop_reason: Some(stop_reason.to_owned()),
        ..ChatMessage::default()
    }
}

/// Returns an assistant's message that no model wrote: a command's reply, or what somebody put into the transcript.
pub(crate) fn injected(text: &str, model: &str, at_ms: i64) -> ChatMessage {
    ChatMessage {
        role: "assistant".to_owned(),
        content: vec![text_block(text)],
        timestamp_ms: Some(at_ms),
        provider: Some(OURSELVES.to_owned()),
        model: Some(model.to_owned()),
        usage: Some(MessageUsage::default()),
        stop_reason: Some(INJECTED.to_owned()),
        ..ChatMessage::default()
    }
}

/// Returns an assistant's message as events show it: words and time only.
pub(crate) fn shown(text: &str, at_ms: i64) -> ChatMessage {
    ChatMessage { role: "assistant".to_owned(), content: vec![text_block(text)], timestamp_ms: Some(at_ms), ..ChatMessage::default() }
}

/// Names a message: by its transcript, and its place in it.
pub(crate) fn id(session_id: &str, position: i64) -> String {
    format!("{session_id}.{position}")
}

/// Reads the place of a message in the transcript `session_id` from its id.
pub(crate) fn position(session_id: &str, id: &str) -> Option<i64> {
    id.strip_prefix(session_id)?.strip_prefix('.')?.parse().ok()
}

/// Returns a message that says where it stands.
pub(crate) fn with_place(session_id: &str, placed: Placed) -> ChatMessage {
    let place = MessagePlace {
        id: id(session_id, placed.position),
        seq: placed.position + 1,
        idempotency_key: placed.message.idempotency_key.clone(),
    };
    ChatMessage { place: Some(place), ..placed.message }
}

/// Returns the words of a message.
pub(crate) fn text_of(message: &ChatMessage) -> String {
    let mut texts = message.content.iter().filter(|block| block.r#type == "text").filter_map(|block| block.text.as_deref());
    let mut text = texts.next().unwrap_or_default().to_owned();
    for more in texts {
        text.push('\n');
        text.push_str(more);
    }
    text
}

/// Returns how much of a message is pictures, in bytes.
pub(crate) fn picture_bytes(message: &ChatMessage) -> usize {
    message.content.iter().filter_map(|block| block.data.as_ref()).map(String::len).sum()
}

/// Takes the pictures out of a message, and says so: a list of messages would be too large with them.
pub(crate) fn without_pictures(mut message: ChatMessage) -> ChatMessage {
    for block in &mut message.content {
        if block.data.take().is_some() {
            block.omitted = Some(true);
        }
    }
    message
}

/// Puts a text on one line, and cuts it after `chars_max` characters.
pub(crate) fn shorten(text: &str, chars_max: usize) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match folded.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &folded[..end]),
        None => folded,
    }
}

/// Cuts a text after `chars_max` characters, and shows that it does.
pub(crate) fn cut(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.push('…');
    }
}
