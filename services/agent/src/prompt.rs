//! What a model is shown: who it is, as much of the conversation as fits, and the time of each message.

pub(crate) mod shelf;
mod system;
pub(crate) mod workspace;

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use verso_proto::agent::v1::{ChatMessage, ContentBlock};

use crate::messages::{self, COMMAND, INJECTED};
use crate::models::Model;
use crate::provider::{Prompt, whole_rounds};
use crate::roster::Profile;
pub(crate) use system::{Mode, Surroundings};

#[cfg(test)]
mod tests;

/// Messages of the conversation that are shown at most.
pub(crate) const HISTORY_MESSAGES_MAX: usize = 400;

/// What a message costs beyond its words, in tokens.
const MESSAGE_TOKENS: u64 = 4;

/// What a picture costs, in tokens.
const IMAGE_TOKENS: u64 = 1_500;

/// Of the window, what the answer gets at least: one part in so many.
const ANSWER_SHARE: u64 = 4;

/// The bytes of JSON that are read for each token of the window: a message is never shorter as JSON than as tokens.
const JSON_BYTES_PER_TOKEN: u64 = 12;

/// What a prompt is made of.
#[derive(Debug)]
pub(crate) struct Ingredients<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) model: &'a Model,
    pub(crate) zone: &'a TimeZone,
    pub(crate) now_ms: i64,
    pub(crate) around: &'a Surroundings<'a>,
    /// Added to the system prompt.
    pub(crate) extra: Option<&'a str>,
    /// The conversation, the oldest first; the message to answer is the last.
    pub(crate) conversation: &'a [Arc<ChatMessage>],
}

/// Returns how many bytes of a transcript are worth reading for a model.
pub(crate) fn history_bytes_max(model: &Model) -> usize {
    usize::try_from(model.context_window.saturating_mul(JSON_BYTES_PER_TOKEN)).unwrap_or(usize::MAX)
}

/// Returns the system prompt, and the newest part of the conversation that fits the window.
pub(crate) fn build(ingredients: &Ingredients<'_>) -> Prompt {
    let system = system::prompt(ingredients);
    let reserve = ingredients.model.max_tokens.unwrap_or(0).min(ingredients.model.context_window / ANSWER_SHARE);
    let budget = ingredients.model.context_window.saturating_sub(reserve).saturating_sub(tokens(&system) + MESSAGE_TOKENS);
    let shown = fitting(ingredients.conversation, budget);
    let messages = shown.iter().filter(|message| !is_command(message)).map(|message| render(message, ingredients));
    Prompt { system, messages: whole_rounds(messages.collect()) }
}

/// Estimates how many tokens a text is: about four characters each in Latin script, one character each elsewhere.
pub(crate) fn tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let others = text.chars().count() - ascii;
    (ascii as u64).div_ceil(4) + others as u64
}

/// Returns the newest messages that fit into `budget` tokens: always the last one, and never an answer without its question.
fn fitting(conversation: &[Arc<ChatMessage>], budget: u64) -> &[Arc<ChatMessage>] {
    let (mut used, mut start) = (0_u64, conversation.len());
    for (place, message) in conversation.iter().enumerate().rev() {
        used = used.saturating_add(cost(message));
        if start < conversation.len() && used > budget {
            break;
        }
        start = place;
    }
    let shown = &conversation[start..];
    let first_question = shown.iter().position(|message| message.role == "user").unwrap_or(0);
    if start > 0 {
        return &shown[first_question..];
    }
    // The question before it may have been cut away: results without their call are refused by every provider.
    let first_said = shown.iter().position(|message| message.role != "toolResult").unwrap_or(0);
    &shown[first_said..]
}

/// Estimates how many tokens a message is.
pub(crate) fn cost(message: &ChatMessage) -> u64 {
    let block = |block: &ContentBlock| match block.r#type.as_str() {
        "image" => IMAGE_TOKENS,
        "toolCall" => tokens(block.arguments.as_ref().map_or("", |arguments| &arguments.text)) + MESSAGE_TOKENS,
        _ => tokens(block.text.as_deref().unwrap_or_default()),
    };
    message.content.iter().map(block).sum::<u64>() + MESSAGE_TOKENS
}

/// Replies of commands are for people; what somebody put into the transcript is for the model too.
fn is_command(message: &ChatMessage) -> bool {
    message.stop_reason.as_deref() == Some(INJECTED) && message.model.as_deref() == Some(COMMAND)
}

fn render(message: &Arc<ChatMessage>, ingredients: &Ingredients<'_>) -> Arc<ChatMessage> {
    let as_it_is = matches!(message.role.as_str(), "assistant" | "toolResult");
    if as_it_is { Arc::clone(message) } else { Arc::new(question(message, ingredients)) }
}

fn question(message: &ChatMessage, ingredients: &Ingredients<'_>) -> ChatMessage {
    let at_ms = message.timestamp_ms.unwrap_or(ingredients.now_ms);
    let mut text = format!("[{}] {}", stamp(at_ms, ingredients.zone, "%a %Y-%m-%d %H:%M %Z"), messages::text_of(message));
    let all = message.content.iter().filter(|block| block.r#type == "image");
    // Pictures of earlier turns are not read again.
    let (pictures, hidden): (Vec<&ContentBlock>, Vec<&ContentBlock>) =
        all.partition(|block| ingredients.model.images && block.data.is_some());
    if !hidden.is_empty() {
        text = format!("{text}\n[{} picture(s) attached, which cannot be seen here]", hidden.len());
    }
    let content = std::iter::once(messages::text_block(text)).chain(pictures.into_iter().cloned()).collect();
    ChatMessage { role: "user".to_owned(), content, timestamp_ms: message.timestamp_ms, ..ChatMessage::default() }
}

fn stamp(at_ms: i64, zone: &TimeZone, format: &str) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned(zone.clone()).strftime(format).to_string()
}
