//! The `google-generative-ai` dialect.

mod answer;
mod ask;

use super::exchange::Outgoing;
use super::{Call, Failure};
use crate::models::Server;
pub(super) use answer::Parser;

/// Renders a call.
pub(super) fn request(server: &Server, call: &Call<'_>) -> Result<Outgoing, Failure> {
    // A model's name becomes a part of the address.
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:@".contains(c) { c } else { '-' };
    let model: String = call.model.id.strip_prefix("models/").unwrap_or(&call.model.id).chars().map(plain).collect();
    let url = format!("{}/models/{model}:streamGenerateContent?alt=sse", server.base_url);
    let request = Outgoing::new(server, call, url, &ask::body(call))?;
    match call.credential {
        Some(credential) if credential.login => request.bearer(call),
        Some(credential) => request.header("x-goog-api-key", credential.secret.expose().trim()),
        None => Ok(request),
    }
}
