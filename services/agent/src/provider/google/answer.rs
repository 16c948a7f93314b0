//! The JSON of an answer: each piece looks like a whole one.

use serde::Deserialize;
use serde_json::Value;
use verso_proto::agent::v1::Usage;

use crate::provider::reading::{self, Parse, Step};
use crate::provider::{Delta, Failure, Finish, ThoughtFragment, ToolFragment};

/// Reads the answers.
#[derive(Debug, Default)]
pub(in crate::provider) struct Parser {
    /// Calls come whole and without a number.
    calls: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Piece {
    candidates: Vec<Candidate>,
    usage_metadata: Option<TokenUsage>,
    prompt_feedback: Option<Feedback>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Candidate {
    content: Content,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    parts: Vec<Part>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    thought: bool,
    thought_signature: Option<String>,
    function_call: Option<FunctionCall>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionCall {
    id: Option<String>,
    name: String,
    args: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are the dialect's")]
struct TokenUsage {
    prompt_token_count: i64,
    candidates_token_count: i64,
    thoughts_token_count: i64,
    cached_content_token_count: i64,
    total_token_count: Option<i64>,
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        let output = usage.candidates_token_count + usage.thoughts_token_count;
        Self {
            input: usage.prompt_token_count - usage.cached_content_token_count,
            output,
            cache_read: usage.cached_content_token_count,
            cache_write: 0,
            total: usage.total_token_count.unwrap_or(usage.prompt_token_count + output),
        }
    }
}

impl Parse for Parser {
    fn piece(&mut self, data: &str) -> Result<Step, Failure> {
        let piece: Piece = reading::json(data.as_bytes())?;
        self.read(piece).map(Step::Add)
    }

    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure> {
        let piece: Piece = reading::json(body)?;
        self.read(piece)
    }
}

impl Parser {
    fn read(&mut self, piece: Piece) -> Result<Delta, Failure> {
        if let Some(error) = piece.error.filter(|error| !error.is_null()) {
            return Err(Failure::from_stream(&error));
        }
        let mut delta = Delta { usage: piece.usage_metadata.map(Usage::from), ..Delta::default() };
        if piece.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            delta.finish = Some(Finish::Filtered);
        }
        let Some(candidate) = piece.candidates.into_iter().next() else { return Ok(delta) };
        for part in candidate.content.parts {
            self.add(part, &mut delta);
        }
        delta.finish = candidate.finish_reason.as_deref().map(|reason| self.finish(reason)).or(delta.finish);
        Ok(delta)
    }

    fn add(&mut self, part: Part, delta: &mut Delta) {
        if let Some(call) = part.function_call {
            let index = self.calls;
            self.calls += 1;
            let arguments = call.args.unwrap_or_else(|| Value::Object(serde_json::Map::new())).to_string();
            let id = call.id.unwrap_or_else(|| format!("call_{index}_{:08x}", rand::random::<u32>()));
            let signature = part.thought_signature.unwrap_or_default();
            delta.tools.push(ToolFragment { index, id, name: call.name, arguments, signature });
        } else if part.thought {
            let text = part.text.unwrap_or_default();
            delta.thoughts.push(ThoughtFragment { text, ..ThoughtFragment::default() });
        } else {
            delta.text.push_str(&part.text.unwrap_or_default());
        }
    }

    fn finish(&self, reason: &str) -> Finish {
        match reason {
            "MAX_TOKENS" => Finish::Length,
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => Finish::Filtered,
            _ if self.calls > 0 => Finish::ToolUse,
            _ => Finish::Stop,
        }
    }
}
