//! From messages to prompts, case by case.

use serde_json::json;

use super::*;

fn assemble(messages: &Value) -> Result<(String, Option<String>), String> {
    let prompt = Prompt::assemble(Some(messages)).map_err(|refusal| match refusal {
        Refusal::Invalid(message) => message.into_owned(),
        other => panic!("{other:?}"),
    })?;
    Ok((prompt.message, prompt.system))
}

fn message(messages: &Value) -> String {
    assemble(messages).unwrap().0
}

#[test]
fn a_single_message_is_the_prompt() {
    for (content, expected) in [
        (json!("  hello\n"), "hello"),
        (json!([{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}]), "one\ntwo"),
        (json!([{"input_text": "three"}, {"type": "other", "text": "not this"}, 7]), "three"),
        (json!([{"type": "text", "text": " x "}, {"type": "input_audio", "input_audio": {}}]), "x"),
    ] {
        assert_eq!(message(&json!([{"role": "user", "content": content}])), expected);
    }
}

#[test]
fn system_and_developer_messages_go_into_the_system_prompt() {
    let messages = json!([
        {"role": "system", "content": " be brief "},
        {"role": "developer", "content": [{"type": "text", "text": "no jokes"}]},
        {"role": "system", "content": ""},
        {"role": "user", "content": "hi"},
    ]);
    assert_eq!(assemble(&messages).unwrap(), ("hi".to_owned(), Some("be brief\n\nno jokes".to_owned())));
}

#[test]
fn earlier_messages_stand_above_the_current_one() {
    let messages = json!([
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "critic", "content": "nobody knows this role"},
        "not a message",
        {"role": "user", "content": "  "},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "prefilled answers are ignored"},
    ]);
    let expected = "[Chat messages since your last reply - for context]\nUser: first\nAssistant: answer\n\n\
                    [Current message - respond to this]\nUser: second";
    assert_eq!(message(&messages), expected);
}

#[test]
fn tool_turns_are_told_as_text() {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Ulm\"}"}});
    let messages = json!([
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": null, "tool_calls": [call, {"id": "broken"}]},
        {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "rain"},
    ]);
    let expected = "[Chat messages since your last reply - for context]\nUser: weather?\n\
                    Assistant: tool_call id=call_1 name=weather arguments={\"city\":\"Ulm\"}\n\n\
                    [Current message - respond to this]\nTool:call_1: rain";
    assert_eq!(message(&messages), expected);
}

#[test]
fn a_tool_that_says_nothing_has_answered_all_the_same() {
    for (tool, sender) in [
        (json!({"role": "tool", "tool_call_id": "c", "content": ""}), "Tool:c"),
        (json!({"role": "function", "name": "f"}), "Tool:f"),
        (json!({"role": "tool"}), "Tool"),
    ] {
        assert_eq!(message(&json!([tool])), format!("[Current message - respond to this]\n{sender}: "));
    }
}

#[test]
fn without_a_message_of_a_user_the_last_one_counts() {
    assert_eq!(message(&json!([{"role": "assistant", "content": "a"}])), "a");
    let two = message(&json!([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]));
    assert!(two.ends_with("[Current message - respond to this]\nAssistant: b"), "{two}");
}

#[test]
fn refuses_requests_without_a_message() {
    let missing = Err("Missing user message in `messages`.".to_owned());
    for messages in [
        json!([]),
        json!(null),
        json!("hi"),
        json!({"role": "user", "content": "hi"}),
        json!([{"role": "system", "content": "x"}]),
        json!([{"role": "user", "content": " "}]),
        json!([{"content": "no role"}]),
        json!([{"role": "user", "content": {"type": "text", "text": "not an array"}}]),
    ] {
        assert_eq!(assemble(&messages), missing, "{messages}");
    }
    assert!(Prompt::assemble(None).is_err());
}

#[test]
fn pictures_come_with_the_newest_message_of_the_user_only() {
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let expected = [Part::Picture(Source::Url("data:image/png;base64,AAAA".to_owned()))];
    let with_text = json!([{"role": "user", "content": [{"type": "text", "text": "what is this?"}, picture]}]);
    let prompt = Prompt::assemble(Some(&with_text)).unwrap();
    assert_eq!((prompt.message.as_str(), prompt.media.as_slice()), ("what is this?", expected.as_slice()));
    let alone = json!([{"role": "user", "content": "hi"}, {"role": "user", "content": [picture]}]);
    assert!(message(&alone).ends_with("User: User sent image(s) with no text."));
    let earlier =
        json!([{"role": "user", "content": [picture]}, {"role": "assistant", "content": "a cat"}, {"role": "user", "content": "sure?"}]);
    let prompt = Prompt::assemble(Some(&earlier)).unwrap();
    let text = "[Chat messages since your last reply - for context]\nAssistant: a cat\n\n[Current message - respond to this]\nUser: sure?";
    assert_eq!((prompt.message.as_str(), prompt.media.len()), (text, 0));
    // The result of a tool is about the question before it.
    let looped = json!([{"role": "user", "content": [picture]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]);
    assert_eq!(Prompt::assemble(Some(&looped)).unwrap().media, expected);
}
