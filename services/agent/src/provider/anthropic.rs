//! The `anthropic-messages` dialect.

mod answer;
mod ask;

use super::exchange::Outgoing;
use super::{Call, Failure, refuse_unspoken};
use crate::models::Server;
pub(super) use answer::Parser;

/// The version of the dialect.
const VERSION: &str = "2023-06-01";

/// What a login instead of a key asks for.
const LOGIN_BETA: &str = "oauth-2025-04-20";

/// Renders a call.
pub(super) fn request(server: &Server, call: &Call<'_>) -> Result<Outgoing, Failure> {
    refuse_unspoken("anthropic-messages", call.sampling, ("response_format", call.sampling.format().is_some()))?;
    // The configured address may or may not name the version.
    let base_url = server.base_url.strip_suffix("/v1").unwrap_or(&server.base_url);
    let request = Outgoing::new(server, call, format!("{base_url}/v1/messages"), &ask::body(call))?.header("anthropic-version", VERSION)?;
    match call.credential {
        Some(credential) if credential.login => request.header("anthropic-beta", LOGIN_BETA)?.bearer(call),
        Some(credential) => request.header("x-api-key", credential.secret.expose().trim()),
        None => Ok(request),
    }
}
