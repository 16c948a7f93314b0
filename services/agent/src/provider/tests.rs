//! Requests and answers of every dialect, in recorded shapes.

mod bedrock;

use serde_json::json;
use verso_proto::Json;
use verso_proto::agent::v1::ContentBlock;

use super::reading::{Parse, Step};
use super::*;
use crate::messages::{self, Author, Image};
use crate::models::Server;

/// A question with a picture, a tool call after a thought, its result, and another question.
fn conversation(api: &str) -> Prompt {
    let image = Image { mime_type: "image/png".to_owned(), data: "aGk=".to_owned() };
    let thought = ContentBlock {
        r#type: "thinking".to_owned(),
        thinking: Some("hm".to_owned()),
        thinking_signature: Some(r#"{"type":"reasoning","id":"rs_1","encrypted_content":"x"}"#.to_owned()),
        ..ContentBlock::default()
    };
    let call = ContentBlock {
        r#type: "toolCall".to_owned(),
        id: Some("call.1".to_owned()),
        name: Some("clock".to_owned()),
        arguments: Some(Json { text: r#"{"zone":"UTC"}"#.to_owned() }),
        ..ContentBlock::default()
    };
    let author = Author { api, provider: "p", model: "m" };
    let said = messages::assistant(vec![thought, messages::text_block("let me see"), call], author, &Usage::default(), "toolUse", 0);
    let result = ChatMessage {
        role: "toolResult".to_owned(),
        content: vec![messages::text_block("noon")],
        tool_call_id: Some("call.1".to_owned()),
        tool_name: Some("clock".to_owned()),
        is_error: Some(false),
        ..ChatMessage::default()
    };
    let messages = vec![messages::user("what time?", &[image], 0), said, result, messages::user("thanks", &[], 0)];
    Prompt { system: "be brief".to_owned(), messages: messages.into_iter().map(Arc::new).collect() }
}

fn model(dialect: Dialect) -> Model {
    let server = Server::new(dialect, "http://127.0.0.1:1/v1/", None);
    let base = crate::models::offline();
    Model { provider: "p".to_owned(), id: "m".to_owned(), max_tokens: Some(4_096), reasoning: true, endpoint: server.into(), ..base }
}

/// Renders the call in a dialect, with a tool, a temperature and some thinking.
fn rendered(dialect: Dialect) -> Value {
    let model = model(dialect);
    let Endpoint::Server(server) = &model.endpoint else { panic!("no server") };
    let tool = ToolSpec(Arc::new(Spec {
        name: "clock".to_owned(),
        description: "tells the time".to_owned(),
        parameters: json!({"type": "object"}).into(),
    }));
    // The one dialect that has no word for it.
    let stop = if dialect == Dialect::Responses { Vec::new() } else { vec!["END".to_owned()] };
    let call = Call {
        model: &model,
        credential: None,
        prompt: &conversation(model.api()),
        tools: &[tool],
        tool_choice: &ToolChoice::Named("clock".to_owned()),
        sampling: &Sampling { temperature: Some(0.5), max_tokens: Some(3_000), stop, ..Sampling::default() },
        thinking: "low",
        patient: false,
        trace: TraceContext::generate(),
        status: "",
    };
    let request = render(server, &call).unwrap();
    serde_json::from_slice(request.body()).unwrap()
}

#[test]
fn a_seed_is_passed_on_or_refused_but_never_left_out() {
    let asked = |dialect| {
        let model = model(dialect);
        let Endpoint::Server(server) = &model.endpoint else { panic!("no server") };
        let call = Call {
            model: &model,
            credential: None,
            prompt: &conversation(model.api()),
            tools: &[],
            tool_choice: &ToolChoice::Auto,
            sampling: &Sampling { seed: Some(4_711), ..Sampling::default() },
            thinking: "off",
            patient: false,
            trace: TraceContext::generate(),
            status: "",
        };
        render(server, &call).map(|request| String::from_utf8_lossy(request.body()).contains("4711")).map_err(|failure| failure.to_string())
    };
    for dialect in [Dialect::Completions, Dialect::Google, Dialect::Ollama] {
        assert_eq!(asked(dialect), Ok(true), "{dialect:?}");
    }
    for dialect in [Dialect::Responses, Dialect::Anthropic, Dialect::Bedrock] {
        let refused = asked(dialect).unwrap_err();
        assert!(refused.contains("cannot be told seed; leave it out"), "{refused}");
    }
}

/// Reads a streamed answer.
fn heard(parser: &mut dyn Parse, pieces: &[Value]) -> Result<(Delta, bool), Failure> {
    let (mut all, mut over) = (Delta::default(), false);
    for piece in pieces {
        assert!(!over, "nothing comes after the end");
        match parser.piece(&piece.to_string())? {
            Step::Add(delta) => all.merge(delta),
            Step::End(delta) => {
                all.merge(delta);
                over = true;
            }
        }
    }
    Ok((all, over))
}

fn arguments(delta: &Delta) -> String {
    delta.tools.iter().map(|part| part.arguments.as_str()).collect()
}

fn usage(input: i64, output: i64, cache_read: i64, cache_write: i64) -> Usage {
    Usage { input, output, cache_read, cache_write, total: input + output + cache_read + cache_write }
}

#[test]
fn completions_render_the_whole_conversation() {
    let body = rendered(Dialect::Completions);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "what time?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            {"role": "assistant", "content": "let me see", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{\"zone\":\"UTC\"}"}}]},
            {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
            {"role": "user", "content": "thanks"},
        ])
    );
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "clock"}}));
    assert_eq!(body["tools"][0]["function"]["name"], "clock");
    assert_eq!((&body["temperature"], &body["max_tokens"], &body["stop"]), (&json!(0.5), &json!(3_000), &json!(["END"])));
    assert_eq!((&body["reasoning_effort"], &body["stream_options"]["include_usage"]), (&json!("low"), &json!(true)));
}

