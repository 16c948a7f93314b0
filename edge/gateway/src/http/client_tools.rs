//! Tools that the caller brings and carries out himself: the model's calls of them are the answer.

use serde_json::{Map, Value};
use verso_proto::Json;
use verso_proto::agent::v1::{ClientTool, CompleteEnd};

use super::errors::Refusal;

/// Tools of one request.
const TOOLS_MAX: usize = 128;

/// The longest name of a tool, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What must be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Must {
    /// Nothing.
    Nothing,
    /// Any of the tools.
    Any,
    /// This one.
    Named(String),
}

/// The caller's tools, and which of them the model must call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClientTools {
    pub(super) tools: Vec<ClientTool>,
    pub(super) must: Must,
}

impl ClientTools {
    /// Reads `tools` and `tool_choice` in the spelling of either API.
    pub(super) fn parse(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let tools = match given("tools") {
            None => Vec::new(),
            Some(Value::Array(tools)) if tools.len() > TOOLS_MAX => return refuse(format!("more than {TOOLS_MAX} tools")),
            Some(Value::Array(tools)) => tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?,
            Some(_) => return refuse("tools must be an array"),
        };
        if let Some((place, twice)) =
            tools.iter().enumerate().find(|(place, tool)| tools[..*place].iter().any(|other| other.name == tool.name))
        {
            return refuse(format!("tool {place} has the name of an earlier one: {}", twice.name));
        }
        let choice = given("tool_choice");
        let word = choice.and_then(Value::as_str);
        let must = match (choice, word) {
            (None, _) | (_, Some("auto")) => Must::Nothing,
            (_, Some("none")) => return Ok(Self { tools: Vec::new(), must: Must::Nothing }),
            (_, Some("required")) if tools.is_empty() => return refuse("tool_choice=required but no tools were provided"),
            (_, Some("required")) => Must::Any,
            (Some(choice), _) => named(choice, &tools)?,
        };
        let kept = |tool: &ClientTool| if let Must::Named(name) = &must { tool.name == *name } else { true };
        Ok(Self { tools: tools.into_iter().filter(kept).collect(), must })
    }

    /// The choice, as the agent service reads it.
    pub(super) fn choice(&self) -> Option<String> {
        match &self.must {
            Must::Nothing => None,
            Must::Any => Some("required".to_owned()),
            Must::Named(name) => Some(name.clone()),
        }
    }
}

impl Must {
    /// Whether text is kept back until it is known that a call comes.
    pub(super) fn withholds_text(&self) -> bool {
        *self != Self::Nothing
    }

    /// Refuses an end at which nobody called what had to be called.
    pub(super) fn check(&self, end: &CompleteEnd) -> Result<(), Refusal> {
        let failed = end.error.is_some() || end.stop_reason == "aborted";
        let words = match self {
            Self::Any if end.tool_calls.is_empty() => "tool_choice=required was not satisfied by the agent response".to_owned(),
            Self::Named(name) if end.tool_calls.iter().all(|call| call.name != *name) => {
                format!("tool_choice required a {name} tool call, but the agent did not produce one")
            }
            _ => return Ok(()),
        };
        if failed { Ok(()) } else { Err(Refusal::api(http::StatusCode::BAD_GATEWAY, words)) }
    }
}

fn refuse<T>(why: impl std::fmt::Display) -> Result<T, Refusal> {
    Err(Refusal::invalid(format!("Invalid tools/tool_choice: {why}")))
}

