//! The JSON of an answer: a stream of events about its items, and at its end the answer as a whole.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use verso_proto::agent::v1::Usage;

use crate::provider::reading::{self, Parse, Step};
use crate::provider::{Delta, Failure, Finish, Kind, ThoughtFragment, ToolFragment};

/// Reads the answers.
#[derive(Debug, Default)]
pub(in crate::provider) struct Parser {
    /// Items of which a part has come already: their ends say nothing new.
    begun: HashSet<usize>,
    /// The places of items in the answer of a server that names its items, but does not number them.
    places: HashMap<String, usize>,
    /// Calls that came as a whole.
    whole: HashSet<usize>,
    called: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    r#type: String,
    output_index: Option<usize>,
    item_id: Option<String>,
    delta: Option<String>,
    item: Option<Item>,
    response: Option<Response>,
    code: Value,
    message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    output: Vec<Value>,
    usage: Option<TokenUsage>,
    error: Option<Value>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete {
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    r#type: String,
    id: Option<String>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    content: Option<Vec<Part>>,
    encrypted_content: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    text: Option<String>,
    refusal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenUsage {
    input_tokens: i64,
    output_tokens: i64,
    total_tokens: Option<i64>,
    input_tokens_details: Option<InputDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<i64>,
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        let cached = usage.input_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        Self {
            input: usage.input_tokens - cached,
            output: usage.output_tokens,
            cache_read: cached,
            cache_write: 0,
            total: usage.total_tokens.unwrap_or(usage.input_tokens + usage.output_tokens),
        }
    }
}

impl Parse for Parser {
    fn piece(&mut self, data: &str) -> Result<Step, Failure> {
        let event: Event = reading::json(data.as_bytes())?;
        let index = self.place(&event);
        let text = event.delta.unwrap_or_default();
        match event.r#type.as_str() {
            "response.output_text.delta" | "response.refusal.delta" => {
                self.begun.insert(index);
                Ok(Step::Add(Delta { text, ..Delta::default() }))
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                let thought = ThoughtFragment { index, text, ..ThoughtFragment::default() };
                Ok(Step::Add(Delta { thoughts: vec![thought], ..Delta::default() }))
            }
            // What has come as a whole is not to be doubled.
            "response.function_call_arguments.delta" if self.whole.contains(&index) => Ok(Step::nothing()),
            "response.function_call_arguments.delta" => {
                let more = ToolFragment { index, arguments: text, ..ToolFragment::default() };
                self.begun.insert(index);
                Ok(Step::Add(Delta { tools: vec![more], ..Delta::default() }))
            }
            "response.output_item.added" => Ok(Step::Add(event.item.map(|item| self.opened(index, item)).unwrap_or_default())),
            "response.output_item.done" => Ok(Step::Add(event.item.map(|item| self.closed(index, item)).unwrap_or_default())),
            "response.completed" | "response.incomplete" => Ok(Step::End(self.ended(event.response.unwrap_or_default()))),
            "response.failed" => Err(failed(&event.response.and_then(|response| response.error).unwrap_or_default())),
            "error" => Err(failed(&serde_json::json!({"code": event.code, "message": event.message}))),
            _ => Ok(Step::nothing()),
        }
    }

    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure> {
        let mut response: Response = reading::json(body)?;
        if let Some(error) = response.error.take().filter(|error| !error.is_null()) {
            return Err(failed(&error));
        }
        let mut delta = Delta::default();
        for (index, item) in std::mem::take(&mut response.output).into_iter().enumerate() {
            let item: Item = serde_json::from_value(item).unwrap_or_default();
            if item.r#type == "function_call" {
                let arguments = item.arguments.clone().unwrap_or_default();
                delta.merge(self.opened(index, Item { arguments: Some(arguments), ..item }));
            } else {
                delta.merge(self.closed(index, item));
            }
        }
        delta.merge(self.ended(response));
        Ok(delta)
    }
}

impl Parser {
    fn place(&mut self, event: &Event) -> usize {
        let id = event.item_id.as_ref().or(event.item.as_ref().and_then(|item| item.id.as_ref()));
        match (event.output_index, id) {
            (Some(index), _) => index,
            (None, Some(id)) => {
                let next = self.places.len();
                *self.places.entry(id.clone()).or_insert(next)
            }
            (None, None) => 0,
        }
    }

    fn opened(&mut self, index: usize, item: Item) -> Delta {
        if item.r#type != "function_call" {
            return Delta::default();
        }
        self.called = true;
        let arguments = item.arguments.unwrap_or_default();
        if !arguments.is_empty() {
            self.begun.insert(index);
            self.whole.insert(index);
        }
        let (id, name) = (item.call_id.unwrap_or_default(), item.name.unwrap_or_default());
        Delta { tools: vec![ToolFragment { index, id, name, arguments, signature: String::new() }], ..Delta::default() }
    }

    fn closed(&mut self, index: usize, mut item: Item) -> Delta {
        let news = self.begun.insert(index);
        match item.r#type.as_str() {
            "function_call" if news => {
                let arguments = item.arguments.take().unwrap_or_default();
                Delta { tools: vec![ToolFragment { index, arguments, ..ToolFragment::default() }], ..Delta::default() }
            }
            "message" if news => {
                let parts = item.content.take().unwrap_or_default();
                Delta { text: parts.into_iter().filter_map(|part| part.text.or(part.refusal)).collect(), ..Delta::default() }
            }
            "reasoning" => Delta { thoughts: reasoning(index, item).into_iter().collect(), ..Delta::default() },
            _ => Delta::default(),
        }
    }

    fn ended(&self, response: Response) -> Delta {
        let finish = match response.incomplete_details.as_ref().map(|details| details.reason.as_str()) {
            Some("content_filter") => Finish::Filtered,
            Some(_) => Finish::Length,
            None if self.called => Finish::ToolUse,
            None => Finish::Stop,
        };
        Delta { usage: response.usage.map(Usage::from), finish: Some(finish), ..Delta::default() }
    }
}

/// Returns what must come back with the next request for the model to know what it thought.
fn reasoning(index: usize, item: Item) -> Option<ThoughtFragment> {
    let encrypted = item.encrypted_content?;
    let mut whole = item.rest;
    whole.insert("type".to_owned(), Value::from("reasoning"));
    whole.extend(item.id.map(|id| ("id".to_owned(), Value::from(id))));
    whole.insert("encrypted_content".to_owned(), Value::from(encrypted));
    whole.remove("status");
    Some(ThoughtFragment { index, signature: Value::Object(whole).to_string(), ..ThoughtFragment::default() })
}

fn failed(error: &Value) -> Failure {
    if error.is_null() {
        return Failure::new(Kind::Server, "the provider stopped with an error that it does not name");
    }
    Failure::from_stream(error)
}