#[test]
fn completions_are_heard_in_pieces_and_as_a_whole() {
    let parser = &mut completions::Parser;
    let piece = |delta: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
    let (delta, over) = heard(
        parser,
        &[
            piece(json!({"role": "assistant", "content": "tok"})),
            piece(json!({"reasoning_content": "hm"})),
            piece(json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "clock", "arguments": "{\"a\""}}]})),
            piece(json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}}),
        ],
    )
    .unwrap();
    assert!(!over, "[DONE] is the end");
    assert_eq!((delta.text.as_str(), delta.finish, delta.usage), ("tok", Some(Finish::ToolUse), Some(usage(6, 2, 4, 0))));
    assert_eq!((arguments(&delta).as_str(), delta.thoughts[0].text.as_str()), (r#"{"a":1}"#, "hm"));
    let whole = parser.document(br#"{"choices":[{"message":{"content":"all"},"finish_reason":"length"}]}"#).unwrap();
    assert_eq!((whole.text.as_str(), whole.finish), ("all", Some(Finish::Length)));
    let failure = parser.piece(r#"{"error":{"message":"slow down","code":429}}"#).unwrap_err();
    assert_eq!(failure.kind, Kind::RateLimit);
    assert_eq!(parser.piece("{\"choices\": [").unwrap_err().kind, Kind::Malformed);
}

#[test]
fn responses_render_items_and_keep_nothing_at_the_provider() {
    let body = rendered(Dialect::Responses);
    assert_eq!(
        body["input"],
        json!([
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "what time?"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,aGk="}]},
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "x"},
            {"type": "message", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "let me see", "annotations": []}]},
            {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{\"zone\":\"UTC\"}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "thanks"}]},
        ])
    );
    assert_eq!((&body["instructions"], &body["store"], &body["max_output_tokens"]), (&json!("be brief"), &json!(false), &json!(3_000)));
    assert_eq!((&body["reasoning"]["effort"], &body["include"]), (&json!("low"), &json!(["reasoning.encrypted_content"])));
    assert_eq!((&body["tools"][0]["name"], &body["tool_choice"]), (&json!("clock"), &json!({"type": "function", "name": "clock"})));
}

#[test]
fn responses_are_heard_in_pieces_and_as_a_whole() {
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "clock", "arguments": ""});
    let done = json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "clock", "arguments": "{}"});
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x", "status": "completed"});
    let counts = json!({"input_tokens": 10, "output_tokens": 2, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 4}});
    let (delta, over) = heard(
        &mut responses::Parser::default(),
        &[
            json!({"type": "response.created", "response": {"id": "r"}}),
            json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": reasoning}),
            json!({"type": "response.output_text.delta", "output_index": 1, "delta": "he"}),
            json!({"type": "response.output_text.delta", "output_index": 1, "delta": "llo"}),
            json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "message", "content": [{"type": "output_text", "text": "hello"}]}}),
            json!({"type": "response.output_item.added", "output_index": 2, "item": call}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"}),
            json!({"type": "response.output_item.done", "output_index": 2, "item": done}),
            json!({"type": "response.completed", "response": {"status": "completed", "usage": counts}}),
        ],
    )
    .unwrap();
    assert!(over);
    assert_eq!((delta.text.as_str(), delta.finish, delta.usage), ("hello", Some(Finish::ToolUse), Some(usage(6, 2, 4, 0))));
    assert_eq!((arguments(&delta).as_str(), delta.tools[0].id.as_str()), ("{}", "c"));
    let signed: Value = serde_json::from_str(&delta.thoughts[1].signature).unwrap();
    assert_eq!(signed, json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}));

    let whole = json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": "all"}]}, done],
                       "incomplete_details": {"reason": "max_output_tokens"}});
    let delta = responses::Parser::default().document(whole.to_string().as_bytes()).unwrap();
    assert_eq!((delta.text.as_str(), arguments(&delta).as_str(), delta.finish), ("all", "{}", Some(Finish::Length)));
    let failed = json!({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}});
    assert_eq!(heard(&mut responses::Parser::default(), &[failed]).unwrap_err().kind, Kind::RateLimit);
    let failed = json!({"type": "error", "code": "server_error", "message": "oh"});
    assert_eq!(heard(&mut responses::Parser::default(), &[failed]).unwrap_err().kind, Kind::Server);
}

