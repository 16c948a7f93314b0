//! The tool `nodes`: devices, through the node service and its policy.

use std::sync::{Arc, LazyLock};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_kit::peer::{Caller, Peer};
use verso_proto::Json;
use verso_proto::node::v1::{DescribeRequest, InvokeRequest};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments};

use super::devices;

/// How long a device has to answer, in milliseconds, unless the call says otherwise.
const WAIT_MS: i64 = 30_000;

/// The longest that a device has to answer, in milliseconds.
const WAIT_MS_MAX: i64 = 120_000;

/// The tool `nodes`.
#[derive(Debug)]
pub(super) struct Nodes {
    node: Peer,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    action: String,
    node: Option<String>,
    command: Option<String>,
    params: Option<Value>,
    timeout_ms: Option<i64>,
}

impl Nodes {
    pub(super) fn new(node: Peer) -> Self {
        Self { node }
    }

    async fn list(&self) -> Result<Value, Refused> {
        serde_json::to_value(devices::list(&self.node).await?).map_err(|error| Refused::failed("the answer cannot be shown", error))
    }

    /// Returns the id of a device that is named by its id or its name.
    async fn find(&self, wanted: &Arguments) -> Result<String, Refused> {
        let name = wanted.node.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Refused::Arguments("node is required".to_owned()))?;
        devices::id(&self.node, name).await
    }

    async fn invoke(&self, scene: &Scene, wanted: &Arguments) -> Result<Value, Refused> {
        let command = wanted.command.clone().filter(|command| !command.trim().is_empty());
        let command = command.ok_or_else(|| Refused::Arguments("command is required".to_owned()))?;
        // What runs programs on a device is for its own approvals, which only people and the exec tool go through.
        if command.trim().starts_with("system.") {
            return Err(Refused::Forbidden(format!("{command} cannot be called by this tool")));
        }
        let request = InvokeRequest {
            node_id: self.find(wanted).await?,
            command,
            params: wanted.params.as_ref().map(|params| Json { text: params.to_string() }),
            timeout_ms: Some(wanted.timeout_ms.unwrap_or(WAIT_MS).clamp(1, WAIT_MS_MAX)),
            idempotency_key: format!("{}-{}", scene.run, scene.call),
            session_key: Some(scene.session.clone()),
            ..InvokeRequest::default()
        };
        serde_json::to_value(devices::invoke(&self.node, request).await?)
            .map_err(|error| Refused::failed("the answer cannot be shown", error))
    }
}

impl Tool for Nodes {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "action": {"type": "string", "enum": ["status", "describe", "invoke"]},
                "node": {"type": "string", "description": "Id or name of a device"},
                "command": {"type": "string", "description": "For invoke, such as camera.snap, location.get, canvas.present"},
                "params": {"type": "object", "description": "For invoke"},
                "timeoutMs": {"type": "number"},
            });
            Spec::new(
                "nodes",
                "Lists and describes paired devices, and has one carry out a command that it offers.",
                properties,
                &["action"],
            )
            .into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            match wanted.action.as_str() {
                "status" => Ok(Answer::json(self.list().await?)),
                "describe" => {
                    let request = DescribeRequest { node_id: self.find(&wanted).await? };
                    let answer = self.node.call(request, &Caller::default()).await;
                    let answer = answer.map_err(|error| Refused::Failed(error.message().to_owned()))?;
                    Ok(Answer::json(serde_json::to_value(answer).map_err(|error| Refused::failed("the answer cannot be shown", error))?))
                }
                "invoke" => Ok(Answer::json(self.invoke(scene, &wanted).await?)),
                other => Err(Refused::Arguments(format!("there is no action \"{other}\""))),
            }
        }
        .boxed()
    }
}
