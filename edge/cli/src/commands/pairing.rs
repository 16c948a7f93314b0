//! `verso pairing`: who may talk to the agents from chat networks.

use serde_json::{Value, json};

use super::Session;
use super::remote::{Remote, ask, members, text};
use crate::args::{Group, Pairing};
use crate::output::{As, Column};

const WAITING: [Column; 6] = [
    Column("Channel", &["/channel"], As::Text),
    Column("Account", &["/accountId"], As::Text),
    Column("Code", &["/code"], As::Text),
    Column("Who", &["/name", "/id"], As::Text),
    Column("Asked", &["/createdAt"], As::Ago),
    Column("Wrote last", &["/lastSeenAt"], As::Ago),
];

/// What a person is told who was let in.
const WELCOME: &str = "You have been let in. Say hello!";

pub(super) async fn run(session: &Session, group: &Group<Pairing>) -> anyhow::Result<()> {
    let reach = &group.reach;
    match group.command.as_ref().unwrap_or(&Pairing::List { channel: None }) {
        Pairing::List { channel } => {
            let params = members([("channel", json!(channel))]);
            let mut remote = Remote::open(session, reach).await?;
            let mut payload = remote.call("channels.pairing.list", params).await?;
            payload["channel"] = json!(channel);
            remote.answer(&payload, || remote.section("Waiting", &payload, "/requests", &WAITING))
        }
        Pairing::Approve { channel, code, notify } => {
            let mut remote = Remote::open(session, reach).await?;
            let payload = remote.call("channels.pairing.approve", json!({"channel": channel, "code": code})).await?;
            if *notify {
                let key = uuid::Uuid::new_v4().to_string();
                let message = json!({
                    "to": text(&payload, "/id"), "message": WELCOME, "channel": text(&payload, "/channel"),
                    "accountId": text(&payload, "/accountId"), "idempotencyKey": key,
                });
                remote.call("send", message).await?;
            }
            remote.answer(&payload, || format!("Approved {channel} sender {}.", text(&payload, "/id")))
        }
        Pairing::Dismiss { channel, code } => {
            let words = |_: &Remote<'_>, payload: &Value| format!("Turned {channel} sender {} down.", text(payload, "/id"));
            ask(session, reach, "channels.pairing.dismiss", json!({"channel": channel, "code": code}), words).await
        }
    }
}
