//! The fields of a chat request: what is used, what is checked, and what cannot be had.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use utoipa::ToSchema;
use verso_proto::Json;
use verso_proto::agent::v1::Sampling;

use super::super::client_tools::{ClientTools, Must};
use super::super::errors::Refusal;
use super::super::models::ModelName;
use super::super::prompt::Prompt;

/// The model that a request means if it names none.
const MODEL_DEFAULT: &str = "openclaw";

/// The longest model name, in bytes: every piece of a streamed reply repeats it.
const MODEL_BYTES_MAX: usize = 256;

/// The largest number of stop sequences.
const STOPS_MAX: usize = 4;

/// Fields that take a number, and its range.
const NUMBERS: [(&str, RangeInclusive<f64>); 4] =
    [("temperature", 0.0..=2.0), ("top_p", 0.0..=1.0), ("frequency_penalty", -2.0..=2.0), ("presence_penalty", -2.0..=2.0)];

/// Fields that take a number of tokens.
const TOKEN_LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// Formats of an answer that clients may ask for.
const RESPONSE_FORMATS: [&str; 3] = ["text", "json_object", "json_schema"];

/// What a chat request asks for.
#[derive(Debug)]
pub(super) struct ChatRequest {
    /// As the client wrote it; the reply repeats it.
    pub(super) model: String,
    /// Whom the model means; none if it is not one of our names.
    pub(super) agent: Option<ModelName>,
    pub(super) prompt: Prompt,
    pub(super) stream: bool,
    /// Whether a streamed reply ends with the number of tokens.
    pub(super) include_usage: bool,
    /// Names the end user, and thereby a session that lasts.
    pub(super) user: Option<String>,
    /// How the model is to choose its words; none if the client leaves all of it to the provider.
    pub(super) sampling: Option<Sampling>,
    pub(super) tools: ClientTools,
}

/// What a streamed reply is to have beside the text.
#[derive(Debug)]
pub(super) struct Extras {
    pub(super) include_usage: bool,
    pub(super) must: Must,
}

/// The members of a chat request, for those who write one. Others are ignored.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not read: `ChatRequest::parse` says what is wrong in words of its own")]
pub(in crate::http) struct ChatBody {
    /// `openclaw`, `openclaw/<agent>`, or any other name for the default agent.
    #[schema(max_length = 256)]
    model: Option<String>,
    /// The conversation; contents are strings or lists of parts.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
    stream: Option<bool>,
    #[schema(value_type = Option<Object>)]
    stream_options: Option<Value>,
    user: Option<String>,
    /// Tools that the caller carries out.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `auto`, `none`, `required`, or a function.
    #[schema(value_type = Option<Object>)]
    tool_choice: Option<Value>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    /// Refused where the provider of the model has no such setting.
    seed: Option<i64>,
    #[schema(minimum = 1)]
    max_completion_tokens: Option<i64>,
    #[schema(minimum = 1)]
    max_tokens: Option<i64>,
    /// A string, or up to four.
    #[schema(value_type = Option<Object>)]
    stop: Option<Value>,
    #[schema(value_type = Option<Object>)]
    response_format: Option<Value>,
}

impl ChatRequest {
    /// Reads and checks the fields of a request. Fields that nobody knows are ignored.
    pub(super) fn parse(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let model = text("model").unwrap_or(MODEL_DEFAULT);
        if model.len() > MODEL_BYTES_MAX {
            return Err(Refusal::invalid(format!("`model` must not be longer than {MODEL_BYTES_MAX} bytes.")));
        }
        check_sampling(fields)?;
        Ok(Self {
            model: model.to_owned(),
            agent: ModelName::parse(model),
            prompt: Prompt::assemble(fields.get("messages"))?,
            stream: fields.get("stream") == Some(&Value::Bool(true)),
            include_usage: fields.get("stream_options").and_then(|options| options.get("include_usage")) == Some(&Value::Bool(true)),
            user: text("user").map(str::to_owned),
            sampling: Some(sampling(fields)).filter(|sampling| *sampling != Sampling::default()),
            tools: ClientTools::parse(fields)?,
        })
    }
}

/// Returns a field that is there and not null.
pub(in crate::http) fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn check_sampling(fields: &Map<String, Value>) -> Result<(), Refusal> {
    for (name, range) in NUMBERS {
        if given(fields, name).is_some_and(|value| !value.as_f64().is_some_and(|number| range.contains(&number))) {
            return Err(Refusal::invalid(format!("`{name}` must be between {} and {}.", range.start(), range.end())));
        }
    }
    for name in TOKEN_LIMITS {
        if given(fields, name).is_some_and(|value| whole_number(value).is_none_or(|number| number <= 0)) {
            return Err(Refusal::invalid(format!("`{name}` must be a positive integer.")));
        }
    }
    if given(fields, "seed").is_some_and(|value| whole_number(value).is_none()) {
        return Err(Refusal::invalid("`seed` must be an integer."));
    }
    if given(fields, "stop").is_some_and(|value| !is_stop(value)) {
        return Err(Refusal::invalid(format!("`stop` must be a string or an array of up to {STOPS_MAX} non-empty strings.")));
    }
    let known = |format: &Value| format.get("type").and_then(Value::as_str).is_some_and(|name| RESPONSE_FORMATS.contains(&name));
    if given(fields, "response_format").is_some_and(|format| !known(format)) {
        return Err(Refusal::invalid("`response_format.type` must be `text`, `json_object` or `json_schema`."));
    }
    Ok(())
}

/// Reads what has been checked.
fn sampling(fields: &Map<String, Value>) -> Sampling {
    let number = |name: &str| given(fields, name).and_then(Value::as_f64);
    let stop = match given(fields, "stop") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    Sampling {
        temperature: number("temperature"),
        top_p: number("top_p"),
        frequency_penalty: number("frequency_penalty"),
        presence_penalty: number("presence_penalty"),
        seed: given(fields, "seed").and_then(whole_number),
        // The newer name counts.
        max_tokens: TOKEN_LIMITS.iter().find_map(|name| given(fields, name)).and_then(whole_number),
        stop,
        response_format: given(fields, "response_format").map(|format| Json { text: format.to_string() }),
    }
}

/// Returns the value of an integer, however it is written: `16` and `16.0` are one number in JSON.
pub(in crate::http) fn whole_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
        #[allow(clippy::cast_possible_truncation, reason = "it is whole and within 53 bits")]
        Some(number as i64)
    })
}

fn is_stop(value: &Value) -> bool {
    let sequence = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    match value {
        Value::String(_) => true,
        Value::Array(sequences) => sequences.len() <= STOPS_MAX && sequences.iter().all(sequence),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
