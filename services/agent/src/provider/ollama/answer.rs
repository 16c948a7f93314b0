//! The JSON of an answer, a line each piece.

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
#[serde(default)]
struct Line {
    message: Message,
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: i64,
    eval_count: i64,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    content: String,
    thinking: String,
    tool_calls: Vec<ToolCall>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolCall {
    function: Function,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    name: String,
    arguments: Value,
}

impl Parse for Parser {
    fn piece(&mut self, data: &str) -> Result<Step, Failure> {
        let line: Line = reading::json(data.as_bytes())?;
        let done = line.done;
        let delta = self.read(line)?;
        Ok(if done { Step::End(delta) } else { Step::Add(delta) })
    }

    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure> {
        let line: Line = reading::json(body)?;
        self.read(line)
    }
}

impl Parser {
    fn read(&mut self, line: Line) -> Result<Delta, Failure> {
        if let Some(error) = line.error {
            return Err(Failure::from_stream(&serde_json::json!({"message": error})));
        }
        let mut delta = Delta { text: line.message.content, ..Delta::default() };
        if !line.message.thinking.is_empty() {
            delta.thoughts.push(ThoughtFragment { text: line.message.thinking, ..ThoughtFragment::default() });
        }
        for call in line.message.tool_calls {
            let index = self.calls;
            self.calls += 1;
            let id = format!("call_{index}_{:08x}", rand::random::<u32>());
            let arguments = if call.function.arguments.is_object() { call.function.arguments.to_string() } else { "{}".to_owned() };
            delta.tools.push(ToolFragment { index, id, name: call.function.name, arguments, signature: String::new() });
        }
        if line.done {
            let (input, output) = (line.prompt_eval_count, line.eval_count);
            delta.usage = Some(Usage { input, output, cache_read: 0, cache_write: 0, total: input + output });
            delta.finish = Some(match line.done_reason.as_deref() {
                Some("length") => Finish::Length,
                _ if self.calls > 0 => Finish::ToolUse,
                _ => Finish::Stop,
            });
        }
        Ok(delta)
    }
}
