//! `verso nodes`: devices that offer what they can do.

mod canvas;
mod find;
mod run;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Session;
use super::remote::{Remote, ask, members, text};
use crate::args::{Group, Nodes, NodesA2ui, NodesCanvas};
use crate::failure::{self, Failure};
use crate::output::{self, As, Column};

pub(super) use find::node;

const NODES: [Column; 6] = [
    Column("Node", &["/displayName", "/nodeId"], As::Text),
    Column("Id", &["/nodeId"], As::Text),
    Column("Platform", &["/platform"], As::Text),
    Column("Connected", &["/connected"], As::Yes),
    Column("Paired", &["/paired"], As::Yes),
    Column("Capabilities", &["/caps"], As::Text),
];

const PENDING: [Column; 4] = [
    Column("Request", &["/requestId"], As::Text),
    Column("Node", &["/displayName", "/nodeId"], As::Text),
    Column("Platform", &["/platform"], As::Text),
    Column("Asked", &["/ts"], As::Ago),
];

const PAIRED: [Column; 4] = [
    Column("Node", &["/nodeId"], As::Text),
    Column("Name", &["/displayName"], As::Text),
    Column("Platform", &["/platform"], As::Text),
    Column("Approved", &["/approvedAtMs"], As::Ago),
];

pub(super) async fn run(session: &Session, group: &Group<Nodes>) -> anyhow::Result<()> {
    let command = group.command.as_ref().unwrap_or(&Nodes::Status { connected: false, last_connected: None });
    act(session, group, command).await.map_err(|error| named(command, error))
}

/// Failures say which question failed, in the words that scripts look for.
fn named(command: &Nodes, error: anyhow::Error) -> anyhow::Error {
    if error.is::<Failure>() {
        return error;
    }
    let label = match command {
        Nodes::Status { .. } => "status",
        Nodes::List => "list",
        Nodes::Pending => "pending",
        Nodes::Describe { .. } => "describe",
        Nodes::Approve { .. } => "approve",
        Nodes::Reject { .. } => "reject",
        Nodes::Rename { .. } => "rename",
        Nodes::Invoke { .. } => "invoke",
        Nodes::Run(_) => "run",
        Nodes::Notify { .. } => "notify",
        Nodes::Canvas { command } => match command {
            NodesCanvas::Present { .. } => "canvas present",
            NodesCanvas::Hide { .. } => "canvas hide",
            NodesCanvas::Navigate { .. } => "canvas navigate",
            NodesCanvas::Eval { .. } => "canvas eval",
            NodesCanvas::Snapshot { .. } => "canvas snapshot",
            NodesCanvas::A2ui { command: NodesA2ui::Push { .. } } => "canvas a2ui push",
            NodesCanvas::A2ui { command: NodesA2ui::Reset { .. } } => "canvas a2ui reset",
        },
    };
    Failure::new(format!("nodes {label} failed: {}", failure::chain(error.as_ref()))).into()
}

async fn act(session: &Session, group: &Group<Nodes>, command: &Nodes) -> anyhow::Result<()> {
    let reach = &group.reach;
    match command {
        Nodes::Status { connected, last_connected } => {
            let mut remote = Remote::open(session, reach).await?;
            let mut payload = remote.call("node.list", json!({})).await?;
            let since = last_connected.map(|time| remote.reader().now_ms - i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
            keep(&mut payload, *connected, since);
            remote.answer(&payload, || status(&remote, &payload))
        }
        Nodes::List => ask(session, reach, "node.pair.list", json!({}), listed).await,
        Nodes::Pending => {
            ask(session, reach, "node.pair.list", json!({}), |remote, payload| remote.section("Pending", payload, "/pending", &PENDING))
                .await
        }
        Nodes::Describe { node } => {
            let mut remote = Remote::open(session, reach).await?;
            let id = find::node(&mut remote, node).await?;
            let payload = remote.call("node.describe", json!({"nodeId": id})).await?;
            remote.answer(&payload, || described(&payload))
        }
        Nodes::Approve { request_id } => {
            ask(session, reach, "node.pair.approve", json!({"requestId": request_id}), |_, _| format!("Approved {request_id}")).await
        }
        Nodes::Reject { request_id } => {
            ask(session, reach, "node.pair.reject", json!({"requestId": request_id}), |_, _| format!("Rejected {request_id}")).await
        }
        Nodes::Rename { node, name } => {
            let mut remote = Remote::open(session, reach).await?;
            let id = find::node(&mut remote, node).await?;
            let payload = remote.call("node.rename", json!({"nodeId": id, "displayName": name})).await?;
            remote.answer(&payload, || format!("{id} is now called {name}"))
        }
        Nodes::Invoke { node, command, params, invoke_timeout, idempotency_key } => {
            let params: Value = serde_json::from_str(params).map_err(|error| Failure::new(format!("--params is not JSON: {error}")))?;
            let key = idempotency_key.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
            let mut remote = Remote::open(session, reach).await?;
            let call = find::Invoke { node, command, params, timeout: *invoke_timeout, key };
            // The answer is data in either form.
            Ok(output::document(&call.send(&mut remote).await?)?)
        }
        Nodes::Run(arguments) => run::run(session, reach, arguments).await,
        Nodes::Canvas { command } => canvas::run(session, reach, command).await,
        Nodes::Notify { node, title, body, sound, priority, delivery } => {
            if title.is_none() && body.is_none() {
                return Err(Failure::new("Pass --title, --body or both.").into());
            }
            let params = members([
                ("title", json!(title)),
                ("body", json!(body)),
                ("sound", json!(sound)),
                ("priority", json!(priority)),
                ("delivery", json!(delivery)),
            ]);
            let mut remote = Remote::open(session, reach).await?;
            let key = Uuid::new_v4().to_string();
            let call = find::Invoke { node, command: "system.notify", params, timeout: find::USUAL_TIMEOUT, key };
            let payload = call.send(&mut remote).await?;
            remote.answer(&payload, || "Notification sent.".to_owned())
        }
    }
}

/// Leaves out the nodes that were not asked for.
fn keep(payload: &mut Value, connected: bool, since_ms: Option<i64>) {
    let Some(nodes) = payload["nodes"].as_array_mut() else { return };
    nodes.retain(|node| {
        let here = node["connected"] == true;
        let last = node["lastConnectedAtMs"].as_i64().or_else(|| node["connectedAtMs"].as_i64());
        (here || !connected) && since_ms.is_none_or(|since| here || last.is_some_and(|last| last >= since))
    });
}

fn status(remote: &Remote<'_>, payload: &Value) -> String {
    let nodes = payload["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |member: &str| nodes.iter().filter(|node| node[member] == true).count();
    let head = format!("Known: {} · Paired: {} · Connected: {}", nodes.len(), count("paired"), count("connected"));
    if nodes.is_empty() { head } else { format!("{head}\n{}", remote.reader().table(nodes, &NODES)) }
}

fn listed(remote: &Remote<'_>, payload: &Value) -> String {
    format!("{}\n{}", remote.section("Pending", payload, "/pending", &PENDING), remote.section("Paired", payload, "/paired", &PAIRED))
}

fn described(payload: &Value) -> String {
    let mut lines = vec![format!("Node: {}", text(payload, "/nodeId"))];
    for (name, value) in payload.as_object().into_iter().flatten().filter(|(name, _)| !["nodeId", "ts"].contains(&name.as_str())) {
        lines.push(format!("{name}: {}", output::plain(value)));
    }
    lines.join("\n")
}
