//! Vectors of texts, from the provider that the configuration or the caller names.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use verso_proto::agent::v1::{EmbedRequest, EmbedResponse, Embedding, ProviderFailure};

use crate::error::Error;
use crate::models::{Dialect, Endpoint, Model, Server};
use crate::provider::{Credential, Failure, Kind};
use crate::runs::Runs;

/// How long a provider may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The largest answer, in bytes: 128 vectors of 4,096 numbers, each written with 20 characters.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The reason when there is nobody to ask.
const UNCONFIGURED: &str = "unconfigured";

/// The section `agents.defaults.memorySearch`, as far as it says who computes vectors.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// A provider of `models.providers`, or a known one. `auto` and `local` name nobody to ask.
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
}

impl Choice {
    /// Returns `provider/model`, if both are known.
    pub(crate) fn full_name(&self) -> Option<String> {
        let model = self.model.as_deref().map(str::trim).filter(|model| !model.is_empty())?;
        match self.provider.as_deref().map(str::trim) {
            None | Some("" | "auto" | "local") => model.contains('/').then(|| model.to_owned()),
            Some(provider) => Some(format!("{provider}/{model}")),
        }
    }
}

/// What a provider has answered.
#[derive(Debug, Default, PartialEq)]
struct Vectors {
    rows: Vec<Vec<f32>>,
    prompt_tokens: i64,
}

/// Turns texts into vectors.
pub(crate) async fn embed(runs: &Runs, request: EmbedRequest) -> Result<EmbedResponse, Error> {
    const METHOD: &str = "embeddings";
    let parts = &runs.parts;
    let named = parts.roster.named(METHOD, Some(&request.agent_id))?;
    let agent = named.unwrap_or_else(|| parts.roster.naming.default_agent.clone());
    let model = match (&request.model, parts.embeddings.full_name()) {
        (Some(name), _) => parts.catalog.choose(&parts.clients, Some(name), None).await?,
        (None, Some(name)) => parts.catalog.known(Some(&name)),
        (None, None) => {
            let message = "no embedding model is configured: name one as provider/model in agents.defaults.memorySearch.model";
            return Ok(failed(UNCONFIGURED, message.to_owned()));
        }
    };
    let server = match &model.endpoint {
        Endpoint::Server(server) => server,
        Endpoint::Unusable(reason) => return Ok(failed(UNCONFIGURED, reason.clone())),
        Endpoint::Offline => return Ok(failed(UNCONFIGURED, "the offline responder computes no embeddings".to_owned())),
    };
    let keys = parts.keyring.keys(&agent, "", &model.provider, server.credential.as_ref()).await;
    let credential = keys.first().and_then(|key| key.credential.as_ref());
    match ask(runs, server, &model, credential, &request).await {
        Ok(vectors) if vectors.rows.len() == request.input.len() => Ok(EmbedResponse {
            embeddings: vectors.rows.into_iter().map(|values| Embedding { values }).collect(),
            prompt_tokens: vectors.prompt_tokens,
            failure: None,
        }),
        Ok(vectors) => {
            let words = format!("the provider answered {} vectors for {} texts", vectors.rows.len(), request.input.len());
            Ok(failed(Kind::Malformed.reason(), words))
        }
        Err(failure) => Ok(failed(failure.kind.reason(), failure.to_string())),
    }
}

fn failed(reason: &str, message: String) -> EmbedResponse {
    EmbedResponse { failure: Some(ProviderFailure { reason: reason.to_owned(), message }), ..EmbedResponse::default() }
}

async fn ask(
    runs: &Runs,
    server: &Server,
    model: &Model,
    credential: Option<&Credential>,
    request: &EmbedRequest,
) -> Result<Vectors, Failure> {
    let (url, body) = render(server, model, request)?;
    let client = runs.parts.clients.for_url(&url).await.map_err(|error| Failure::new(Kind::Unusable, error.to_string()))?;
    let mut asking = client.post(&url).json(&body);
    if let Some(credential) = credential {
        let secret = credential.secret.expose().trim();
        let google = server.dialect == Dialect::Google && !credential.login;
        let (name, value) = if google {
            (HeaderName::from_static("x-goog-api-key"), secret.to_owned())
        } else {
            (AUTHORIZATION, format!("Bearer {secret}"))
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| Failure::new(Kind::Unusable, "the key holds what no header may hold"))?;
        value.set_sensitive(true);
        asking = asking.header(name, value);
    }
    for (name, value) in &server.headers {
        asking = asking.header(name, value.expose());
    }
    let answering = async {
        let response = asking.send().await.map_err(|error| Failure::from_client(&error))?;
        let status = response.status().as_u16();
        let is_success = response.status().is_success();
        let mut stream = response.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| Failure::from_client(&error))?);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Failure::new(Kind::Malformed, format!("the provider's answer is larger than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        if !is_success {
            return Err(Failure::from_answer(status, &String::from_utf8_lossy(&bytes), None));
        }
        let answer = serde_json::from_slice(&bytes).unwrap_or_default();
        read(server.dialect, &answer).ok_or_else(|| Failure::new(Kind::Malformed, "the provider's answer holds no vectors"))
    };
    timeout(TIMEOUT, answering).await.unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "the provider did not answer in time")))
}

