//! The JSON of replies, whole and in pieces.

use serde::Serialize;
use utoipa::ToSchema;
use verso_proto::agent::v1::{CompleteEnd, PendingToolCall, Usage};

use super::super::errors::Refusal;
use super::super::relay::{Finish, SILENCE};

/// The longest slice of a call's arguments in a streamed reply, in bytes.
const SLICE_BYTES_MAX: usize = 256;

/// What every piece of a reply begins with.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) id: String,
    /// In seconds since 1970.
    pub(super) created: i64,
    /// As the client asked for it.
    pub(super) model: String,
}

/// How a run ended that has an answer.
#[derive(Debug)]
pub(super) struct Ending {
    /// The whole text; empty if the agent had nothing to say.
    pub(super) text: String,
    /// `stop`, `length` or `tool_calls`.
    pub(super) finish_reason: &'static str,
    pub(super) usage: Tokens,
    /// Calls of the caller's own tools.
    pub(super) calls: Vec<PendingToolCall>,
}

impl Ending {
    /// Reads the end of a run; one without an answer is a refusal.
    pub(super) fn read(end: CompleteEnd) -> Result<Self, Refusal> {
        let finish_reason = match Finish::of(&end)? {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool_calls",
        };
        Ok(Self { text: end.text, finish_reason, usage: Tokens::count(end.usage.as_ref()), calls: end.tool_calls })
    }

    /// Returns the text, or what stands for none.
    pub(super) fn text_or_silence(&self) -> &str {
        if self.text.trim().is_empty() && self.calls.is_empty() { SILENCE } else { &self.text }
    }
}

/// Tokens, as clients of this API count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Tokens {
    #[serde(rename = "prompt_tokens")]
    prompt: i64,
    #[serde(rename = "completion_tokens")]
    completion: i64,
    #[serde(rename = "total_tokens")]
    total: i64,
    #[serde(rename = "prompt_tokens_details", skip_serializing_if = "Option::is_none")]
    prompt_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
struct PromptDetails {
    cached_tokens: i64,
}

impl Tokens {
    fn count(usage: Option<&Usage>) -> Self {
        let usage = usage.copied().unwrap_or_default();
        let prompt = usage.input.saturating_add(usage.cache_read);
        Self {
            prompt,
            completion: usage.output,
            total: prompt.saturating_add(usage.output).max(usage.total),
            prompt_details: (usage.cache_read > 0).then_some(PromptDetails { cached_tokens: usage.cache_read }),
        }
    }
}

/// Returns a whole reply.
pub(super) fn completion(head: &Head, end: CompleteEnd) -> Result<Completion, Refusal> {
    let ending = Ending::read(end)?;
    let content = ending.text_or_silence().to_owned();
    let message = Message { role: "assistant", content, tool_calls: ending.calls.iter().map(Called::whole).collect() };
    Ok(Completion {
        id: head.id.clone(),
        object: "chat.completion",
        created: head.created,
        model: head.model.clone(),
        choices: [Answer { index: 0, message, finish_reason: ending.finish_reason }],
        usage: ending.usage,
    })
}

/// A whole reply.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Completion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    #[schema(value_type = Vec<Answer>)]
    choices: [Answer; 1],
    usage: Tokens,
}

#[derive(Debug, Serialize, ToSchema)]
struct Answer {
    index: u32,
    message: Message,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Message {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Called>,
}

/// A call of one of the caller's tools.
#[derive(Debug, Serialize, ToSchema)]
struct Called {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Debug, Serialize, ToSchema)]
struct Function {
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

impl Called {
    fn whole(call: &PendingToolCall) -> Self {
        let function = Function { name: call.name.clone(), arguments: call.arguments.clone() };
        Self { id: call.id.clone(), r#type: "function", function }
    }
}

/// A part of a call in a streamed reply: first what it is, then its arguments in slices.
#[derive(Debug, Serialize)]
struct CallPiece<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionPiece<'a>,
}

#[derive(Debug, Serialize)]
struct FunctionPiece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// What a piece adds to the message.
#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallPiece<'a>; 1]>,
}

