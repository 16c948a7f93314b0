//! Commands that nodes were asked to carry out, until they answer.

use std::time::Duration;

use serde_json::{Value, json};
use verso_kit::events::Hub;
use verso_proto::Json;
use verso_proto::node::v1::{Event, Invocation, InvokeRequest, InvokeResponse, InvokeResultRequest};
use verso_proto::wire::v1::Audience;

use crate::commands::CommandPolicy;
use crate::error::Error;
use crate::registry::Registry;
use crate::waiting::{Ended, Refused, Waiting};

/// How many commands may be under way.
const PENDING_MAX: usize = 2_048;

/// How long a node may take unless its caller says otherwise, in milliseconds.
const WAIT_MS: i64 = 30_000;

/// The longest that a caller may wait, in milliseconds: a day.
const WAIT_MS_MAX: i64 = 86_400_000;

/// What is under way.
#[derive(Debug)]
pub(crate) struct Invokes {
    policy: CommandPolicy,
    hub: Hub<Event>,
    pending: Waiting<Asked, InvokeResultRequest>,
}

/// Who was asked, and over which connection.
#[derive(Debug)]
struct Asked {
    node_id: String,
    conn_id: String,
}

impl Invokes {
    pub(crate) fn new(policy: CommandPolicy, hub: Hub<Event>) -> Self {
        Self { policy, hub, pending: Waiting::new(PENDING_MAX) }
    }

    /// Returns what nodes may offer.
    pub(crate) fn policy(&self) -> &CommandPolicy {
        &self.policy
    }

    /// Asks a node and waits for its answer.
    pub(crate) async fn invoke(&self, registry: &Registry, request: InvokeRequest) -> Result<InvokeResponse, Error> {
        let (node_id, command) = (request.node_id.trim().to_owned(), request.command.trim().to_owned());
        let (conn_id, node) = registry.link(&node_id).ok_or(Error::NotConnected)?;
        self.policy.check(&node, &command)?;
        let id = uuid::Uuid::new_v4().to_string();
        let asked = Asked { node_id: node_id.clone(), conn_id: conn_id.clone() };
        let place = self.pending.enter(id.clone(), asked).map_err(|refused| match refused {
            Refused::Taken | Refused::Full => Error::Busy { what: "invokes", max: PENDING_MAX },
        })?;
        // Whoever leaves from here on is noticed by `left`; one who left before is noticed here.
        if registry.link(&node_id).is_none_or(|(live, _)| live != conn_id) {
            return Err(Error::NodeGone { command });
        }
        let timeout_ms = request.timeout_ms.unwrap_or(WAIT_MS).clamp(0, WAIT_MS_MAX);
        let invocation = Invocation {
            id,
            node_id: node_id.clone(),
            command: command.clone(),
            params_json: request.params.map(|params| params.text),
            timeout_ms,
            idempotency_key: request.idempotency_key,
        };
        self.hub.emit_with(invocation, |meta| meta.audience = Some(Audience { conn_ids: vec![conn_id] }));
        match place.wait(Duration::from_millis(timeout_ms.unsigned_abs())).await {
            Ended::Answered(result) => answer(node_id, command, result),
            Ended::TimedOut => Err(Error::InvokeTimedOut),
            Ended::Abandoned => Err(Error::NodeGone { command }),
        }
    }

    /// Takes a node's answer; false when nobody waits for it.
    pub(crate) fn result(&self, caller: Option<&str>, result: InvokeResultRequest) -> Result<bool, Error> {
        if caller != Some(result.node_id.as_str()) {
            return Err(Error::WrongNode);
        }
        let (id, node_id) = (result.id.clone(), result.node_id.clone());
        Ok(self.pending.answer(&id, |asked| asked.node_id == node_id, result))
    }

    /// A connection has ended: what was asked over it stays unanswered.
    pub(crate) fn left(&self, conn_id: &str) {
        self.pending.abandon(|asked| asked.conn_id == conn_id);
    }
}

fn answer(node_id: String, command: String, result: InvokeResultRequest) -> Result<InvokeResponse, Error> {
    if !result.ok {
        let error = result.error.unwrap_or_default();
        let message = error.message.filter(|message| !message.trim().is_empty());
        let message = message.unwrap_or_else(|| "node invoke failed".to_owned());
        return Err(Error::NodeFailed { code: error.code.filter(|code| !code.is_empty()), message });
    }
    let (payload, payload_json) = payload(result.payload, result.payload_json);
    Ok(InvokeResponse { ok: true, node_id, command, payload, payload_json })
}

/// What a node answered, as a value and as the text of one. Text that is not JSON is passed on as it came.
fn payload(payload: Option<Json>, payload_json: Option<Json>) -> (Option<Json>, Option<String>) {
    let Some(sent) = payload_json else { return (payload, None) };
    let Ok(text) = serde_json::from_str::<String>(&sent.text) else { return (Some(sent), None) };
    if text.trim().is_empty() {
        return (payload, Some(text));
    }
    let value = match serde_json::from_str::<Value>(&text) {
        Ok(_) => Json { text: text.clone() },
        Err(_) => Json { text: json!({"payloadJSON": text}).to_string() },
    };
    (Some(value), Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer_however_it_is_wrapped() {
        let json = |text: &str| Some(Json { text: text.to_owned() });
        assert_eq!(payload(json("1"), None), (json("1"), None));
        assert_eq!(payload(None, json(r#""{\"a\":1}""#)), (json(r#"{"a":1}"#), Some(r#"{"a":1}"#.to_owned())));
        assert_eq!(payload(None, json(r#"{"a":1}"#)), (json(r#"{"a":1}"#), None));
        assert_eq!(payload(None, json(r#""oops""#)), (json(r#"{"payloadJSON":"oops"}"#), Some("oops".to_owned())));
        assert_eq!(payload(None, None), (None, None));
    }
}
