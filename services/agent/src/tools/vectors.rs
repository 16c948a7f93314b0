//! Vectors for the memory, by the model that the configuration names for them.

use futures_util::future::{BoxFuture, FutureExt as _};
use verso_proto::agent::v1::EmbedRequest;
use verso_tools::memory::Embed;
use verso_tools::tool::Refused;

use crate::runs::Runs;

/// The model of embeddings, on behalf of one agent.
#[derive(Debug)]
pub(super) struct Embedder {
    runs: Runs,
    agent: String,
    /// `provider/model`.
    name: String,
}

impl Embedder {
    /// Returns it; none if the configuration names nobody.
    pub(super) fn of(runs: &Runs, agent: &str) -> Option<Self> {
        Some(Self { name: runs.parts.embeddings.full_name()?, runs: runs.clone(), agent: agent.to_owned() })
    }
}

impl Embed for Embedder {
    fn model(&self) -> &str {
        &self.name
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Refused>> {
        async move {
            let request = EmbedRequest { agent_id: self.agent.clone(), input: texts, ..EmbedRequest::default() };
            let answer = crate::embeddings::embed(&self.runs, request).await.map_err(|error| Refused::Failed(error.to_string()))?;
            match answer.failure {
                Some(failure) => Err(Refused::Failed(failure.message)),
                None => Ok(answer.embeddings.into_iter().map(|embedding| embedding.values).collect()),
            }
        }
        .boxed()
    }
}
