//! The tool `gateway`: looking at the gateway's configuration, changing what of it is an agent's to change, and restarting services. What
//! would end the turn waits until the turn is over.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::{ServicesListRequest, ServicesRestartRequest};
use verso_proto::upkeep::v1::{ChangeRequest, DescribeRequest, LookRequest};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments};

use crate::keys::SessionKey;
use crate::runs::Runs;
use crate::system_events;

/// What is left of a turn after its end: its answer is on its way to whoever asked.
const GRACE: Duration = Duration::from_millis(500);

/// The longest pause before a restart, in milliseconds, and the one that counts when nobody says.
const DELAY_MS_MAX: u64 = 600_000;
const DELAY_MS: u64 = 2_000;

/// The tool `gateway`.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) edge: Peer,
    pub(super) supervisor: Peer,
    pub(super) runs: Runs,
    /// `commands.restart`.
    pub(super) restarts: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    action: String,
    #[serde(default)]
    path: String,
    /// JSON5 text, or the object itself.
    #[serde(alias = "raw")]
    patch: Option<Value>,
    #[serde(default)]
    base_hash: String,
    service: Option<String>,
    delay_ms: Option<u64>,
    #[serde(default)]
    reason: String,
}

impl Gateway {
    async fn patch(&self, scene: &Scene, wanted: &Arguments) -> Result<Answer, Refused> {
        let patch = wanted.patch.as_ref().ok_or_else(|| Refused::Arguments("patch is required".to_owned()))?;
        let patch = patch.as_str().map_or_else(|| patch.to_string(), str::to_owned);
        let request = ChangeRequest { patch, base_hash: wanted.base_hash.clone(), check_only: true, by_owner: false };
        let checked = self.edge.call(request.clone(), &Caller::default()).await.map_err(refused)?;
        if checked.paths.is_empty() {
            return Ok(Answer::json(json!({"ok": true, "changed": false, "hash": checked.hash})));
        }
        // Applied now, it would restart this service in the middle of its own turn.
        let (edge, note) = (self.edge.clone(), format!("changed {}", checked.paths.join(", ")));
        let request = ChangeRequest { check_only: false, base_hash: checked.hash.clone(), ..request };
        self.afterwards(scene, GRACE, note, async move {
            edge.call(request, &Caller::default()).await.map(drop).map_err(|error| error.message().to_owned())
        });
        Ok(Answer::json(json!({
            "ok": true, "changed": true, "paths": checked.paths, "applied": "when this turn is over",
            "restarts": checked.restarted, "hash": checked.hash,
        })))
    }

    async fn restart(&self, scene: &Scene, wanted: &Arguments) -> Result<Answer, Refused> {
        if !self.restarts {
            return Err(Refused::Forbidden("commands.restart is off".to_owned()));
        }
        let listed = self.supervisor.call(ServicesListRequest {}, &Caller::default()).await;
        let listed = listed.map_err(|error| Refused::failed("there is no supervisor to ask", error.message()))?;
        let mut names: Vec<String> = listed.services.into_iter().map(|service| service.name).collect();
        if let Some(service) = wanted.service.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            if !names.iter().any(|name| name == service) {
                return Err(Refused::Arguments(format!("there is no service {service}; there are {}", names.join(", "))));
            }
            names.retain(|name| name == service);
        }
        // This one last: it is the one that asks.
        names.sort_by_key(|name| name == "agent");
        let delay = Duration::from_millis(wanted.delay_ms.unwrap_or(DELAY_MS).min(DELAY_MS_MAX));
        let (supervisor, all) = (self.supervisor.clone(), names.clone());
        self.afterwards(scene, delay, format!("restarting {}", names.join(", ")), async move {
            for name in all {
                let request = ServicesRestartRequest { name, on_behalf_of: Some("an agent's tool".to_owned()) };
                supervisor.call(request, &Caller::default()).await.map_err(|error| error.message().to_owned())?;
            }
            Ok(())
        });
        tracing::info!(services = names.join(", "), reason = wanted.reason, "an agent asked for a restart");
        Ok(Answer::json(json!({"ok": true, "services": names, "delayMs": delay.as_millis(), "when": "when this turn is over"})))
    }

    /// Does something once the turn is over; if it does not work, the session hears of it.
    fn afterwards(&self, scene: &Scene, delay: Duration, what: String, work: impl Future<Output = Result<(), String>> + Send + 'static) {
        let (runs, run_id, session) = (self.runs.clone(), scene.run.clone(), SessionKey::stored(&scene.session));
        self.runs.spawn("gateway upkeep", async move {
            let shutdown = runs.shutdown();
            let work = async {
                if let Some(run) = runs.find(&run_id)
                    && run.ended().await.is_err()
                {
                    return;
                }
                tokio::time::sleep(delay).await;
                if let Err(error) = work.await {
                    tracing::warn!(error, what, "what an agent asked of the gateway was not done");
                    let text = format!("Gateway: {what} did not work: {error}");
                    if let Err(error) = system_events::queue(&runs.parts, &session, &text, None).await {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a session could not be told");
                    }
                }
            };
            shutdown.run_until_cancelled(work).await;
        });
    }
}

impl Tool for Gateway {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "action": {"type": "string", "enum": ["config.get", "config.schema", "config.patch", "restart"]},
                "path": {"type": "string", "description": "For config.get and config.schema, such as agents.defaults"},
                "patch": {"type": "object", "description": "For config.patch: a JSON merge patch; null takes a key away"},
                "baseHash": {"type": "string", "description": "For config.patch: the hash that config.get told"},
                "service": {"type": "string", "description": "For restart: only this one"},
                "delayMs": {"type": "number"}, "reason": {"type": "string"},
            });
            let about = "Shows the gateway's configuration, changes those of its settings that are yours to change, and restarts it.";
            Spec::new("gateway", about, properties, &["action"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            match wanted.action.as_str() {
                "config.get" => {
                    let found = self.edge.call(LookRequest { path: wanted.path }, &Caller::default()).await.map_err(refused)?;
                    Ok(Answer::json(json!({"config": parsed(found.config), "hash": found.hash})))
                }
                "config.schema" => {
                    let found = self.edge.call(DescribeRequest { path: wanted.path }, &Caller::default()).await.map_err(refused)?;
                    Ok(Answer::json(json!({"schema": parsed(found.schema), "children": found.children})))
                }
                "config.patch" => self.patch(scene, &wanted).await,
                "config.apply" | "config.set" => {
                    Err(Refused::Forbidden("an agent does not replace the whole file; use config.patch".to_owned()))
                }
                "restart" => self.restart(scene, &wanted).await,
                "update.run" => {
                    Err(Refused::Failed("this gateway does not update itself: its owner installs a newer verso and restarts it".to_owned()))
                }
                other => Err(Refused::Arguments(format!("there is no action \"{other}\""))),
            }
        }
        .boxed()
    }
}

fn parsed(json: Option<verso_proto::Json>) -> Value {
    json.and_then(|json| serde_json::from_str(&json.text).ok()).unwrap_or_default()
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn refused(status: impl std::fmt::Display) -> Refused {
    Refused::Failed(status.to_string())
}
