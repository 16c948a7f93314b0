//! A question beside a conversation: nobody's transcript hears of it.

use std::sync::Arc;

use futures_util::StreamExt as _;
use verso_kit::trace;

use super::{Endpoint, Model};
use crate::keys::AgentId;
use crate::provider::{self, Call, Credential, Failure, Kind, Prompt, Sampling, ToolChoice};
use crate::runs::Runs;
use crate::sessions::levels;

/// Asks the models of a chain in order, each with its credentials, until one answers. Returns who did, and what it said.
pub(crate) async fn ask(
    runs: &Runs,
    agent: &AgentId,
    chain: &[Arc<Model>],
    prompt: &Prompt,
    sampling: &Sampling,
) -> Result<(Arc<Model>, String), String> {
    let mut tried = Vec::new();
    for model in chain {
        let keyring = &runs.parts.keyring;
        let configured = match &model.endpoint {
            Endpoint::Server(server) => server.credential.as_ref(),
            Endpoint::Offline | Endpoint::Unusable(_) => None,
        };
        let mut failure = Failure::new(Kind::Unusable, "the provider has no usable credential");
        for key in keyring.keys(agent, "", &model.provider, configured).await {
            match once(runs, model, key.credential.as_ref(), prompt, sampling).await {
                Ok(text) => {
                    keyring.succeeded(agent, "", &model.provider, &key).await;
                    return Ok((Arc::clone(model), text));
                }
                Err(found) => failure = found,
            }
            keyring.failed(agent, &key, failure.kind).await;
            if !failure.kind.rotates() {
                break;
            }
        }
        tried.push(format!("{}: {} ({})", model.full_name(), failure, failure.kind.reason()));
        if !failure.kind.fails_over() {
            break;
        }
    }
    Err(if tried.is_empty() { "there is no model to ask".to_owned() } else { tried.join(" | ") })
}

/// Asks one model, with one credential.
pub(super) async fn once(
    runs: &Runs,
    model: &Model,
    credential: Option<&Credential>,
    prompt: &Prompt,
    sampling: &Sampling,
) -> Result<String, Failure> {
    let call = Call {
        model,
        credential,
        prompt,
        tools: &[],
        tool_choice: &ToolChoice::Auto,
        sampling,
        thinking: levels::OFF,
        patient: false,
        trace: trace::current(),
        status: "",
    };
    let mut answer = provider::call(&runs.parts.clients, &call).await?;
    let mut text = String::new();
    while let Some(delta) = answer.next().await {
        text.push_str(&delta?.text);
    }
    Ok(text)
}
