//! `verso channels`: the chat networks.

use std::time::Duration;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value, json};

use super::remote::{Remote, ask, members, text};
use super::{Session, adapter, logs};
use crate::args::{Channels, Group, Logs};
use crate::failure::Failure;
use crate::output::{self, As, Column, Tone};

const ACCOUNTS: [Column; 6] = [
    Column("Channel", &["/channel"], As::Text),
    Column("Account", &["/name", "/accountId"], As::Text),
    Column("Configured", &["/configured"], As::Yes),
    Column("Linked", &["/linked", "/connected"], As::Yes),
    Column("Running", &["/running"], As::Yes),
    Column("Last error", &["/lastError"], As::Text),
];

/// How long somebody may take to scan a code.
const SCAN_PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(session: &Session, group: &Group<Channels>) -> anyhow::Result<()> {
    let reach = &group.reach;
    match group.command.as_ref().unwrap_or(&Channels::Status { probe: false, channel: None }) {
        Channels::Status { probe, channel } => {
            let timeout_ms = u64::try_from(reach.timeout.as_millis()).unwrap_or(u64::MAX);
            let params = members([("probe", json!(probe)), ("timeoutMs", json!(timeout_ms)), ("channel", json!(channel))]);
            ask(session, reach, "channels.status", params, status).await
        }
        Channels::List => {
            let mut remote = Remote::open(session, reach).await?;
            let payload = remote.call("channels.status", json!({})).await?;
            let chat: serde_json::Map<String, Value> = accounts(&payload).fold(serde_json::Map::new(), |mut chat, account| {
                let ids = chat.entry(text(&account, "/channel").to_owned()).or_insert_with(|| json!([]));
                if let Some(ids) = ids.as_array_mut() {
                    ids.push(account["accountId"].clone());
                }
                chat
            });
            let document = json!({"chat": chat});
            remote.answer(&document, || {
                let lines: Vec<String> = chat.iter().map(|(id, accounts)| format!("{id}: {}", output::plain(accounts))).collect();
                if lines.is_empty() { "No chat network is configured.".to_owned() } else { lines.join("\n") }
            })
        }
        Channels::Logs { channel, lines } => {
            let subsystem = channel.as_ref().map_or_else(|| "channels".to_owned(), |id| format!("channels/{id}"));
            logs::run(session, &Logs::of_subsystem(reach, *lines, &subsystem)).await
        }
        Channels::Adapter { command } => adapter::run(session, reach, command).await,
        Channels::Login { phone, force, channel, account } => {
            let whose = [("channel", json!(channel)), ("accountId", json!(account))];
            login(session, group, &whose, &[("force", json!(force.then_some(true))), ("phoneNumber", json!(phone))]).await
        }
        Channels::Logout { channel, account } => {
            let params = members([("channel", json!(channel)), ("accountId", json!(account))]);
            let words = |_: &Remote<'_>, payload: &Value| {
                if payload["cleared"] == true { format!("Logged out of {channel}.") } else { format!("{channel} was not logged in.") }
            };
            ask(session, reach, "channels.logout", params, words).await
        }
    }
}

/// Shows the code to scan, then waits until somebody has.
async fn login(session: &Session, group: &Group<Channels>, whose: &[Member], how: &[Member]) -> anyhow::Result<()> {
    let mut remote = Remote::open(session, &group.reach).await?;
    let begin = members(whose.iter().chain(how).cloned());
    let started = remote.call_within("web.login.start", begin, SCAN_PATIENCE).await?;
    show(&started);
    let timeout_ms = u64::try_from(SCAN_PATIENCE.as_millis()).unwrap_or(u64::MAX);
    let params = members(whose.iter().cloned().chain([("timeoutMs", json!(timeout_ms))]));
    let payload = remote.call_within("web.login.wait", params, SCAN_PATIENCE + group.reach.timeout).await?;
    remote.answer(&payload, || text(&payload, "/message").to_owned())?;
    if payload["connected"] == true { Ok(()) } else { Err(Failure::silent().into()) }
}

/// A member of a request.
type Member = (&'static str, Value);

/// Draws the code where a terminal can, and else says where to see it.
fn show(started: &Value) {
    let drawn = started["qrText"].as_str().and_then(|code| QrCode::new(code).ok());
    match (drawn, started["qrDataUrl"].as_str()) {
        // Dark on light, whatever the terminal's colours: readers expect that.
        (Some(code), _) => output::notice(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()),
        (None, Some(code)) => output::notice(format!("Open this address in a browser to see the code: {code}")),
        (None, None) => {}
    }
    output::notice(text(started, "/message"));
}

/// Every account with the name of its network in it.
fn accounts(payload: &Value) -> impl Iterator<Item = Value> {
    let order = payload["channelOrder"].as_array().into_iter().flatten().filter_map(Value::as_str);
    order.flat_map(|id| {
        payload["channelAccounts"][id].as_array().into_iter().flatten().map(move |account| {
            let mut account = account.clone();
            account["channel"] = json!(id);
            account
        })
    })
}

fn status(remote: &Remote<'_>, payload: &Value) -> String {
    let rows: Vec<Value> = accounts(payload).collect();
    if rows.is_empty() {
        return remote.session.style.paint(Tone::Muted, "No chat network is configured.");
    }
    remote.reader().table(&rows, &ACCOUNTS).to_string()
}
