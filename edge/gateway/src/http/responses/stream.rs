//! A response in pieces: server-sent events in the order that the API promises, each sent as soon as the agent says it.

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::{Value, json};
use verso_proto::agent::v1::CompleteEnd;

use super::super::errors::Refusal;
use super::super::relay::{self, COMMENT, Next, Stage};
use super::super::run::Run;
use super::Ending;
use super::reply::{Ended, Head, Message, OutputItem, Resource, Text};

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

impl Relay {
    pub(super) fn new(head: Head, run: Run, ending: Ending) -> Self {
        let message_id = Message::new_id();
        Self { head, run, ending, message_id, sent: String::new(), events: Events::default(), stage: Stage::Opening }
    }

    /// Returns the response whose body is the stream.
    pub(super) fn into_response(self) -> Response {
        relay::response(stream::unfold(self, async |mut relay| relay.next().await.map(|bytes| (bytes, relay))))
    }

    /// Returns the next bytes; none after the end.
    async fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Text;
                self.open();
            }
            Stage::Text => match relay::next(&mut self.run, &self.ending.must).await {
                Next::Silence => return Some(COMMENT),
                Next::Text(text) => self.say(&text),
                Next::End(end) => self.end(end),
                Next::Broken(refusal) => self.fail(&refusal),
            },
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
        let rest = match relay::rest(&self.sent, &ended.text) {
            Ok(rest) => rest.to_owned(),
            Err(refusal) => return self.fail(&refusal),
        };
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