#[test]
fn responses_of_a_server_that_does_not_number_its_items_are_told_apart() {
    let call = |id: &str| json!({"type": "function_call", "id": id, "call_id": id, "name": "clock", "arguments": "{}"});
    let (delta, _) = heard(
        &mut responses::Parser::default(),
        &[
            json!({"type": "response.output_text.delta", "item_id": "msg", "delta": "hello"}),
            json!({"type": "response.output_item.done", "item": {"type": "message", "id": "msg", "content": [{"text": "hello"}]}}),
            json!({"type": "response.output_item.added", "item": {"type": "function_call", "id": "a", "call_id": "a", "name": "clock"}}),
            json!({"type": "response.output_item.done", "item": call("a")}),
            json!({"type": "response.output_item.added", "item": {"type": "function_call", "id": "b", "call_id": "b", "name": "clock"}}),
            json!({"type": "response.output_item.done", "item": call("b")}),
            json!({"type": "response.completed", "response": {}}),
        ],
    )
    .unwrap();
    let arguments =
        |index| -> String { delta.tools.iter().filter(|part| part.index == index).map(|part| part.arguments.as_str()).collect() };
    assert_eq!((delta.text.as_str(), arguments(1).as_str(), arguments(2).as_str()), ("hello", "{}", "{}"));
}

#[test]
fn anthropic_renders_blocks_and_marks_what_is_worth_keeping() {
    let body = rendered(Dialect::Anthropic);
    let kept = json!({"type": "ephemeral"});
    assert_eq!(body["system"], json!([{"type": "text", "text": "be brief", "cache_control": kept}]));
    let signature = r#"{"type":"reasoning","id":"rs_1","encrypted_content":"x"}"#;
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "text", "text": "what time?"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": signature},
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "call_1", "name": "clock", "input": {"zone": "UTC"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "noon", "is_error": false},
                {"type": "text", "text": "thanks", "cache_control": kept}]},
        ])
    );
    assert_eq!((&body["max_tokens"], &body["thinking"]), (&json!(3_000), &json!({"type": "enabled", "budget_tokens": 1_976})));
    assert_eq!((&body["temperature"], &body["stop_sequences"]), (&Value::Null, &json!(["END"])));
    assert_eq!(body["tools"][0]["input_schema"], json!({"type": "object"}));
}

