//! How several messages become one, and what is told of those that were dropped.

use super::super::run::Request;
use crate::messages::{self, Image};

/// What stands above messages that waited together.
const TITLE: &str = "[These messages came while you were busy. Answer them together.]";

/// The longest line about a dropped message, in characters.
const DROPPED_CHARS_MAX: usize = 160;

/// Returns what several messages say together, and their pictures.
pub(super) fn together<'a>(requests: impl Iterator<Item = &'a Request>) -> (String, Vec<Image>) {
    let (mut text, mut pictures) = (TITLE.to_owned(), Vec::new());
    for (number, request) in (1..).zip(requests) {
        text.push_str("\n\n---\nQueued #");
        text.push_str(&number.to_string());
        text.push('\n');
        text.push_str(request.message.trim());
        pictures.extend(request.images.iter().cloned());
    }
    (text, pictures)
}

/// Returns the line by which a dropped message is remembered.
pub(super) fn line(request: &Request) -> String {
    messages::shorten(&request.message, DROPPED_CHARS_MAX)
}

/// Puts what is remembered of dropped messages above a text.
pub(crate) fn dropped(count: i64, lines: &[String], text: &str) -> String {
    let noun = if count == 1 { "message" } else { "messages" };
    let title = format!("[Too much was waiting: {count} older {noun} will not be answered one by one.]");
    let lines = lines.join("\n- ");
    let list = if lines.is_empty() { lines } else { format!("\n- {lines}") };
    format!("{title}{list}\n\n{text}")
}
