//! `POST /v1/embeddings`: vectors of texts, from the provider that the configuration or the caller names.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use verso_proto::agent::v1::EmbedRequest;

use super::Asked;
use super::auth::{Api, admit};
use super::body::read_object;
use super::chat::{given, whole_number};
use super::errors::{ErrorBody, Refusal, json};
use super::models::{ModelName, find_agent};
use super::session::Wanted;
use crate::gateway::Gateway;

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 5 << 20;

/// Texts of one request.
const INPUTS_MAX: usize = 128;

/// The longest text, in characters.
const INPUT_CHARS_MAX: usize = 8_192;

/// All texts of one request together, in characters.
const TOTAL_CHARS_MAX: usize = 65_536;

/// The reason with which the agent service says that nobody computes vectors.
const UNCONFIGURED: &str = "unconfigured";

/// The members of a request, for those who write one.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not read: `Wish::parse` says what is wrong in words of its own")]
pub(super) struct EmbeddingsBody {
    /// `openclaw`, or `openclaw/<agent>`.
    model: String,
    /// A text, or up to 128.
    #[schema(value_type = Object)]
    input: Value,
    /// `float` or `base64`.
    encoding_format: Option<String>,
    #[schema(minimum = 1)]
    dimensions: Option<i64>,
    user: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/v1/embeddings", any(embeddings))
}

/// Turns texts into vectors.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "OpenAI", request_body = EmbeddingsBody, security(("token" = [])),
    responses(
        (status = 200, description = "One vector for each text.", body = List),
        (status = "4XX", description = "The request is refused.", body = ErrorBody),
        (status = "5XX", description = "There are no vectors.", body = ErrorBody),
    )
)]
pub(super) async fn embeddings(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refusal) = admit(&gateway, &asked, &head, &Method::POST, Api::Either).await {
        return refusal.into_response();
    }
    let answered = match read_object(&head, body, BODY_BYTES_MAX).await {
        Ok(fields) => answer(&gateway, &head, &fields).await,
        Err(refusal) => Err(refusal),
    };
    answered.map_or_else(Refusal::into_response, |list| json(&list))
}

async fn answer(gateway: &Gateway, head: &Parts, fields: &Map<String, Value>) -> Result<List, Refusal> {
    let wish = Wish::parse(fields)?;
    let wanted = Wanted::read(&head.headers, wish.agent.as_ref())?;
    let agent_id = find_agent(gateway, wanted.agent.as_deref()).await?;
    let request = EmbedRequest { agent_id, model: wanted.model, input: wish.input, dimensions: wish.dimensions };
    let answered = gateway.services.call(request).await.map_err(|status| Refusal::from_status(&status))?;
    if let Some(failure) = answered.failure {
        return Err(match failure.reason.as_str() {
            UNCONFIGURED => Refusal::api(StatusCode::NOT_IMPLEMENTED, failure.message),
            reason => Refusal::from_run(reason, Some(failure.message)),
        });
    }
    let rows = answered.embeddings.into_iter().enumerate();
    let vector = |values: Vec<f32>| if wish.base64 { Vector::Base64(STANDARD.encode(bytes(&values))) } else { Vector::Numbers(values) };
    Ok(List {
        object: "list",
        data: rows.map(|(index, row)| Row { object: "embedding", index, embedding: vector(row.values) }).collect(),
        model: wish.model,
        usage: Usage { prompt_tokens: answered.prompt_tokens, total_tokens: answered.prompt_tokens },
    })
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What a request asks for.
#[derive(Debug, PartialEq)]
struct Wish {
    /// As the client wrote it.
    model: String,
    agent: Option<ModelName>,
    input: Vec<String>,
    base64: bool,
    dimensions: Option<i64>,
}

impl Wish {
    fn parse(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let model = given(fields, "model").and_then(Value::as_str).map(str::trim).filter(|model| !model.is_empty());
        let Some(model) = model else { return Err(Refusal::invalid("Missing `model`.")) };
        let base64 = match given(fields, "encoding_format").map(Value::as_str) {
            None | Some(Some("float")) => false,
            Some(Some("base64")) => true,
            Some(_) => return Err(Refusal::invalid("`encoding_format` must be `float` or `base64`.")),
        };
        let dimensions = match given(fields, "dimensions") {
            None => None,
            Some(value) => match whole_number(value).filter(|number| *number > 0) {
                Some(number) => Some(number),
                None => return Err(Refusal::invalid("`dimensions` must be a positive integer.")),
            },
        };
        // Foreign names mean the default agent, as everywhere.
        Ok(Self { model: model.to_owned(), agent: ModelName::parse(model), input: input(fields)?, base64, dimensions })
    }
}

fn input(fields: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let refuse = |words: String| Err(Refusal::invalid(words));
    let texts: Option<Vec<String>> = match given(fields, "input") {
        None => return refuse("Missing `input`.".to_owned()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(texts)) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
        return refuse("`input` must be a string or an array of strings.".to_owned());
    };
    let lengths: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    if texts.len() > INPUTS_MAX {
        return refuse(format!("`input` must not have more than {INPUTS_MAX} texts."));
    }
    if texts.iter().any(|text| text.trim().is_empty()) {
        return refuse("`input` must not be empty.".to_owned());
    }
    if lengths.iter().any(|length| *length > INPUT_CHARS_MAX) || lengths.iter().sum::<usize>() > TOTAL_CHARS_MAX {
        return refuse(format!("`input` must not be longer than {INPUT_CHARS_MAX} characters each and {TOTAL_CHARS_MAX} together."));
    }
    Ok(texts)
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EmbeddingList)]
struct List {
    object: &'static str,
    data: Vec<Row>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Embedding)]
struct Row {
    object: &'static str,
    index: usize,
    #[schema(value_type = Object)]
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EmbeddingUsage)]
struct Usage {
    prompt_tokens: i64,
    total_tokens: i64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_is_wrong_with_a_request() {
        let parse = |fields: Value| Wish::parse(fields.as_object().unwrap()).map_err(|refusal| refusal.json());
        for (fields, words) in [
            (json!({"input": "x"}), "Missing `model`."),
            (json!({"model": "m"}), "Missing `input`."),
            (json!({"model": "m", "input": []}), "must be a string or an array"),
            (json!({"model": "m", "input": [1]}), "must be a string or an array"),
            (json!({"model": "m", "input": {}}), "must be a string or an array"),
            (json!({"model": "m", "input": ["a", " "]}), "must not be empty"),
            (json!({"model": "m", "input": vec!["x"; 129]}), "more than 128"),
            (json!({"model": "m", "input": "x".repeat(8_193)}), "longer than 8192"),
            (json!({"model": "m", "input": vec!["x".repeat(8_192); 9]}), "65536 together"),
            (json!({"model": "m", "input": "x", "encoding_format": "int8"}), "`float` or `base64`"),
            (json!({"model": "m", "input": "x", "dimensions": 0}), "positive integer"),
        ] {
            let error = parse(fields.clone()).unwrap_err();
            assert!(error.contains(words), "{fields}: {error}");
        }
        let wish = parse(json!({"model": "verso/beta", "input": "x", "encoding_format": "base64", "dimensions": 3})).unwrap();
        assert_eq!((wish.agent, wish.base64, wish.dimensions), (Some(ModelName::Agent("beta".to_owned())), true, Some(3)));
        assert_eq!(STANDARD.encode(bytes(&[1.0, -2.5])), "AACAPwAAIMA=");
    }
}
