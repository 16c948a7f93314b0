//! Amazon Bedrock's dialect.

use super::*;
use crate::provider::bedrock::Parser;

#[test]
fn bedrock_renders_turns_marks_and_thoughts() {
    let body = rendered(Dialect::Bedrock);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "what time?"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"encrypted_content\":\"x\"}"}}},
                {"text": "let me see"},
                {"toolUse": {"toolUseId": "call_1", "name": "clock", "input": {"zone": "UTC"}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "noon"}], "status": "success"}},
                {"text": "thanks"}]},
        ])
    );
    // Two thousand tokens of three thousand would leave too little for words.
    assert_eq!(body["additionalModelRequestFields"], json!({"thinking": {"type": "enabled", "budget_tokens": 1_976}}));
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 3_000, "stopSequences": ["END"]}), "who thinks takes no temperature");
    assert_eq!((&body["system"], &body["toolConfig"]["toolChoice"]), (&json!([{"text": "be brief"}]), &json!({"tool": {"name": "clock"}})));
}

#[test]
fn bedrock_marks_what_is_to_be_kept_for_models_that_keep_it() {
    let model = Model { id: "eu.anthropic.claude-x:0".to_owned(), ..model(Dialect::Bedrock) };
    let Endpoint::Server(server) = &model.endpoint else { panic!("no server") };
    let (prompt, sampling) = (conversation(model.api()), Sampling::default());
    let call = Call {
        model: &model,
        credential: None,
        prompt: &prompt,
        tools: &[],
        tool_choice: &ToolChoice::Auto,
        sampling: &sampling,
        thinking: "off",
        patient: false,
        trace: TraceContext::generate(),
        status: "",
    };
    let request = render(server, &call).unwrap();
    assert!(request.url().ends_with("/v1/model/eu.anthropic.claude-x%3A0/converse-stream"), "{}", request.url());
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let mark = json!({"cachePoint": {"type": "default"}});
    assert_eq!((&body["system"][1], &body["messages"][2]["content"][2]), (&mark, &mark));
}

#[test]
fn bedrock_is_heard_in_pieces_and_as_a_whole() {
    let (delta, over) = heard(
        &mut Parser,
        &[
            json!({"messageStart": {"role": "assistant"}}),
            json!({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}}),
            json!({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}}}),
            json!({"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "hello"}}}),
            json!({"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "c", "name": "clock"}}}}),
            json!({"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": "{\"a\""}}}}),
            json!({"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": ":1}"}}}}),
            json!({"contentBlockStop": {"contentBlockIndex": 2}}),
            json!({"messageStop": {"stopReason": "tool_use"}}),
            json!({"metadata": {"usage": {"inputTokens": 6, "outputTokens": 2, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 1}}}),
        ],
    )
    .unwrap();
    assert!(over);
    assert_eq!((delta.text.as_str(), delta.finish, delta.usage), ("hello", Some(Finish::ToolUse), Some(usage(6, 2, 4, 1))));
    assert_eq!((arguments(&delta).as_str(), delta.tools[0].id.as_str()), (r#"{"a":1}"#, "c"));
    let thought: String = delta.thoughts.iter().flat_map(|part| [part.text.as_str(), part.signature.as_str()]).collect();
    assert_eq!(thought, "hms");
    let whole = json!({"output": {"message": {"content": [{"text": "all"}]}}, "stopReason": "max_tokens", "usage": {"inputTokens": 1}});
    let whole = Parser.document(whole.to_string().as_bytes()).unwrap();
    assert_eq!((whole.text.as_str(), whole.finish), ("all", Some(Finish::Length)));
    for (kind, expected) in [
        ("throttlingException", Kind::RateLimit),
        ("serviceUnavailableException", Kind::Overloaded),
        ("modelStreamErrorException", Kind::Server),
        ("accessDeniedException", Kind::Auth),
        ("validationException", Kind::Refused),
    ] {
        let error = json!({"exception": {"type": kind, "message": "no"}});
        assert_eq!(Parser.piece(&error.to_string()).unwrap_err().kind, expected, "{kind}");
    }
    let long = json!({"exception": {"type": "validationException", "message": "prompt is too long: 9 > 8"}});
    assert_eq!(Parser.piece(&long.to_string()).unwrap_err().kind, Kind::ContextLength);
}
