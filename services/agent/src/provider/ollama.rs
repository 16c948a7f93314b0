//! Ollama's own dialect: `/api/chat`, answered in lines of JSON. Unlike its copy of another dialect, it can be told how long the
//! conversation may be.

mod answer;
mod ask;

use super::exchange::Outgoing;
use super::{Call, Failure};
use crate::models::Server;
pub(super) use answer::Parser;

/// Renders a call.
pub(super) fn request(server: &Server, call: &Call<'_>) -> Result<Outgoing, Failure> {
    // The address of its copy of another dialect will do too.
    let base_url = server.base_url.strip_suffix("/v1").unwrap_or(&server.base_url);
    Outgoing::new(server, call, format!("{base_url}/api/chat"), &ask::body(call))?.bearer(call)
}
