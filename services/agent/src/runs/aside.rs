//! A question to a model beside a run: nobody hears the answer while it is written.

use std::sync::Arc;

use futures_util::StreamExt as _;
use verso_kit::trace;

use super::Runs;
use crate::keys::AgentId;
use crate::models::{Endpoint, Model};
use crate::provider::{self, Call, Failure, Prompt, Sampling, ToolChoice};
use crate::sessions::levels;

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;

impl Runs {
    /// Asks the models in their order until one answers, and returns its words; or why none did.
    pub(crate) async fn ask_aside(
        &self,
        agent: &AgentId,
        session_id: &str,
        models: &[Arc<Model>],
        prompt: &Prompt,
    ) -> Result<String, String> {
        let mut why = "no model is configured".to_owned();
        for model in models.iter().filter(|model| !model.offline()) {
            let configured = match &model.endpoint {
                Endpoint::Server(server) => server.credential.as_ref(),
                Endpoint::Offline | Endpoint::Unusable(_) => None,
            };
            let keyring = &self.parts.keyring;
            for key in keyring.keys(agent, session_id, &model.provider, configured).await {
                let call = Call {
                    model,
                    credential: key.credential.as_ref(),
                    prompt,
                    tools: &[],
                    tool_choice: &ToolChoice::Auto,
                    sampling: &Sampling::default(),
                    thinking: levels::OFF,
                    patient: true,
                    trace: trace::current(),
                    status: "",
                };
                match self.listen_aside(&call).await {
                    Ok(text) => {
                        keyring.succeeded(agent, session_id, &model.provider, &key).await;
                        return Ok(text);
                    }
                    Err(failure) => {
                        keyring.failed(agent, &key, failure.kind).await;
                        why = format!("{}: {failure}", model.full_name());
                    }
                }
            }
        }
        Err(why)
    }

    async fn listen_aside(&self, call: &Call<'_>) -> Result<String, Failure> {
        let mut answer = provider::call(&self.parts.clients, call).await?;
        let mut text = String::new();
        while let Some(delta) = answer.next().await {
            text.push_str(&delta?.text);
            if text.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(text)
    }
}
