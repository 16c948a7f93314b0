//! The members of a request: what is used, what is checked, what is ignored.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use verso_proto::Json;
use verso_proto::agent::v1::Sampling;

use super::super::chat::{given, whole_number};
use super::super::client_tools::ClientTools;
use super::super::errors::Refusal;
use super::super::models::ModelName;
use super::super::prompt::Prompt;
use super::items;

/// The longest model name, in bytes: every event of a streamed response repeats it.
const MODEL_BYTES_MAX: usize = 256;

/// Members that are known; with `strict`, others are refused.
const KNOWN: [&str; 17] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "stream",
    "max_output_tokens",
    "temperature",
    "top_p",
    "user",
    "previous_response_id",
    "text",
    "max_tool_calls",
    "metadata",
    "store",
    "reasoning",
    "truncation",
];

/// The members of a request, for those who write one. Others are ignored, unless configured otherwise.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not read: `ResponsesRequest::parse` says what is wrong in words of its own")]
pub(in crate::http) struct ResponsesBody {
    /// `openclaw`, `openclaw/<agent>`, or any other name for the default agent.
    #[schema(max_length = 256)]
    model: String,
    /// A text, or items.
    #[schema(value_type = Object)]
    input: Value,
    instructions: Option<String>,
    /// Functions that the caller carries out.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `auto`, `none`, `required`, or a function.
    #[schema(value_type = Option<Object>)]
    tool_choice: Option<Value>,
    stream: Option<bool>,
    #[schema(minimum = 1)]
    max_output_tokens: Option<i64>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    user: Option<String>,
    /// Goes on in the session of an earlier response, as long as it is remembered.
    previous_response_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    text: Option<Value>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) struct ResponsesRequest {
    /// As the client wrote it.
    pub(super) model: String,
    /// Whom the model means; none if it is not one of our names.
    pub(super) agent: Option<ModelName>,
    pub(super) prompt: Prompt,
    pub(super) stream: bool,
    pub(super) user: Option<String>,
    /// The response that this one goes on from.
    pub(super) previous: Option<String>,
    pub(super) sampling: Option<Sampling>,
    pub(super) tools: ClientTools,
}

impl ResponsesRequest {
    /// Reads and checks the members of a request.
    pub(super) fn parse(fields: &Map<String, Value>, strict: bool) -> Result<Self, Refusal> {
        if let Some(unknown) = fields.keys().find(|name| strict && !KNOWN.contains(&name.as_str())) {
            return Err(Refusal::invalid(format!(": Unrecognized key: \"{unknown}\"")));
        }
        let model = string(fields, "model")?.ok_or_else(|| missing("model", "string"))?;
        if model.len() > MODEL_BYTES_MAX {
            return Err(Refusal::invalid(format!("model: Too big: expected at most {MODEL_BYTES_MAX} bytes")));
        }
        if given(fields, "input").is_none() {
            return Err(Refusal::invalid("input: Invalid input"));
        }
        let stream = match given(fields, "stream") {
            None => false,
            Some(Value::Bool(stream)) => *stream,
            Some(_) => return Err(wrong("stream", "boolean")),
        };
        let instructions = string(fields, "instructions")?;
        let sampling = sampling(fields)?;
        Ok(Self {
            agent: ModelName::parse(&model),
            model,
            prompt: items::assemble(fields.get("input"), instructions.as_deref()).map_err(Refusal::invalid)?,
            stream,
            user: string(fields, "user")?.map(|user| user.trim().to_owned()).filter(|user| !user.is_empty()),
            previous: string(fields, "previous_response_id")?,
            sampling: Some(sampling).filter(|sampling| *sampling != Sampling::default()),
            tools: ClientTools::parse(fields)?,
        })
    }
}

fn string(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match given(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(name, "string")),
    }
}

fn missing(name: &str, kind: &str) -> Refusal {
    Refusal::invalid(format!("{name}: Invalid input: expected {kind}, received undefined"))
}

