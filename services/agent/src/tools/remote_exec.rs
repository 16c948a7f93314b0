//! The tool `exec` where programs run on a device: the device's own owner decides what may run there.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_kit::peer::{Caller, Peer};
use verso_proto::Json;
use verso_proto::node::v1::{InvokeRequest, NodeInfo};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments};
use verso_tools::toolset::cut;

use super::devices;

/// The device's command that runs programs.
const RUN: &str = "system.run";

/// How long a program may take, in seconds, unless the call or the configuration says otherwise, and at most.
const TIMEOUT_SECONDS: u64 = 120;
const TIMEOUT_SECONDS_MAX: u64 = 1_800;

/// How much longer the device has to answer, in milliseconds: its owner may be asked first.
const DECISION_MS: u64 = 120_000;

/// Bytes of output in an answer.
const OUTPUT_BYTES_MAX: usize = 30_000;

/// The tool `exec` on a device.
#[derive(Debug)]
pub(super) struct RemoteExec {
    pub(super) node: Peer,
    /// The device's id or name; none: the only one that runs programs.
    pub(super) device: Option<String>,
    /// Whether the configuration lets nothing run anywhere.
    pub(super) denied: bool,
    pub(super) timeout_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Arguments {
    command: String,
    workdir: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    timeout: Option<u64>,
}

/// What a device answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ran {
    exit_code: Option<i64>,
    timed_out: bool,
    success: bool,
    stdout: String,
    stderr: String,
    error: Option<String>,
}

impl RemoteExec {
    /// Returns the id of the device.
    async fn device(&self) -> Result<String, Refused> {
        let nodes = devices::list(&self.node).await?.nodes;
        let runs = |node: &&NodeInfo| node.connected && node.commands.iter().any(|command| command == RUN);
        let able: Vec<&NodeInfo> = nodes.iter().filter(runs).collect();
        let found = match &self.device {
            Some(name) => devices::find(&able, name),
            None if able.len() == 1 => able.first().copied(),
            None => None,
        };
        found.map(|node| node.node_id.clone()).ok_or_else(|| {
            let known: Vec<&str> = able.iter().map(|node| node.display_name.as_deref().unwrap_or(&node.node_id)).collect();
            let known = if known.is_empty() { "none is connected".to_owned() } else { format!("there are: {}", known.join(", ")) };
            let wanted = self.device.as_deref().map_or("no device is named".to_owned(), |name| format!("the device \"{name}\" is not one"));
            Refused::Failed(format!("programs are to run on a device, and {wanted} that runs them; {known}"))
        })
    }
}

impl Tool for RemoteExec {
    fn spec(&self) -> Arc<Spec> {
        let properties = json!({
            "command": {"type": "string", "description": "The command line"},
            "workdir": {"type": "string", "description": "Folder on the device to begin in"},
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "timeout": {"type": "number", "description": "Seconds after which it is killed (default 120)"},
        });
        let place = self.device.as_deref().map_or("a paired device".to_owned(), |name| format!("the device {name}"));
        Spec::new("exec", &format!("Runs a command on {place}, if its owner lets it, and waits for its end."), properties, &["command"])
            .into()
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            if self.denied {
                return Err(Refused::Forbidden("exec denied: security=deny".to_owned()));
            }
            let seconds = wanted.timeout.or(self.timeout_seconds).unwrap_or(TIMEOUT_SECONDS).clamp(1, TIMEOUT_SECONDS_MAX);
            let timeout_ms = seconds * 1_000;
            let mut params = json!({
                "command": ["/bin/sh", "-lc", wanted.command], "rawCommand": wanted.command, "timeoutMs": timeout_ms,
                "agentId": scene.agent, "sessionKey": scene.session, "runId": scene.call,
            });
            if let Some(folder) = &wanted.workdir {
                params["cwd"] = json!(folder);
            }
            if !wanted.env.is_empty() {
                params["env"] = json!(wanted.env);
            }
            let request = InvokeRequest {
                node_id: self.device().await?,
                command: RUN.to_owned(),
                params: Some(Json { text: params.to_string() }),
                timeout_ms: i64::try_from(timeout_ms + DECISION_MS).ok(),
                idempotency_key: format!("{}-{}", scene.run, scene.call),
                session_key: Some(scene.session.clone()),
                ..InvokeRequest::default()
            };
            let caller = Caller::default();
            let answer = tokio::select! {
                answer = self.node.call(request, &caller) => answer.map_err(|error| Refused::Forbidden(error.message().to_owned()))?,
                () = scene.cancelled.cancelled() => return Err(Refused::Failed("the run ended".to_owned())),
            };
            let device = answer.node_id.clone();
            let ran = devices::payload(answer).and_then(serde_json::from_value::<Ran>);
            Ok(shown(&ran.map_err(|error| Refused::failed("the device's answer cannot be read", error))?, &device))
        }
        .boxed()
    }
}

fn shown(ran: &Ran, device: &str) -> Answer {
    let output = [ran.stdout.trim_end(), ran.stderr.trim_end()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    let words = match (ran.success, ran.timed_out, ran.exit_code, &ran.error) {
        (true, ..) => String::new(),
        (_, true, ..) => "\n\nCommand took too long and was killed".to_owned(),
        (_, _, Some(code), _) => format!("\n\nCommand exited with code {code}"),
        (_, _, None, error) => format!("\n\nCommand failed: {}", error.as_deref().unwrap_or("the device does not say why")),
    };
    let output = if output.is_empty() { "(no output)".to_owned() } else { cut(&output, OUTPUT_BYTES_MAX) };
    let status = if ran.success { "completed" } else { "failed" };
    let details = json!({"status": status, "exitCode": ran.exit_code, "host": "node", "nodeId": device});
    Answer { is_error: !ran.success, ..Answer::text(format!("{output}{words}")).with_details(details) }
}
