//! The JSON of a response.

use serde::Serialize;
use utoipa::ToSchema;
use verso_proto::agent::v1::{CompleteEnd, PendingToolCall, Usage};

use super::super::errors::Refusal;
use super::super::relay::{Finish, SILENCE};

/// What all forms of one response have.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) id: String,
    /// In seconds since 1970.
    pub(super) created_at: i64,
    /// As the client asked for it.
    pub(super) model: String,
    pub(super) previous: Option<String>,
}

/// A response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Response)]
pub(in crate::http) struct Resource {
    id: String,
    object: &'static str,
    created_at: i64,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub(super) status: &'static str,
    model: String,
    output: Vec<OutputItem>,
    usage: Tokens,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_response_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete_details: Option<Incomplete>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// What a response says, or asks for.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum OutputItem {
    Message(Message),
    FunctionCall(FunctionCall),
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponseMessage)]
pub(super) struct Message {
    pub(super) id: String,
    role: &'static str,
    pub(super) content: Vec<Text>,
    pub(super) status: &'static str,
    /// `commentary` when tools are to be called, else `final_answer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
}

/// A part of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Text {
    r#type: &'static str,
    #[expect(clippy::struct_field_names, reason = "the wire's name")]
    text: String,
    #[schema(value_type = Vec<Object>)]
    annotations: [(); 0],
}

impl Text {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { r#type: "output_text", text: text.into(), annotations: [] }
    }
}

/// A call of one of the caller's tools.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct FunctionCall {
    pub(super) id: String,
    call_id: String,
    name: String,
    /// JSON, as the model wrote it.
    pub(super) arguments: String,
    pub(super) status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResponseProblem)]
struct Problem {
    code: &'static str,
    message: String,
}

/// Tokens, as clients of this API count them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ResponseUsage)]
pub(super) struct Tokens {
    #[serde(rename = "input_tokens")]
    input: i64,
    #[serde(rename = "input_tokens_details")]
    input_details: InputDetails,
    #[serde(rename = "output_tokens")]
    output: i64,
    #[serde(rename = "output_tokens_details")]
    output_details: OutputDetails,
    #[serde(rename = "total_tokens")]
    total: i64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
struct InputDetails {
    cached_tokens: i64,
    cache_write_tokens: i64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
struct OutputDetails {
    reasoning_tokens: i64,
}

impl Tokens {
    fn count(usage: Option<&Usage>) -> Self {
        let usage = usage.copied().unwrap_or_default();
        let input = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write);
        Self {
            input,
            input_details: InputDetails { cached_tokens: usage.cache_read, cache_write_tokens: usage.cache_write },
            output: usage.output,
            output_details: OutputDetails { reasoning_tokens: 0 },
            total: input.saturating_add(usage.output).max(usage.total),
        }
    }
}

/// How a run ended that has an answer.
#[derive(Debug)]
pub(super) struct Ended {
    /// The whole text; empty if there is only something to call.
    pub(super) text: String,
    pub(super) cut_short: bool,
    pub(super) calls: Vec<PendingToolCall>,
    usage: Tokens,
}

impl Ended {
    /// Reads the end of a run; one without an answer is a refusal.
    pub(super) fn read(end: CompleteEnd) -> Result<Self, Refusal> {
        let cut_short = Finish::of(&end)? == Finish::Length;
        let silent = end.text.trim().is_empty() && end.tool_calls.is_empty();
        let text = if silent { SILENCE.to_owned() } else { end.text };
        Ok(Self { text, cut_short, calls: end.tool_calls, usage: Tokens::count(end.usage.as_ref()) })
    }

    /// Returns the message, under a name that may have been told already.
    pub(super) fn message(&self, id: String) -> Message {
        let status = if self.cut_short { "incomplete" } else { "completed" };
        let phase = if self.calls.is_empty() { "final_answer" } else { "commentary" };
        Message { content: vec![Text::new(&*self.text)], phase: Some(phase), ..Message::opened(id) }.with_status(status)
    }

    /// Returns the calls as items.
    pub(super) fn items(&self) -> impl Iterator<Item = FunctionCall> {
        self.calls.iter().map(|call| FunctionCall {
            id: format!("call_{}", uuid::Uuid::new_v4()),
            call_id: call.id.clone(),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            status: "completed",
        })
    }
}

impl Message {
    /// A message that is about to be said.
    pub(super) fn opened(id: String) -> Self {
        Self { id, role: "assistant", content: Vec::new(), status: "in_progress", phase: None }
    }

    fn with_status(self, status: &'static str) -> Self {
        Self { status, ..self }
    }

    /// Names a new message.
    pub(super) fn new_id() -> String {
        format!("msg_{}", uuid::Uuid::new_v4())
    }
}

impl Resource {
    /// A response that has begun.
    pub(super) fn begun(head: &Head) -> Self {
        Self {
            id: head.id.clone(),
            object: "response",
            created_at: head.created_at,
            status: "in_progress",
            model: head.model.clone(),
            output: Vec::new(),
            usage: Tokens::default(),
            previous_response_id: head.previous.clone(),
            incomplete_details: None,
            error: None,
        }
    }

    /// The response of a run that is over.
    pub(super) fn ended(head: &Head, end: CompleteEnd) -> Result<Self, Refusal> {
        let ended = Ended::read(end)?;
        let message = (!ended.text.trim().is_empty()).then(|| OutputItem::Message(ended.message(Message::new_id())));
        let output = message.into_iter().chain(ended.items().map(OutputItem::FunctionCall)).collect();
        Ok(Self::finished(head, &ended, output))
    }

    /// The same, with items that may have been told already.
    pub(super) fn finished(head: &Head, ended: &Ended, output: Vec<OutputItem>) -> Self {
        let incomplete_details = ended.cut_short.then_some(Incomplete { reason: "max_output_tokens" });
        let status = if ended.cut_short { "incomplete" } else { "completed" };
        Self { status, output, usage: ended.usage, incomplete_details, ..Self::begun(head) }
    }

    /// A response that failed.
    pub(super) fn failed(head: &Head, refusal: &Refusal) -> Self {
        let error = Problem { code: refusal.kind(), message: refusal.message() };
        Self { status: "failed", error: Some(error), ..Self::begun(head) }
    }
}