#[derive(Debug, Serialize)]
struct Piece<'a> {
    index: u32,
    delta: Delta<'a>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Piece<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Tokens>,
}

/// Server-sent events that wait to be sent together.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Opens the message.
    pub(super) fn role(self, head: &Head) -> Self {
        self.piece(head, Delta { role: Some("assistant"), ..Delta::default() }, None)
    }

    /// Adds text to the message.
    pub(super) fn text(self, head: &Head, text: &str) -> Self {
        self.piece(head, Delta { content: Some(text), ..Delta::default() }, None)
    }

    /// Adds the calls of the caller's tools to the message.
    pub(super) fn calls(self, head: &Head, calls: &[PendingToolCall]) -> Self {
        calls.iter().enumerate().fold(self, |frames, (index, call)| {
            let function = FunctionPiece { name: Some(&call.name), arguments: "" };
            let frames = frames.call(head, CallPiece { index, id: Some(&call.id), r#type: Some("function"), function });
            slices(&call.arguments).fold(frames, |frames, arguments| {
                let function = FunctionPiece { name: None, arguments };
                frames.call(head, CallPiece { index, id: None, r#type: None, function })
            })
        })
    }

    fn call(self, head: &Head, piece: CallPiece<'_>) -> Self {
        self.piece(head, Delta { tool_calls: Some([piece]), ..Delta::default() }, None)
    }

    /// Closes the message.
    pub(super) fn finish(self, head: &Head, reason: &'static str) -> Self {
        self.piece(head, Delta::default(), Some(reason))
    }

    /// Says what the reply has cost.
    pub(super) fn usage(self, head: &Head, usage: Tokens) -> Self {
        self.chunk(head, &[], Some(usage))
    }

    /// Says why there is no more.
    pub(super) fn error(mut self, refusal: &Refusal) -> Self {
        self.data(refusal.json().as_bytes());
        self
    }

    /// Ends the stream: without this, it broke off.
    pub(super) fn done(mut self) -> Self {
        self.data(b"[DONE]");
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn piece(self, head: &Head, delta: Delta<'_>, finish_reason: Option<&'static str>) -> Self {
        self.chunk(head, &[Piece { index: 0, delta, finish_reason }], None)
    }

    fn chunk(mut self, head: &Head, choices: &[Piece<'_>], usage: Option<Tokens>) -> Self {
        let chunk = Chunk { id: &head.id, object: "chat.completion.chunk", created: head.created, model: &head.model, choices, usage };
        let json = serde_json::to_vec(&chunk).expect("strings and numbers can be written as JSON");
        self.data(&json);
        self
    }

    /// JSON has no raw line breaks, so that one line holds it.
    fn data(&mut self, line: &[u8]) {
        self.bytes.reserve(line.len() + 8);
        self.bytes.extend_from_slice(b"data: ");
        self.bytes.extend_from_slice(line);
        self.bytes.extend_from_slice(b"\n\n");
    }
}

/// Cuts arguments into slices of at most so many bytes, between characters.
fn slices(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (slice, after) = rest.split_at(rest.floor_char_boundary(SLICE_BYTES_MAX));
        rest = after;
        Some(slice)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn head() -> Head {
        Head { id: "chatcmpl_1".to_owned(), created: 1_700_000_000, model: "openclaw".to_owned() }
    }

    fn end(text: &str, stop_reason: &str) -> CompleteEnd {
        CompleteEnd { text: text.to_owned(), stop_reason: stop_reason.to_owned(), ..CompleteEnd::default() }
    }

    fn reply(end: CompleteEnd) -> Value {
        serde_json::to_value(completion(&head(), end).unwrap()).unwrap()
    }

    #[test]
    fn a_whole_reply_has_the_shape_that_clients_parse() {
        let usage = Usage { input: 10, output: 5, cache_read: 2, cache_write: 0, total: 20 };
        assert_eq!(
            reply(CompleteEnd { usage: Some(usage), ..end("Hello.", "stop") }),
            json!({
                "id": "chatcmpl_1", "object": "chat.completion", "created": 1_700_000_000, "model": "openclaw",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 20, "prompt_tokens_details": {"cached_tokens": 2}},
            })
        );
        let bare = reply(end("Cut", "length"));
        assert_eq!(bare["choices"][0]["finish_reason"], "length");
        assert_eq!(bare["usage"], json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}));
    }

    #[test]
    fn calls_of_the_callers_tools_are_answered_whole_and_in_slices() {
        let arguments = format!("{{\"city\":\"{}\"}}", "ü".repeat(200));
        let call = PendingToolCall { id: "call_1".to_owned(), name: "weather".to_owned(), arguments: arguments.clone() };
        let whole = reply(CompleteEnd { tool_calls: vec![call.clone()], ..end("", "tool_calls") });
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
        let expected = json!([{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}]);
        assert_eq!((&whole["choices"][0]["message"]["tool_calls"], &whole["choices"][0]["message"]["content"]), (&expected, &json!("")));
        let text = String::from_utf8(Frames::default().calls(&head(), &[call]).into_bytes()).unwrap();
        let chunks: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        let piece = |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"][0].clone();
        assert_eq!(
            piece(&chunks[0]),
            json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}})
        );
        let told: String = chunks.iter().filter_map(|chunk| piece(chunk)["function"]["arguments"].as_str().map(str::to_owned)).collect();
        assert_eq!(told, arguments);
        assert!(chunks.len() > 2);
    }

    #[test]
    fn silence_is_put_into_words_and_an_error_is_no_answer() {
        assert_eq!(reply(end(" ", "stop"))["choices"][0]["message"]["content"], "No response from Verso.");
        assert_eq!(reply(end("Half", "aborted"))["choices"][0]["message"]["content"], "Half");
        for reason in ["error", "stop"] {
            let failed = CompleteEnd { error: Some("the provider could not be reached".to_owned()), ..end("", reason) };
            assert_eq!(
                Ending::read(failed).unwrap_err().json(),
                r#"{"error":{"message":"the provider could not be reached","type":"api_error"}}"#
            );
        }
    }

    #[test]
    fn each_piece_is_one_line_and_the_pieces_have_the_shape_that_clients_parse() {
        let usage = Tokens::count(Some(&Usage { input: 1, output: 2, cache_read: 0, cache_write: 0, total: 3 }));
        let frames = Frames::default().role(&head()).text(&head(), "a\nb\u{2028}").finish(&head(), "stop").usage(&head(), usage).done();
        let text = String::from_utf8(frames.into_bytes()).unwrap();
        let lines: Vec<&str> = text.strip_suffix("\n\n").unwrap().split("\n\n").map(|line| line.strip_prefix("data: ").unwrap()).collect();
        assert_eq!(lines.last(), Some(&"[DONE]"));
        let chunks: Vec<Value> = lines[..4].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for chunk in &chunks {
            assert_eq!(chunk["object"], "chat.completion.chunk");
            assert_eq!((&chunk["id"], &chunk["created"]), (&json!("chatcmpl_1"), &json!(1_700_000_000)));
        }
        assert_eq!(chunks[0]["choices"], json!([{"index": 0, "delta": {"role": "assistant"}, "finish_reason": null}]));
        assert_eq!(chunks[1]["choices"], json!([{"index": 0, "delta": {"content": "a\nb\u{2028}"}, "finish_reason": null}]));
        assert_eq!(chunks[2]["choices"], json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
        assert_eq!(chunks[3]["choices"], json!([]));
        assert_eq!(chunks[3]["usage"], json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}));
        assert!(chunks[2].get("usage").is_none());
    }
}