#[test]
fn anthropic_is_heard_in_pieces_and_as_a_whole() {
    let delta = |index: usize, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let start = |index: usize, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let (delta, over) = heard(
        &mut anthropic::Parser::default(),
        &[
            json!({"type": "message_start", "message": {"usage": {"input_tokens": 6, "cache_read_input_tokens": 4,
                   "cache_creation_input_tokens": 3, "output_tokens": 1}}}),
            start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
            delta(0, json!({"type": "signature_delta", "signature": "sig"})),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "ping"}),
            start(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "hello"})),
            start(2, json!({"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}})),
            delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
            delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}}),
            json!({"type": "message_stop"}),
        ],
    )
    .unwrap();
    assert!(over);
    assert_eq!((delta.text.as_str(), delta.finish, delta.usage), ("hello", Some(Finish::ToolUse), Some(usage(6, 2, 4, 3))));
    assert_eq!((arguments(&delta).as_str(), delta.tools[0].id.as_str()), (r#"{"a":1}"#, "toolu_1"));
    assert_eq!((delta.thoughts[1].text.as_str(), delta.thoughts[2].signature.as_str()), ("hm", "sig"));

    let whole = json!({"content": [{"type": "text", "text": "all"}, {"type": "tool_use", "id": "t", "name": "clock", "input": {"a": 1}}],
                       "stop_reason": "max_tokens", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let delta = anthropic::Parser::default().document(whole.to_string().as_bytes()).unwrap();
    assert_eq!((delta.text.as_str(), arguments(&delta).as_str(), delta.finish), ("all", r#"{"a":1}"#, Some(Finish::Length)));
    let failed = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    assert_eq!(heard(&mut anthropic::Parser::default(), &[failed]).unwrap_err().kind, Kind::Overloaded);
}

#[test]
fn google_renders_contents_and_is_heard_in_pieces() {
    let body = rendered(Dialect::Google);
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [{"text": "what time?"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
            {"role": "model", "parts": [{"text": "let me see"}, {"functionCall": {"name": "clock", "args": {"zone": "UTC"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "clock", "response": {"output": "noon"}}}, {"text": "thanks"}]},
        ])
    );
    assert_eq!(body["systemInstruction"]["parts"][0]["text"], "be brief");
    assert_eq!((&body["generationConfig"]["temperature"], &body["generationConfig"]["maxOutputTokens"]), (&json!(0.5), &json!(3_000)));
    assert_eq!(body["toolConfig"]["functionCallingConfig"], json!({"mode": "ANY", "allowedFunctionNames": ["clock"]}));

    let piece = |parts: Value| json!({"candidates": [{"content": {"role": "model", "parts": parts}}]});
    let counts = json!({"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 1, "thoughtsTokenCount": 1, "totalTokenCount": 12});
    let (delta, over) = heard(
        &mut google::Parser::default(),
        &[
            piece(json!([{"text": "hm", "thought": true}])),
            piece(json!([{"text": "hel"}, {"text": "lo"}])),
            piece(json!([{"functionCall": {"name": "clock", "args": {"a": 1}}, "thoughtSignature": "sig"}])),
            json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": counts}),
        ],
    )
    .unwrap();
    assert!(!over, "the connection's end is the end");
    assert_eq!((delta.text.as_str(), delta.finish, delta.usage), ("hello", Some(Finish::ToolUse), Some(usage(6, 2, 4, 0))));
    assert_eq!((arguments(&delta).as_str(), delta.tools[0].signature.as_str()), (r#"{"a":1}"#, "sig"));
    let failed = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
    assert_eq!(heard(&mut google::Parser::default(), &[failed]).unwrap_err().kind, Kind::Overloaded);
}

#[test]
fn ollama_renders_messages_and_is_heard_in_lines() {
    let body = rendered(Dialect::Ollama);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "what time?", "images": ["aGk="]},
            {"role": "assistant", "content": "let me see", "tool_calls": [{"function": {"name": "clock", "arguments": {"zone": "UTC"}}}]},
            {"role": "tool", "content": "noon", "tool_name": "clock"},
            {"role": "user", "content": "thanks"},
        ])
    );
    assert_eq!((&body["options"]["num_ctx"], &body["options"]["num_predict"]), (&json!(200_000), &json!(3_000)));
    assert_eq!((&body["options"]["stop"], &body["think"]), (&json!(["END"]), &json!(true)));

    let line = |message: Value| json!({"message": message, "done": false});
    let (delta, over) = heard(
        &mut ollama::Parser::default(),
        &[
            line(json!({"role": "assistant", "content": "", "thinking": "hm"})),
            line(json!({"role": "assistant", "content": "hello"})),
            line(json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "clock", "arguments": {"a": 1}}}]})),
            json!({"message": {"content": ""}, "done": true, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 2}),
        ],
    )
    .unwrap();
    assert!(over);
    assert_eq!((delta.text.as_str(), delta.finish, delta.usage), ("hello", Some(Finish::ToolUse), Some(usage(10, 2, 0, 0))));
    assert_eq!(arguments(&delta), r#"{"a":1}"#);
    let failed = json!({"error": "model 'x' not found"});
    assert_eq!(heard(&mut ollama::Parser::default(), &[failed]).unwrap_err().kind, Kind::Server);
}
