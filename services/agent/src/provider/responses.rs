//! The `openai-responses` dialect. Nothing is kept at the provider: each request holds the whole conversation.

mod answer;
mod ask;

use super::exchange::Outgoing;
use super::{Call, Failure, refuse_unspoken};
use crate::models::Server;
pub(super) use answer::Parser;

/// Renders a call.
pub(super) fn request(server: &Server, call: &Call<'_>) -> Result<Outgoing, Failure> {
    let sampling = call.sampling;
    let given = |number: Option<f64>| number.is_some_and(|number| number != 0.0);
    refuse_unspoken(
        "openai-responses",
        &[
            ("stop", !sampling.stop.is_empty()),
            ("frequency_penalty", given(sampling.frequency_penalty)),
            ("presence_penalty", given(sampling.presence_penalty)),
            ("seed", sampling.seed.is_some()),
        ],
    )?;
    let url = format!("{}/responses", server.base_url);
    Outgoing::new(server, call, url, &ask::body(call))?.bearer(call)
}
