//! The `bedrock-converse-stream` dialect: Amazon Bedrock's own, answered in binary frames. Whoever has an API key of Bedrock shows it;
//! whoever has the keys of an AWS account signs.

mod answer;
mod ask;
mod sign;

use super::exchange::Outgoing;
use super::{Call, Failure, refuse_unspoken};
use crate::models::Server;
pub(super) use answer::{Parser, frame};

/// Renders a call.
pub(super) fn request(server: &Server, call: &Call<'_>) -> Result<Outgoing, Failure> {
    refuse_unspoken("bedrock-converse-stream", call.sampling, ("response_format", call.sampling.format().is_some()))?;
    let url = format!("{}/model/{}/converse-stream", server.base_url, encoded(&call.model.id));
    let request = Outgoing::new(server, call, url, &ask::body(call))?;
    match (call.credential, &server.signing) {
        (Some(_), _) => request.bearer(call),
        (None, Some(signing)) => {
            let headers = sign::headers(signing, request.url(), request.body(), jiff::Timestamp::now().into())?;
            headers.into_iter().try_fold(request, |request, (name, value)| request.header(&name, &value))
        }
        (None, None) => Ok(request),
    }
}

/// A model's name, which may be a whole resource name, becomes one part of the address.
fn encoded(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    id.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
