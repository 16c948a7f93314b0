//! Reading a JSON body: its size and its time are bounded before anything is parsed.

use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::errors::Refusal;

/// How long a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the rest of a body that is too large is taken in, so that its sender gets to read the answer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// What is set aside for a body before any of it has arrived, in bytes, whatever its sender announces.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// Larger bodies are parsed where they hold up nobody else, in bytes.
const PARSED_IN_PLACE_BYTES_MAX: usize = 256 << 10;

/// Reads a body of at most `bytes_max` bytes. An empty one, and one that is not an object, has no fields.
pub(super) async fn read_object(head: &Parts, body: Body, bytes_max: usize) -> Result<Map<String, Value>, Refusal> {
    parse(read_bytes(head, body, bytes_max).await?).await
}

/// Reads a body of at most `bytes_max` bytes.
pub(super) async fn read_bytes(head: &Parts, mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    // Nothing is unpacked here, so that nothing can be larger than it was when it came.
    let packed = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if head.headers.get_all(CONTENT_ENCODING).iter().any(packed) {
        return Err(Refusal::Packed);
    }
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    if announced.is_some_and(|announced: usize| announced > bytes_max) {
        if !head.headers.contains_key(EXPECT) {
            discard(body).await;
        }
        return Err(Refusal::TooLarge);
    }
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(RESERVED_BYTES_MAX));
    match timeout(READ_TIMEOUT, fill(&mut bytes, &mut body, bytes_max)).await {
        Ok(Ok(())) => Ok(bytes),
        Ok(Err(refusal)) => {
            if refusal == Refusal::TooLarge {
                drop(bytes);
                discard(body).await;
            }
            Err(refusal)
        }
        Err(_) => Err(Refusal::BodyTimeout),
    }
}

async fn fill(bytes: &mut Vec<u8>, body: &mut Body, bytes_max: usize) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::invalid("could not read the request body"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(Refusal::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(())
}

/// Takes in what else arrives within a moment. A connection that is closed over unread data loses the answer as well.
async fn discard(mut body: Body) {
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    // The answer goes out either way.
    drop(timeout(DISCARD_TIMEOUT, reading).await);
}

async fn parse(bytes: Vec<u8>) -> Result<Map<String, Value>, Refusal> {
    if bytes.len() <= PARSED_IN_PLACE_BYTES_MAX {
        return parse_object(&bytes);
    }
    tokio::task::spawn_blocking(move || parse_object(&bytes)).await.unwrap_or_else(|_| Err(Refusal::internal()))
}

fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(Refusal::invalid(error.to_string())),
    }
}
