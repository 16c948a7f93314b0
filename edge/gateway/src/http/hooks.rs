//! Webhooks of the operator: `<path>/wake`, `<path>/agent`, and names that the configuration maps to either of them.

mod action;
mod answer;
mod config;
mod door;
mod mapping;
mod template;
mod transform;

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{debug_span, warn};
use verso_kit::config::File;
use verso_kit::metrics::{NONE, OTHER};

use super::Asked;
use super::body::read_bytes;
use super::errors::Refusal;
use crate::gateway::Gateway;
use crate::metrics;
use action::{Action, AgentAction, Origin};
use answer::{Outcome, say};
use config::Config;
pub(crate) use door::Hooks;
use mapping::{Call, Mapped};

/// Returns the section and what follows the base path of webhooks, if the path is under it and they are taken.
pub(super) fn below(file: &File, path: &str) -> Option<(Config, String)> {
    let config = load(file)?;
    let rest = path.strip_prefix(config.base_path().as_str())?;
    let name = (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())?;
    Some((config, name))
}

/// Reads the section as it is now: another secret counts for the next call.
fn load(file: &File) -> Option<Config> {
    match file.section::<Config>("hooks") {
        Ok(config) => Some(config).filter(|config| config.enabled),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "the section hooks cannot be read; no webhook is taken");
            None
        }
    }
}

/// Answers a call. The order of checks: the secret's place, the method, the secret, the name, the body.
pub(super) async fn take(gateway: &Arc<Gateway>, asked: &Asked, head: Parts, body: Body, (config, name): &(Config, String)) -> Response {
    if let Err(refused) = gateway.hooks.admit(gateway, config, asked, &head) {
        return refused;
    }
    let begun = Instant::now();
    let response = obey(gateway, head, body, (config, name)).await;
    // A name that means nothing is no series of its own.
    let known = if response.status() == StatusCode::NOT_FOUND { OTHER } else { name.trim_matches('/') };
    let status = response.status();
    let refused = (status.is_client_error() || status.is_server_error()).then_some(status);
    metrics::webhook(known, refused.is_some(), begun.elapsed());
    trace(known, refused);
    response
}

/// The spans that dashboards of the reference look for: a call of a webhook that was answered, or could not be.
fn trace(webhook: &str, refused: Option<StatusCode>) {
    if let Some(status) = refused {
        let error = status.canonical_reason().unwrap_or_default();
        debug_span!(
            "openclaw.webhook.error",
            otel.status_code = "ERROR",
            openclaw.channel = NONE,
            openclaw.webhook = webhook,
            openclaw.error = error
        );
    } else {
        debug_span!("openclaw.webhook.processed", openclaw.channel = NONE, openclaw.webhook = webhook);
    }
}

async fn obey(gateway: &Arc<Gateway>, head: Parts, body: Body, (config, name): (&Config, &str)) -> Response {
    if name.trim_matches('/').is_empty() {
        return Refusal::NotFound.into_response();
    }
    if gateway.is_draining() {
        return Refusal::draining().into_response();
    }
    let bytes = match read_bytes(&head, body, config.bytes_max(name)).await {
        Ok(bytes) => bytes,
        Err(refusal) => return answer::refused(&refusal),
    };
    let payload = match parse(&bytes) {
        Ok(payload) => payload,
        Err(error) => return answer::invalid(&error),
    };
    let call = Call::new(&head, name, payload);
    let outcome = match name.trim_matches('/') {
        "wake" => Action::wake(&call.payload).map(|action| vec![action]).map(Mapped::Actions),
        "agent" => AgentAction::read(&call).map(|action| Mapped::Actions(vec![Action::Agent(Box::new(action))])),
        _ => {
            // The gateway's own program runs with the gateway's own rights: what it is told is data on its standard input.
            match mapping::apply(gateway, config, &call).await {
                Ok(mapped) => Ok(mapped),
                Err(mapping::Error::Invalid(words)) => Err(words),
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, hook = name, "a mapped webhook failed");
                    return say(StatusCode::INTERNAL_SERVER_ERROR, &Outcome::error("hook mapping failed"));
                }
            }
        }
    };
    match outcome {
        Ok(Mapped::Nothing) => Refusal::NotFound.into_response(),
        Ok(Mapped::Skipped) => StatusCode::NO_CONTENT.into_response(),
        Ok(Mapped::Actions(actions)) => carry_out(gateway, config, &call, actions).await,
        Err(words) => answer::invalid(&words),
    }
}

async fn carry_out(gateway: &Arc<Gateway>, config: &Config, call: &Call, actions: Vec<Action>) -> Response {
    let channels: Map<String, Value> = gateway.running_config().section("channels").unwrap_or_default();
    let origin = Origin { call, config, channels: channels.keys().map(|name| name.to_lowercase()).collect() };
    let mut prepared = Vec::with_capacity(actions.len());
    for action in actions {
        match action.check(&origin) {
            Ok(action) => prepared.push(action),
            Err(words) => return answer::invalid(&words),
        }
    }
    if let [action] = prepared.as_slice() {
        return action.carry_out(gateway, &origin).await;
    }
    answer::fan_out(gateway, &origin, &prepared).await
}

/// An empty body says nothing, which is allowed; anything else is JSON.
fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The media type of plain words.
const TEXT: (http::HeaderName, &str) = (CONTENT_TYPE, "text/plain; charset=utf-8");