/// Returns where the request goes, and what it says.
fn render(server: &Server, model: &Model, request: &EmbedRequest) -> Result<(String, Value), Failure> {
    let base = &server.base_url;
    let mut body = json!({"model": model.id, "input": request.input});
    match server.dialect {
        Dialect::Completions | Dialect::Responses => {
            body["encoding_format"] = json!("float");
            if let Some(dimensions) = request.dimensions {
                body["dimensions"] = json!(dimensions);
            }
            Ok((format!("{base}/embeddings"), body))
        }
        Dialect::Ollama => {
            if let Some(dimensions) = request.dimensions {
                body["dimensions"] = json!(dimensions);
            }
            Ok((format!("{}/api/embed", base.strip_suffix("/v1").unwrap_or(base)), body))
        }
        Dialect::Google => {
            // A model's name becomes a part of the address.
            let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:@".contains(c) { c } else { '-' };
            let name: String = model.id.strip_prefix("models/").unwrap_or(&model.id).chars().map(plain).collect();
            let one = |text: &String| {
                let mut one = json!({"model": format!("models/{name}"), "content": {"parts": [{"text": text}]}});
                if let Some(dimensions) = request.dimensions {
                    one["outputDimensionality"] = json!(dimensions);
                }
                one
            };
            let requests: Vec<Value> = request.input.iter().map(one).collect();
            Ok((format!("{base}/models/{name}:batchEmbedContents"), json!({"requests": requests})))
        }
        Dialect::Anthropic | Dialect::Bedrock => {
            Err(Failure::new(Kind::Refused, format!("the provider {} computes no embeddings", model.provider)))
        }
    }
}

fn read(dialect: Dialect, answer: &Value) -> Option<Vectors> {
    let numbers = |row: &Value| serde_json::from_value::<Vec<f32>>(row.clone()).ok();
    let (rows, tokens) = match dialect {
        Dialect::Ollama => (answer["embeddings"].as_array()?.iter().map(numbers).collect(), &answer["prompt_eval_count"]),
        Dialect::Google => (answer["embeddings"].as_array()?.iter().map(|one| numbers(&one["values"])).collect(), &Value::Null),
        _ => {
            let mut data: Vec<&Value> = answer["data"].as_array()?.iter().collect();
            data.sort_by_key(|one| one["index"].as_u64());
            (data.into_iter().map(|one| numbers(&one["embedding"])).collect(), &answer["usage"]["prompt_tokens"])
        }
    };
    let rows: Option<Vec<Vec<f32>>> = rows;
    Some(Vectors { rows: rows?, prompt_tokens: tokens.as_i64().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_is_asked_and_read_in_its_own_words() {
        let request = EmbedRequest { input: vec!["a".to_owned(), "b".to_owned()], dimensions: Some(2), ..EmbedRequest::default() };
        let asked = |dialect, base: &str| {
            let server = Server::new(dialect, base, None);
            let model = Model { provider: "p".to_owned(), id: "e-1".to_owned(), ..crate::models::offline() };
            render(&server, &model, &request)
        };
        let (url, body) = asked(Dialect::Completions, "http://h/v1").unwrap();
        assert_eq!((url.as_str(), &body["dimensions"]), ("http://h/v1/embeddings", &json!(2)));
        let (url, _) = asked(Dialect::Ollama, "http://h/v1").unwrap();
        assert_eq!(url, "http://h/api/embed");
        let (url, body) = asked(Dialect::Google, "http://h").unwrap();
        assert_eq!((url.as_str(), body["requests"].as_array().unwrap().len()), ("http://h/models/e-1:batchEmbedContents", 2));
        assert_eq!(asked(Dialect::Anthropic, "http://h").unwrap_err().kind, Kind::Refused);
        let rows = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
        let openai = json!({"data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}], "usage": {"prompt_tokens": 7}});
        assert_eq!(read(Dialect::Completions, &openai), Some(Vectors { rows: rows.clone(), prompt_tokens: 7 }));
        let google = json!({"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}]});
        assert_eq!(read(Dialect::Google, &google), Some(Vectors { rows: rows.clone(), prompt_tokens: 0 }));
        assert_eq!(read(Dialect::Ollama, &json!({"embeddings": [[1, 2], [3, 4]], "prompt_eval_count": 7})).unwrap().rows, rows);
        assert_eq!(read(Dialect::Completions, &json!({"data": [{"embedding": "AAAA"}]})), None);
    }

    #[test]
    fn somebody_has_to_be_named_who_computes() {
        let name = |provider: Option<&str>, model: Option<&str>| {
            Choice { provider: provider.map(str::to_owned), model: model.map(str::to_owned) }.full_name()
        };
        assert_eq!(name(Some("openai"), Some("e-1")).as_deref(), Some("openai/e-1"));
        assert_eq!(name(None, Some("mine/e-1")).as_deref(), Some("mine/e-1"));
        assert_eq!(name(Some("auto"), Some("e-1")), None);
        assert_eq!(name(Some("openai"), None), None);
    }
}