/// Reads one tool; its members are under `function`, or beside its type.
fn tool(value: &Value) -> Result<ClientTool, Refusal> {
    if value.get("type").and_then(Value::as_str) != Some("function") {
        return refuse("only tools of type function are supported");
    }
    let function = value.get("function").unwrap_or(value);
    let Some(name) = function.get("name").and_then(Value::as_str).map(str::trim).filter(|name| is_name(name)) else {
        return refuse(format!("a tool's name has 1 to {NAME_BYTES_MAX} letters, digits, '-' or '_'"));
    };
    let parameters = match function.get("parameters") {
        None | Some(Value::Null) => None,
        Some(schema @ Value::Object(_)) => Some(Json { text: schema.to_string() }),
        Some(_) => return refuse(format!("parameters of {name} must be an object")),
    };
    let description = function.get("description").and_then(Value::as_str).map(str::to_owned);
    Ok(ClientTool { name: name.to_owned(), description, parameters })
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

fn named(choice: &Value, tools: &[ClientTool]) -> Result<Must, Refusal> {
    let name = choice.pointer("/function/name").or_else(|| choice.get("name")).and_then(Value::as_str).map(str::trim);
    let is_function = choice.get("type").and_then(Value::as_str) == Some("function");
    match name.filter(|_| is_function) {
        None => refuse("tool_choice must be auto, none, required or a function"),
        Some(name) if tools.iter().any(|tool| tool.name == name) => Ok(Must::Named(name.to_owned())),
        Some(name) => refuse(format!("tool_choice requested unknown tool: {name}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(fields: &Value) -> Result<ClientTools, String> {
        ClientTools::parse(fields.as_object().unwrap()).map_err(|refusal| refusal.json())
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let schema = json!({"type": "object"});
        let nested =
            json!([{"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema, "strict": true}}]);
        let flat = json!([{"type": "function", "name": "weather", "description": "d", "parameters": schema, "strict": true}]);
        let read = |tools: &Value, choice: Value| parse(&json!({"tools": tools, "tool_choice": choice})).unwrap();
        assert_eq!(read(&nested, json!("auto")), read(&flat, Value::Null));
        assert!(read(&flat, json!("none")).tools.is_empty());
        for choice in [json!({"type": "function", "function": {"name": "weather"}}), json!({"type": "function", "name": "weather"})] {
            assert_eq!(read(&nested, choice).choice().as_deref(), Some("weather"));
        }
        assert_eq!(read(&nested, json!("required")).choice().as_deref(), Some("required"));
    }

    #[test]
    fn says_what_is_wrong_with_them() {
        let one = json!([{"type": "function", "function": {"name": "x"}}]);
        for (fields, words) in [
            (json!({"tools": "x"}), "tools must be an array"),
            (json!({"tools": [7]}), "only tools of type function"),
            (json!({"tools": [{"type": "web_search"}]}), "only tools of type function"),
            (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), "a tool's name has"),
            (json!({"tools": [{"type": "function", "name": "x"}, {"type": "function", "name": "x"}]}), "has the name of an earlier one"),
            (json!({"tools": [{"type": "function", "name": "x", "parameters": []}]}), "parameters of x must be an object"),
            (json!({"tool_choice": "required"}), "no tools were provided"),
            (json!({"tools": one, "tool_choice": "sometimes"}), "tool_choice must be auto"),
            (
                json!({"tools": one, "tool_choice": {"type": "function", "function": {"name": "zz"}}}),
                "tool_choice requested unknown tool: zz",
            ),
        ] {
            let error = parse(&fields).unwrap_err();
            assert!(error.contains(words), "{fields}: {error}");
        }
    }

    #[test]
    fn what_had_to_be_called_and_was_not_is_no_answer() {
        let call = |name: &str| verso_proto::agent::v1::PendingToolCall { name: name.to_owned(), ..Default::default() };
        let end = |calls| CompleteEnd { stop_reason: "stop".to_owned(), tool_calls: calls, ..CompleteEnd::default() };
        assert!(Must::Nothing.check(&end(vec![])).is_ok());
        assert!(Must::Any.check(&end(vec![])).is_err());
        assert!(Must::Any.check(&end(vec![call("a")])).is_ok());
        assert!(Must::Named("b".to_owned()).check(&end(vec![call("a")])).is_err());
        let failed = CompleteEnd { error: Some("no".to_owned()), ..end(vec![]) };
        assert!(Must::Any.check(&failed).is_ok(), "why it failed says more");
    }
}
