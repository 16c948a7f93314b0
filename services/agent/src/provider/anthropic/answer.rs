//! The JSON of an answer: a stream of events about its blocks.

use serde::Deserialize;
use serde_json::Value;
use verso_proto::agent::v1::Usage;

use crate::provider::reading::{self, Parse, Step};
use crate::provider::{Delta, Failure, Finish, ThoughtFragment, ToolFragment};

/// Reads the answers.
#[derive(Debug, Default)]
pub(in crate::provider) struct Parser {
    /// The counts so far: the prompt's come first, the answer's last.
    counts: TokenUsage,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: usize,
        content_block: Block,
    },
    ContentBlockDelta {
        index: usize,
        delta: Addition,
    },
    MessageDelta {
        delta: Ending,
        usage: Option<TokenUsage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    usage: Option<TokenUsage>,
    content: Vec<Block>,
    stop_reason: Option<String>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Addition {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ending {
    stop_reason: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_field_names, reason = "the names are the dialect's")]
struct TokenUsage {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_read_input_tokens: Option<i64>,
    cache_creation_input_tokens: Option<i64>,
}

impl TokenUsage {
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
    }

    fn usage(&self) -> Usage {
        let (input, output) = (self.input_tokens.unwrap_or(0), self.output_tokens.unwrap_or(0));
        let (cache_read, cache_write) = (self.cache_read_input_tokens.unwrap_or(0), self.cache_creation_input_tokens.unwrap_or(0));
        Usage { input, output, cache_read, cache_write, total: input + output + cache_read + cache_write }
    }
}

impl Parse for Parser {
    fn piece(&mut self, data: &str) -> Result<Step, Failure> {
        Ok(match reading::json(data.as_bytes())? {
            Event::MessageStart { message } => {
                self.counts.update(message.usage.unwrap_or_default());
                Step::nothing()
            }
            Event::ContentBlockStart { index, content_block } => Step::Add(opened(index, content_block, false)),
            Event::ContentBlockDelta { index, delta } => Step::Add(added(index, delta)),
            Event::MessageDelta { delta, usage } => {
                self.counts.update(usage.unwrap_or_default());
                let usage = Some(self.counts.usage());
                Step::Add(Delta { usage, finish: delta.stop_reason.as_deref().map(finish), ..Delta::default() })
            }
            Event::MessageStop => Step::End(Delta::default()),
            Event::Error { error } => return Err(Failure::from_stream(&error)),
            Event::Other => Step::nothing(),
        })
    }

    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure> {
        let message: Message = reading::json(body)?;
        if let Some(error) = message.error.filter(|error| !error.is_null()) {
            return Err(Failure::from_stream(&error));
        }
        self.counts.update(message.usage.unwrap_or_default());
        let mut whole = Delta { usage: Some(self.counts.usage()), ..Delta::default() };
        for (index, block) in message.content.into_iter().enumerate() {
            whole.merge(opened(index, block, true));
        }
        whole.finish = message.stop_reason.as_deref().map(finish);
        Ok(whole)
    }
}

/// Reads the beginning of a block, or, `whole`, all of it: a tool's input comes in pieces after the beginning.
fn opened(index: usize, block: Block, whole: bool) -> Delta {
    let thought =
        |text, signature, redacted| Delta { thoughts: vec![ThoughtFragment { index, text, signature, redacted }], ..Delta::default() };
    match block {
        Block::Text { text } => Delta { text, ..Delta::default() },
        Block::Thinking { thinking, signature } => thought(thinking, signature, false),
        Block::RedactedThinking { data } => thought(String::new(), data, true),
        Block::ToolUse { id, name, input } => {
            let arguments = if whole { input.to_string() } else { String::new() };
            Delta { tools: vec![ToolFragment { index, id, name, arguments, signature: String::new() }], ..Delta::default() }
        }
        Block::Other => Delta::default(),
    }
}

fn added(index: usize, addition: Addition) -> Delta {
    let thought =
        |text, signature| Delta { thoughts: vec![ThoughtFragment { index, text, signature, redacted: false }], ..Delta::default() };
    match addition {
        Addition::TextDelta { text } => Delta { text, ..Delta::default() },
        Addition::ThinkingDelta { thinking } => thought(thinking, String::new()),
        Addition::SignatureDelta { signature } => thought(String::new(), signature),
        Addition::InputJsonDelta { partial_json } => {
            Delta { tools: vec![ToolFragment { index, arguments: partial_json, ..ToolFragment::default() }], ..Delta::default() }
        }
        Addition::Other => Delta::default(),
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolUse,
        "refusal" => Finish::Filtered,
        _ => Finish::Stop,
    }
}
