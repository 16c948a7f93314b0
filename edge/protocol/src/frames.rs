//! Frames: reading requests, writing responses and events.

#[cfg(test)]
mod fuzz;
mod request;
#[cfg(test)]
mod tests;

pub use request::{Rejected, RequestFrame};

use crate::ErrorShape;
use crate::object::{push_number, push_text};

/// A successful response. `payload` is JSON text and goes out as it is.
pub fn response_ok(id: &str, payload: &str) -> String {
    let mut out = open_response(id, "true", payload.len() + 16);
    out.push_str(",\"payload\":");
    out.push_str(json(payload));
    out.push('}');
    out
}

/// A failed response.
pub fn response_error(id: &str, error: &ErrorShape) -> String {
    response_failed(id, None, error)
}

/// A failed response that also says how far the request came: the second answer of a run that ended badly.
pub fn response_failed(id: &str, payload: Option<&str>, error: &ErrorShape) -> String {
    let details_bytes = error.details.as_deref().map_or(0, |details| details.get().len() + 12);
    let payload_bytes = payload.map_or(0, |payload| payload.len() + 12);
    let mut out = open_response(id, "false", error.message.len() + details_bytes + payload_bytes + 96);
    if let Some(payload) = payload {
        out.push_str(",\"payload\":");
        out.push_str(json(payload));
    }
    out.push_str(",\"error\":");
    push_error(&mut out, error);
    out.push('}');
    out
}

/// An event. `state_version` holds the versions of presence and health.
pub fn event(name: &str, payload: &str, seq: Option<u64>, state_version: Option<(u64, u64)>) -> String {
    EventPrefix::new(name, payload).finish(seq, state_version)
}

/// An event rendered up to what differs between connections.
#[derive(Debug, Clone)]
pub struct EventPrefix {
    text: String,
    /// Where the payload begins.
    payload: usize,
}

impl EventPrefix {
    /// Renders the name and the payload, a JSON text.
    pub fn new(name: &str, payload: &str) -> Self {
        let mut text = String::with_capacity(name.len() + payload.len() + 40);
        text.push_str("{\"type\":\"event\",\"event\":");
        push_text(&mut text, name);
        text.push_str(",\"payload\":");
        let begin = text.len();
        text.push_str(json(payload));
        Self { text, payload: begin }
    }

    /// The payload, a JSON text.
    pub fn payload(&self) -> &str {
        &self.text[self.payload..]
    }

    /// The whole frame for one connection, in one allocation.
    pub fn finish(&self, seq: Option<u64>, state_version: Option<(u64, u64)>) -> String {
        let tail = self.tail(seq, state_version);
        [self.text.as_str(), &tail].concat()
    }

    /// The rest of the frame for one connection: what follows the shared part.
    #[allow(clippy::unused_self, reason = "a tail without its event means nothing")]
    pub fn tail(&self, seq: Option<u64>, state_version: Option<(u64, u64)>) -> String {
        const SEQ: &str = ",\"seq\":";
        const PRESENCE: &str = ",\"stateVersion\":{\"presence\":";
        const HEALTH: &str = ",\"health\":";
        let seq_bytes = seq.map_or(0, |seq| SEQ.len() + digits(seq));
        let version_bytes =
            state_version.map_or(0, |(presence, health)| PRESENCE.len() + digits(presence) + HEALTH.len() + digits(health) + 1);
        let mut out = String::with_capacity(seq_bytes + version_bytes + 1);
        if let Some(seq) = seq {
            out.push_str(SEQ);
            push_number(&mut out, seq);
        }
        if let Some((presence, health)) = state_version {
            out.push_str(PRESENCE);
            push_number(&mut out, presence);
            out.push_str(HEALTH);
            push_number(&mut out, health);
            out.push('}');
        }
        out.push('}');
        out
    }

    /// The shared part of the frame.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Bytes of the rendered part: what a queue can count before the frame exists.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Never true: even an event without a payload has a frame.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

fn open_response(id: &str, ok: &str, rest_bytes: usize) -> String {
    let mut out = String::with_capacity(id.len() + rest_bytes + 32);
    out.push_str("{\"type\":\"res\",\"id\":");
    push_text(&mut out, id);
    out.push_str(",\"ok\":");
    out.push_str(ok);
    out
}

fn push_error(out: &mut String, error: &ErrorShape) {
    out.push_str("{\"code\":\"");
    out.push_str(error.code.as_str());
    out.push_str("\",\"message\":");
    // Closed client schemas drop a frame whose message is empty, and its request would hang.
    push_text(out, if error.message.is_empty() { error.code.as_str() } else { &error.message });
    if let Some(details) = &error.details {
        out.push_str(",\"details\":");
        out.push_str(details.get());
    }
    if let Some(retryable) = error.retryable {
        out.push_str(if retryable { ",\"retryable\":true" } else { ",\"retryable\":false" });
    }
    if let Some(after_ms) = error.retry_after_ms {
        out.push_str(",\"retryAfterMs\":");
        push_number(out, after_ms);
    }
    out.push('}');
}

/// An empty text stands for no value.
fn json(payload: &str) -> &str {
    if payload.is_empty() { "null" } else { payload }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}
