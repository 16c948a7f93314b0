//! What people on chat networks see besides a model's words: its thoughts before them, what they have used below them.

use verso_proto::agent::v1::{ChatMessage, Payload, Usage};

use super::run::Request;
use crate::store::SessionRecord;

/// Adds what the session or the message asks for. Clients that are no chat network see it by themselves.
pub(super) fn add(payloads: &mut Vec<Payload>, request: &Request, session: &SessionRecord, added: &[ChatMessage], usage: Option<Usage>) {
    if request.route.is_none() || payloads.is_empty() {
        return;
    }
    let reasoning = request.inline.reasoning.as_deref().or(session.settings.reasoning_level.as_deref());
    if reasoning == Some("on") {
        let blocks = added.iter().flat_map(|message| &message.content);
        let thoughts: Vec<&str> =
            blocks.filter_map(|block| block.thinking.as_deref()).map(str::trim).filter(|text| !text.is_empty()).collect();
        if !thoughts.is_empty() {
            payloads.insert(0, Payload { text: format!("Reasoning:\n{}", thoughts.join("\n\n")), ..Payload::default() });
        }
    }
    let (Some(usage), Some(last)) = (usage, payloads.last_mut()) else { return };
    let line = match session.settings.response_usage.as_deref() {
        Some("tokens") => format!("Usage: {} in / {} out", usage.input, usage.output),
        Some("full") => format!("Usage: {} in / {} out · session {}", usage.input, usage.output, session.key),
        _ => return,
    };
    last.text = if last.text.is_empty() { line } else { format!("{}\n\n{line}", last.text) };
}