fn wrong(name: &str, kind: &str) -> Refusal {
    Refusal::invalid(format!("{name}: Invalid input: expected {kind}"))
}

fn sampling(fields: &Map<String, Value>) -> Result<Sampling, Refusal> {
    let number = |name: &'static str, most: f64| match given(fields, name) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|number| (0.0..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Refusal::invalid(format!("{name}: Invalid input: expected a number from 0 to {most}"))),
        },
    };
    let max_tokens = match given(fields, "max_output_tokens") {
        None => None,
        Some(value) => {
            Some(whole_number(value).filter(|number| *number > 0).ok_or_else(|| wrong("max_output_tokens", "a positive integer"))?)
        }
    };
    Ok(Sampling {
        temperature: number("temperature", 2.0)?,
        top_p: number("top_p", 1.0)?,
        max_tokens,
        response_format: format(fields)?,
        ..Sampling::default()
    })
}

/// This API has the members of a schema beside its type.
fn format(fields: &Map<String, Value>) -> Result<Option<Json>, Refusal> {
    let Some(format) = given(fields, "text").and_then(|text| text.get("format")).filter(|format| !format.is_null()) else {
        return Ok(None);
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Json { text: json!({"type": "json_object"}).to_string() })),
        Some("json_schema") if format.get("schema").is_some_and(Value::is_object) => {
            let mut schema = format.as_object().cloned().unwrap_or_default();
            schema.remove("type");
            Ok(Some(Json { text: json!({"type": "json_schema", "json_schema": schema}).to_string() }))
        }
        _ => Err(Refusal::invalid("text.format: Invalid input: expected text, json_object or json_schema with a schema")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &Value, strict: bool) -> Result<ResponsesRequest, String> {
        ResponsesRequest::parse(fields.as_object().unwrap(), strict).map_err(|refusal| match refusal {
            Refusal::Invalid(message) => message.into_owned(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn reads_what_is_used() {
        let schema = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true});
        let fields = json!({
            "model": "verso/beta", "input": "hi", "stream": true, "user": " Ann ", "previous_response_id": "resp_1", "max_output_tokens": 9,
            "text": {"format": schema}, "include": [], "parallel_tool_calls": true,
        });
        let asked = parse(&fields, false).unwrap();
        assert_eq!((asked.agent, asked.stream, asked.user.as_deref()), (Some(ModelName::Agent("beta".to_owned())), true, Some("Ann")));
        let sampling = asked.sampling.unwrap();
        let format: Value = serde_json::from_str(&sampling.response_format.unwrap().text).unwrap();
        assert_eq!((sampling.max_tokens, &format["json_schema"]["name"]), (Some(9), &json!("n")));
        assert_eq!(parse(&fields, true).unwrap_err(), ": Unrecognized key: \"include\"");
        assert_eq!(parse(&json!({"model": "m", "input": "x", "text": {"format": {"type": "text"}}}), true).unwrap().sampling, None);
    }

    #[test]
    fn says_what_is_wrong_where() {
        for (fields, words) in [
            (json!({"input": "x"}), "model: Invalid input: expected string, received undefined"),
            (json!({"model": 7, "input": "x"}), "model: Invalid input: expected string"),
            (json!({"model": "m"}), "input: Invalid input"),
            (json!({"model": "m", "input": "x", "stream": "yes"}), "stream: Invalid input: expected boolean"),
            (json!({"model": "m", "input": "x", "temperature": 3}), "temperature: Invalid input: expected a number from 0 to 2"),
            (json!({"model": "m", "input": "x", "max_output_tokens": 0}), "max_output_tokens: Invalid input: expected a positive integer"),
            (
                json!({"model": "m", "input": "x", "tools": [{"type": "web_search"}]}),
                "Invalid tools/tool_choice: only tools of type function are supported",
            ),
        ] {
            assert_eq!(parse(&fields, false).unwrap_err(), words, "{fields}");
        }
    }
}
