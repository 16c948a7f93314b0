//! `verso devices`: who may connect.

use serde_json::{Value, json};

use super::Session;
use super::remote::{Remote, ask, members, text};
use crate::args::{Devices, Group};
use crate::failure::Failure;
use crate::output::{As, Column};

const PENDING: [Column; 6] = [
    Column("Request", &["/requestId"], As::Text),
    Column("Device", &["/displayName", "/deviceId"], As::Text),
    Column("Role", &["/roles", "/role"], As::Text),
    Column("Scopes", &["/scopes"], As::Text),
    Column("From", &["/remoteIp"], As::Text),
    Column("Asked", &["/ts"], As::Ago),
];

const PAIRED: [Column; 5] = [
    Column("Device", &["/deviceId"], As::Text),
    Column("Name", &["/displayName"], As::Text),
    Column("Roles", &["/roles", "/role"], As::Text),
    Column("Scopes", &["/scopes"], As::Text),
    Column("Approved", &["/approvedAtMs"], As::Ago),
];

pub(super) async fn run(session: &Session, group: &Group<Devices>) -> anyhow::Result<()> {
    let reach = &group.reach;
    match group.command.as_ref().unwrap_or(&Devices::List) {
        Devices::List => ask(session, reach, "device.pair.list", json!({}), listed).await,
        Devices::Approve { request_id } => {
            let mut remote = Remote::open(session, reach).await?;
            let request_id = match request_id {
                Some(id) => id.clone(),
                None => latest(&remote.call("device.pair.list", json!({})).await?)?,
            };
            let payload = remote.call("device.pair.approve", json!({"requestId": request_id})).await?;
            remote.answer(&payload, || format!("Approved {}", text(&payload, "/device/deviceId")))
        }
        Devices::Reject { request_id } => {
            let words = |_: &Remote<'_>, payload: &Value| format!("Rejected {}", text(payload, "/deviceId"));
            ask(session, reach, "device.pair.reject", json!({"requestId": request_id}), words).await
        }
        Devices::Remove { device_id } => {
            ask(session, reach, "device.pair.remove", json!({"deviceId": device_id}), |_, _| format!("Removed {device_id}")).await
        }
        Devices::Rename { device, name } => {
            let params = json!({"deviceId": device, "displayName": name});
            ask(session, reach, "device.pair.rename", params, |_, _| format!("{device} is now called {name}")).await
        }
        Devices::Rotate { device, role, scope } => {
            let scopes = if scope.is_empty() { Value::Null } else { json!(scope) };
            let params = members([("deviceId", json!(device)), ("role", json!(role)), ("scopes", scopes)]);
            ask(session, reach, "device.token.rotate", params, |_, payload| rotated(payload)).await
        }
        Devices::Revoke { device, role } => {
            let words = |_: &Remote<'_>, _: &Value| format!("Revoked the {role} token of {device}");
            ask(session, reach, "device.token.revoke", json!({"deviceId": device, "role": role}), words).await
        }
    }
}

fn listed(remote: &Remote<'_>, payload: &Value) -> String {
    format!("{}\n{}", remote.section("Pending", payload, "/pending", &PENDING), remote.section("Paired", payload, "/paired", &PAIRED))
}

/// The request that was made last: the one that its maker is waiting for.
fn latest(payload: &Value) -> anyhow::Result<String> {
    let pending = payload["pending"].as_array().into_iter().flatten();
    let latest = pending.max_by_key(|request| request["ts"].as_i64().unwrap_or_default());
    let id = latest.and_then(|request| request["requestId"].as_str());
    id.map(str::to_owned).ok_or_else(|| Failure::new("No device waits for approval.").into())
}

/// A new token is shown once; for another device the gateway may keep it to itself.
fn rotated(payload: &Value) -> String {
    let who = format!("Rotated the {} token of {}", text(payload, "/role"), text(payload, "/deviceId"));
    match payload["token"].as_str() {
        Some(token) => format!("{who}\nNew token: {token}"),
        None => format!("{who}. The device gets it when it connects again."),
    }
}
