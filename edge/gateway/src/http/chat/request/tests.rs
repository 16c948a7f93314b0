//! Fields of chat requests, right and wrong.

use serde_json::{Value, json};

use super::*;

fn parse(mut fields: Value) -> Result<ChatRequest, String> {
    if fields.get("messages").is_none() {
        fields["messages"] = json!([{"role": "user", "content": "hi"}]);
    }
    ChatRequest::parse(fields.as_object().unwrap()).map_err(|refusal| match refusal {
        Refusal::Invalid(message) => message.into_owned(),
        other => panic!("{other:?}"),
    })
}

#[test]
fn reads_what_is_used() {
    let fields = json!({"model": "openclaw/Beta", "stream": true, "stream_options": {"include_usage": true}, "user": " Ann ", "extra": 1});
    let chat = parse(fields).unwrap();
    assert_eq!((chat.model.as_str(), chat.agent), ("openclaw/Beta", Some(ModelName::Agent("beta".to_owned()))));
    assert_eq!((chat.stream, chat.include_usage, chat.user.as_deref()), (true, true, Some("Ann")));
    let bare = parse(json!({"model": 7, "stream": "true", "stream_options": null, "user": 5})).unwrap();
    assert_eq!((bare.model.as_str(), bare.agent), ("openclaw", Some(ModelName::Default)));
    assert_eq!((bare.stream, bare.include_usage, bare.user), (false, false, None));
    assert_eq!(parse(json!({"model": "gpt-4o"})).unwrap().agent, None);
}

#[test]
fn accepts_parameters_within_their_range() {
    parse(json!({
        "temperature": 2, "top_p": 0.0, "frequency_penalty": -2.0, "presence_penalty": 2, "max_tokens": 16.0,
        "max_completion_tokens": 1, "seed": -7, "stop": ["a", "b", "c", "d"], "response_format": {"type": "json_object"},
        "tools": [], "tool_choice": "auto",
    }))
    .unwrap();
    parse(json!({
        "temperature": null, "max_tokens": null, "seed": null, "stop": null, "response_format": null, "tools": null, "tool_choice": null,
    }))
    .unwrap();
    parse(json!({"stop": "", "tools": [{"type": "function", "function": {"name": "x"}}], "tool_choice": "none"})).unwrap();
}

#[test]
fn refuses_parameters_outside_their_range() {
    let stop = "`stop` must be a string or an array of up to 4 non-empty strings.";
    let format = "`response_format.type` must be `text`, `json_object` or `json_schema`.";
    for (fields, expected) in [
        (json!({"temperature": 2.1}), "`temperature` must be between 0 and 2."),
        (json!({"temperature": "1"}), "`temperature` must be between 0 and 2."),
        (json!({"top_p": -0.1}), "`top_p` must be between 0 and 1."),
        (json!({"presence_penalty": 3}), "`presence_penalty` must be between -2 and 2."),
        (json!({"max_tokens": 0}), "`max_tokens` must be a positive integer."),
        (json!({"max_completion_tokens": 1.5}), "`max_completion_tokens` must be a positive integer."),
        (json!({"seed": "x"}), "`seed` must be an integer."),
        (json!({"stop": ["a", ""]}), stop),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), stop),
        (json!({"stop": {}}), stop),
        (json!({"response_format": {"type": "xml"}}), format),
        (json!({"response_format": "text"}), format),
        (json!({"model": "m".repeat(257)}), "`model` must not be longer than 256 bytes."),
    ] {
        assert_eq!(parse(fields.clone()).unwrap_err(), expected, "{fields}");
    }
}

#[test]
fn refuses_tools_that_nobody_would_call() {
    let tools = json!([{"type": "function", "function": {"name": "x"}}]);
    let named = json!({"type": "function", "function": {"name": "x"}});
    for fields in [
        json!({"tools": tools, "tool_choice": "sometimes"}),
        json!({"tool_choice": "required"}),
        json!({"tools": [], "tool_choice": named}),
        json!({"tools": "x"}),
    ] {
        let message = parse(fields.clone()).unwrap_err();
        assert!(message.starts_with("Invalid tools/tool_choice: "), "{fields}: {message}");
    }
}

#[test]
fn passes_the_sampling_on() {
    let parse = |extra: Value| {
        let mut fields = json!({"messages": [{"role": "user", "content": "hi"}]});
        fields.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        ChatRequest::parse(fields.as_object().unwrap()).unwrap().sampling
    };
    assert_eq!(parse(json!({"temperature": null})), None);
    let sampling = parse(json!({"temperature": 0.5, "max_tokens": 9, "max_completion_tokens": 16.0, "stop": "END", "seed": 3})).unwrap();
    assert_eq!((sampling.temperature, sampling.max_tokens, sampling.seed), (Some(0.5), Some(16), Some(3)));
    assert_eq!(sampling.stop, ["END"]);
}
