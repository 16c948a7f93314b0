//! The fields of a chat request: what is used, what is checked, and what cannot be had.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use verso_proto::Json;
use verso_proto::agent::v1::Sampling;

use super::super::errors::Refusal;
use super::super::models::ModelName;
use super::prompt::Prompt;

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
        check_tools(fields)?;
        Ok(Self {
            model: model.to_owned(),
            agent: ModelName::parse(model),
            prompt: Prompt::assemble(fields.get("messages"))?,
            stream: fields.get("stream") == Some(&Value::Bool(true)),
            include_usage: fields.get("stream_options").and_then(|options| options.get("include_usage")) == Some(&Value::Bool(true)),
            user: text("user").map(str::to_owned),
            sampling: Some(sampling(fields)).filter(|sampling| *sampling != Sampling::default()),
        })
    }
}

/// Returns a field that is there and not null.
fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
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
fn whole_number(value: &Value) -> Option<i64> {
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

/// Agents use their own tools. A request whose tools nobody would call is refused rather than answered as if it had none.
fn check_tools(fields: &Map<String, Value>) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::invalid(format!("Invalid tools/tool_choice: {why}")));
    let offered = match given(fields, "tools") {
        None => false,
        Some(Value::Array(tools)) => !tools.is_empty(),
        Some(_) => return refuse("tools must be an array"),
    };
    match (given(fields, "tool_choice"), offered) {
        (Some(Value::String(choice)), _) if choice == "none" => Ok(()),
        (None, false) => Ok(()),
        (Some(Value::String(choice)), false) if choice == "auto" => Ok(()),
        (Some(_), false) => refuse("tool_choice asks for a tool but no tools were provided"),
        (_, true) => refuse("tools of the client are not supported; leave them out, or send tool_choice \"none\""),
    }
}

#[cfg(test)]
mod tests;
