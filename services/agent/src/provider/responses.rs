//! The `openai-responses` dialect. Nothing is kept at the provider: each request holds the whole conversation.

mod answer;
mod ask;

use super::exchange::Outgoing;
use super::{Call, Failure, refuse_unspoken};
use crate::models::Server;
pub(super) use answer::Parser;

/// Renders a call.
pub(super) fn request(server: &Server, call: &Call<'_>) -> Result<Outgoing, Failure> {
    refuse_unspoken("openai-responses", call.sampling, ("stop", !call.sampling.stop.is_empty()))?;
    let url = format!("{}/responses", server.base_url);
    Outgoing::new(server, call, url, &ask::body(call))?.bearer(call)
}
