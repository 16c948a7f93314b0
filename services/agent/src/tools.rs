//! The tools that a model may call.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::provider::ToolSpec;

/// The one built-in tool.
const SESSION_STATUS: &str = "session_status";

/// What a tool has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For the model.
    pub(crate) text: String,
    pub(crate) is_error: bool,
    /// For clients.
    pub(crate) details: Value,
}

impl Answer {
    /// Returns the JSON of the `tool` event.
    pub(crate) fn as_json(&self) -> Value {
        json!({"content": [{"type": "text", "text": self.text}], "details": self.details})
    }
}

/// Returns the tools that every model call offers.
pub(crate) fn specs() -> &'static [ToolSpec] {
    static SPECS: LazyLock<Vec<ToolSpec>> = LazyLock::new(|| {
        vec![ToolSpec {
            name: SESSION_STATUS.to_owned(),
            description: "Tells how this conversation and this gateway are doing: model, tokens used, context left, time, uptime."
                .to_owned(),
            parameters: json!({"type": "object", "properties": {}, "additionalProperties": false}),
        }]
    });
    &SPECS
}

/// Calls a tool; `status` is what the session's status reads like.
pub(crate) fn call(name: &str, arguments: &str, session_key: &str, status: impl FnOnce() -> String) -> Answer {
    let fail = |text: String| Answer { details: json!({"ok": false, "error": text}), text, is_error: true };
    let parsed: Result<Value, _> = if arguments.trim().is_empty() { Ok(json!({})) } else { serde_json::from_str(arguments) };
    match (name, parsed) {
        (_, Err(error)) => fail(format!("the arguments are not JSON: {error}")),
        (SESSION_STATUS, Ok(_)) => {
            let text = status();
            Answer { details: json!({"ok": true, "sessionKey": session_key, "statusText": text}), text, is_error: false }
        }
        (other, Ok(_)) => fail(format!("there is no tool named {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_refuses() {
        let ask = |name, arguments| call(name, arguments, "agent:main:main", || "all well".to_owned());
        assert_eq!(ask(SESSION_STATUS, "{}").text, "all well");
        assert!(!ask(SESSION_STATUS, "").is_error);
        assert!(ask(SESSION_STATUS, "{").is_error);
        assert_eq!(ask("rm", "{}").text, "there is no tool named rm");
    }
}
