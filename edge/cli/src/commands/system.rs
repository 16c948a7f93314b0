//! `verso system` and `verso protocol`.

use serde_json::{Value, json};
use verso_protocol::contract;

use super::Session;
use super::remote::{Remote, ask, facts};
use crate::args::{Group, Protocol, System};
use crate::output::{self, As, Column};

const PRESENCE: [Column; 6] = [
    Column("Who", &["/host", "/text"], As::Text),
    Column("Mode", &["/mode"], As::Text),
    Column("Address", &["/ip"], As::Text),
    Column("Version", &["/version"], As::Text),
    Column("Roles", &["/roles"], As::Text),
    Column("Seen", &["/ts"], As::Ago),
];

pub(super) async fn run(session: &Session, group: &Group<System>) -> anyhow::Result<()> {
    let reach = &group.reach;
    match group.command.as_ref().unwrap_or(&System::Presence) {
        System::Event { text, mode } => ask(session, reach, "wake", json!({"mode": mode, "text": text}), |_, _| "ok".to_owned()).await,
        System::Heartbeat { what } if what == "last" => {
            ask(session, reach, "last-heartbeat", json!({}), |_, payload| {
                if payload.is_null() { "There was no heartbeat yet.".to_owned() } else { facts(payload) }
            })
            .await
        }
        System::Heartbeat { what } => {
            let enabled = what == "enable";
            let words = move |_: &Remote<'_>, _: &Value| format!("Heartbeat {}", if enabled { "enabled" } else { "disabled" });
            ask(session, reach, "set-heartbeats", json!({"enabled": enabled}), words).await
        }
        System::Presence => {
            ask(session, reach, "system-presence", json!({}), |remote, payload| remote.section("Present", payload, "", &PRESENCE)).await
        }
    }
}

/// Prints the contract: nobody needs to be asked.
pub(super) fn protocol(command: &Protocol) -> anyhow::Result<()> {
    match command {
        Protocol::Schema { method: None } => Ok(output::document(&contract::document()?)?),
        Protocol::Schema { method: Some(name) } => Ok(output::document(&contract::method(name)?)?),
        Protocol::Types => Ok(output::part(&contract::typescript()?)?),
    }
}
