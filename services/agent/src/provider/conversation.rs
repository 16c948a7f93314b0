//! What every dialect needs to know about a conversation.

use std::collections::HashSet;
use std::sync::Arc;

use verso_proto::agent::v1::{ChatMessage, ContentBlock};

use super::Prompt;
use crate::messages;
use crate::models::Model;

/// The longest id of a tool call that every provider takes, in bytes.
const CALL_ID_BYTES_MAX: usize = 64;

/// Stands for a question where a conversation begins with an answer.
pub(super) const BEGINNING: &str = "(the beginning of the conversation is not shown)";

/// Stands before pictures that tools have answered with, where a dialect has no place for them in the answer.
pub(super) const SHOWN: &str = "(the pictures that the tools above answered with)";

/// One side's part of a conversation, until the other has its say.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    User(&'a ChatMessage),
    Assistant(&'a ChatMessage),
    /// The results of the calls in the assistant's message before.
    Results(&'a [Arc<ChatMessage>]),
}

impl Prompt {
    /// Returns the messages by turns: results of tools that belong to one message stand together.
    pub(super) fn turns(&self) -> Vec<Turn<'_>> {
        let mut turns = Vec::with_capacity(self.messages.len());
        let mut rest = self.messages.as_slice();
        while let Some(message) = rest.first() {
            let results = rest.iter().take_while(|message| message.role == "toolResult").count();
            let used = results.max(1);
            turns.push(match message.role.as_str() {
                "toolResult" => Turn::Results(&rest[..results]),
                "assistant" => Turn::Assistant(message),
                _ => Turn::User(message),
            });
            rest = &rest[used..];
        }
        turns
    }
}

/// Removes calls without results and results without calls: every provider refuses them. A run that was stopped leaves them behind.
pub(crate) fn whole_rounds(messages: Vec<Arc<ChatMessage>>) -> Vec<Arc<ChatMessage>> {
    let mut kept: Vec<Arc<ChatMessage>> = Vec::with_capacity(messages.len());
    let mut open: HashSet<String> = HashSet::new();
    for message in messages {
        if message.role == "toolResult" {
            if message.tool_call_id.as_ref().is_some_and(|id| open.remove(id)) {
                kept.push(message);
            }
            continue;
        }
        forget_calls(&mut kept, &mut open);
        open.extend(calls(&message).filter_map(|call| call.id.clone()));
        kept.push(message);
    }
    forget_calls(&mut kept, &mut open);
    kept
}

/// Takes the calls that were never answered out of the message that made them.
fn forget_calls(kept: &mut Vec<Arc<ChatMessage>>, open: &mut HashSet<String>) {
    if open.is_empty() {
        return;
    }
    if let Some(place) = kept.iter().rposition(|message| message.role == "assistant") {
        let message = Arc::make_mut(&mut kept[place]);
        message.content.retain(|block| block.r#type != "toolCall" || block.id.as_ref().is_none_or(|id| !open.contains(id)));
        if message.content.iter().all(|block| block.r#type == "thinking") {
            kept.remove(place);
        }
    }
    open.clear();
}

/// Returns the tool calls of a message.
pub(super) fn calls(message: &ChatMessage) -> impl Iterator<Item = &ContentBlock> {
    message.content.iter().filter(|block| block.r#type == "toolCall")
}

/// Returns the arguments of a call as JSON.
pub(super) fn arguments(call: &ContentBlock) -> &str {
    call.arguments.as_ref().map_or("{}", |arguments| arguments.text.as_str())
}

/// Returns the pictures of a message, as their type and their content in base64.
pub(super) fn pictures(message: &ChatMessage) -> impl Iterator<Item = (&str, &str)> {
    let pictures = message.content.iter().filter(|block| block.r#type == "image");
    pictures.filter_map(|block| Some((block.mime_type.as_deref().unwrap_or("image/png"), block.data.as_deref()?)))
}

/// Returns the pictures of a tool's answer, if the model sees any.
pub(super) fn seen<'a>(result: &'a ChatMessage, model: &Model) -> impl Iterator<Item = (&'a str, &'a str)> {
    let sees = model.images;
    pictures(result).filter(move |_| sees)
}

/// Returns the words of a tool's answer; in the place of pictures that the model cannot see, what was there.
pub(super) fn result_words(result: &ChatMessage, model: &Model) -> String {
    let (text, hidden) = (messages::text_of(result), if model.images { 0 } else { pictures(result).count() });
    match (text.is_empty(), hidden) {
        (_, 0) => text,
        (true, _) => format!("[{hidden} picture(s), which this model cannot see]"),
        (false, _) => format!("{text}\n[{hidden} picture(s), which this model cannot see]"),
    }
}

/// Returns the words of a message; never nothing, which some providers refuse.
pub(super) fn words(message: &ChatMessage) -> String {
    let text = messages::text_of(message);
    if text.is_empty() { "(nothing)".to_owned() } else { text }
}

/// Returns the thoughts that this model's provider can be shown again: only what its own model has signed.
pub(super) fn thoughts<'a>(message: &'a ChatMessage, model: &'a Model) -> impl Iterator<Item = &'a ContentBlock> {
    let own = message.provider.as_deref() == Some(model.provider.as_str()) && message.model.as_deref() == Some(model.id.as_str());
    let own = own && message.api.as_deref() == Some(model.api());
    message.content.iter().filter(move |block| own && block.r#type == "thinking" && block.thinking_signature.is_some())
}

/// Returns the id of a call in the alphabet that every provider takes.
pub(super) fn call_id(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let start = id.len().saturating_sub(CALL_ID_BYTES_MAX);
    // The end of a long id is what tells it from others.
    id.char_indices().filter(|(place, _)| *place >= start).map(|(_, c)| plain(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(ids: &[&str], text: &str) -> ChatMessage {
        let call = |id: &&str| ContentBlock { r#type: "toolCall".to_owned(), id: Some((*id).to_owned()), ..ContentBlock::default() };
        let words = (!text.is_empty()).then(|| messages::text_block(text));
        ChatMessage {
            role: "assistant".to_owned(),
            content: words.into_iter().chain(ids.iter().map(call)).collect(),
            ..ChatMessage::default()
        }
    }

    fn result(id: &str) -> ChatMessage {
        ChatMessage { role: "toolResult".to_owned(), tool_call_id: Some(id.to_owned()), ..ChatMessage::default() }
    }

    #[test]
    fn calls_and_results_that_lost_each_other_are_left_out() {
        let user = || messages::user("u", &[], 0);
        let all = vec![result("x"), user(), called(&["a", "b"], ""), result("a"), user(), called(&["c"], "words"), called(&["d"], "")];
        let kept = whole_rounds(all.into_iter().map(Arc::new).collect());
        let roles: Vec<&str> = kept.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "toolResult", "user", "assistant"]);
        assert_eq!(calls(&kept[1]).filter_map(|call| call.id.as_deref()).collect::<Vec<_>>(), ["a"]);
        assert_eq!((calls(&kept[4]).count(), messages::text_of(&kept[4])), (0, "words".to_owned()));
    }

    #[test]
    fn ids_of_calls_fit_every_provider() {
        assert_eq!(call_id("call_1|fc.2"), "call_1_fc_2");
        assert_eq!(call_id(&"é".repeat(80)).len(), 32);
    }
}
