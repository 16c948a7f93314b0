//! A response in pieces: server-sent events in the order that the API promises, each sent as soon as the agent says it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use verso_proto::agent::v1::CompleteEnd;
use verso_proto::agent::v1::complete_response::Item;

use super::super::chat::{contradiction, missing};
use super::super::errors::Refusal;
use super::super::run::Run;
use super::Ending;
use super::reply::{Ended, Head, Message, OutputItem, Resource, Text};

/// Silence after which a comment is sent: proxies cut connections that look dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// From a run's items to the events of its client. Dropping it, as the server does when the client is gone, ends the run.
pub(super) struct Relay {
    head: Head,
    run: Run,
    ending: Ending,
    message_id: String,
    /// What the client has been sent of the text.
    sent: String,
    events: Events,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Text,
    Over,
}

impl Relay {
    pub(super) fn new(head: Head, run: Run, ending: Ending) -> Self {
        let message_id = Message::new_id();
        Self { head, run, ending, message_id, sent: String::new(), events: Events::default(), stage: Stage::Opening }
    }

    /// Returns the response whose body is the stream.
    pub(super) fn into_response(self) -> Response {
        let events = stream::unfold(self, async |mut relay| relay.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), relay))).fuse();
        let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache"), (CONNECTION, "keep-alive")];
        (headers, Body::from_stream(events)).into_response()
    }

    /// Returns the next bytes; none after the end.
    async fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Text;
                self.open();
            }
            Stage::Text => {
                if let Some(comment) = self.next_text().await {
                    return Some(comment);
                }
            }
            Stage::Over => return None,
        }
        Some(self.events.take())
    }

    /// These come before the run says anything, so that a failing one has them too.
    fn open(&mut self) {
        for kind in ["response.created", "response.in_progress"] {
            self.events.add(kind, json!({"response": Resource::begun(&self.head)}));
        }
        let item = OutputItem::Message(Message::opened(self.message_id.clone()));
        self.events.add("response.output_item.added", json!({"output_index": 0, "item": item}));
        let part = Text::new("");
        self.events
            .add("response.content_part.added", json!({"item_id": self.message_id, "output_index": 0, "content_index": 0, "part": part}));
    }

    async fn next_text(&mut self) -> Option<Bytes> {
        loop {
            match timeout(KEEP_ALIVE, self.run.next()).await {
                Err(_) => return Some(Bytes::from_static(b": keepalive\n\n")),
                // What has to be a call may turn out not to be one, and text could not be taken back.
                Ok(Ok(Item::Delta(text))) if text.is_empty() || self.ending.must.withholds_text() => continue,
                Ok(Ok(Item::Delta(text))) => {
                    self.run.mark_shown();
                    self.say(&text);
                }
                Ok(Ok(Item::End(end))) => self.end(end),
                // The service is gone, and the rest of the answer with it.
                Ok(Err(refusal)) => self.fail(&refusal),
            }
            return None;
        }
    }

    fn say(&mut self, text: &str) {
        self.sent.push_str(text);
        let place = json!({"item_id": self.message_id, "output_index": 0, "content_index": 0, "delta": text, "logprobs": []});
        self.events.add("response.output_text.delta", place);
    }

    fn end(&mut self, end: CompleteEnd) {
        let read = self.ending.must.check(&end).and_then(|()| Ended::read(end));
        let ended = match read {
            Ok(ended) => ended,
            Err(refusal) => return self.fail(&refusal),
        };
        let Some(rest) = missing(&self.sent, &ended.text).map(str::to_owned) else { return self.fail(&contradiction()) };
        if !rest.is_empty() {
            self.say(&rest);
        }
        self.stage = Stage::Over;
        let message = ended.message(self.message_id.clone());
        let place = |what: &str, value: Value| {
            let mut place = json!({"item_id": self.message_id, "output_index": 0, "content_index": 0});
            place[what] = value;
            place
        };
        let (text, part) = (place("text", json!(ended.text)), place("part", json!(message.content.first())));
        self.events.add("response.output_text.done", text);
        self.events.add("response.content_part.done", part);
        let mut output = vec![OutputItem::Message(message)];
        self.events.add("response.output_item.done", json!({"output_index": 0, "item": output[0]}));
        for call in ended.items() {
            let index = output.len();
            let mut begun = call.clone();
            begun.arguments.clear();
            begun.status = "in_progress";
            let (id, arguments) = (call.id.clone(), call.arguments.clone());
            self.events.add("response.output_item.added", json!({"output_index": index, "item": OutputItem::FunctionCall(begun)}));
            let told = |what: &str| json!({"item_id": id, "output_index": index, what: arguments});
            self.events.add("response.function_call_arguments.delta", told("delta"));
            self.events.add("response.function_call_arguments.done", told("arguments"));
            let item = OutputItem::FunctionCall(call);
            self.events.add("response.output_item.done", json!({"output_index": index, "item": item}));
            output.push(item);
        }
        let resource = Resource::finished(&self.head, &ended, output);
        let kind = if ended.cut_short { "response.incomplete" } else { "response.completed" };
        self.events.add(kind, json!({"response": resource}));
        self.events.done();
        self.ending.remember(&self.head.id);
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.stage = Stage::Over;
        self.events.add("response.failed", json!({"response": Resource::failed(&self.head, refusal)}));
        self.events.done();
    }
}

/// Events that wait to be sent together, numbered in their order.
#[derive(Debug, Default)]
struct Events {
    bytes: Vec<u8>,
    number: u64,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    members: Value,
}

impl Events {
    fn add(&mut self, kind: &str, members: Value) {
        let event = Event { r#type: kind, sequence_number: self.number, members };
        self.number += 1;
        // JSON has no raw line breaks, so that one line holds it.
        let line = serde_json::to_string(&event).expect("JSON can be written as JSON");
        self.bytes.extend_from_slice(format!("event: {kind}\ndata: {line}\n\n").as_bytes());
    }

    fn done(&mut self) {
        self.bytes.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }
}
