//! What to say when the gateway does not answer: what happened, where we looked and how to go on.

use std::io;
use std::time::Duration;

use serde_json::json;
use verso_client::Error;
use verso_supervisor::Holder;

use super::Target;
use crate::commands::Session;
use crate::failure;
use crate::gateway::Bind;
use crate::output;

/// The code of a connection that ended without a goodbye.
const ABNORMAL: u16 = 1006;

/// The gateway did not answer, or not to the end.
#[derive(Debug, thiserror::Error)]
#[error("{message}\n{}", self.details())]
pub(crate) struct TransportError {
    kind: &'static str,
    message: String,
    timeout_ms: Option<u128>,
    url: String,
    source_name: String,
    bind: Option<&'static str>,
    config: Option<String>,
    hint: Option<String>,
}

impl TransportError {
    /// There is no connection.
    pub(super) fn connecting(session: &Session, target: &Target, error: Error) -> Self {
        let mut failed = match error {
            Error::TimedOut { timeout_ms } => Self::timed_out(target, Duration::from_millis(timeout_ms)),
            Error::Unreachable { .. } => Self::closed(target, closed(ABNORMAL, &failure::chain(&error))),
            Error::Closed(ended) => Self::closed(target, closed(ended.code, &ended.reason)),
            Error::Refused(refused) => Self::new("refused", target, format!("gateway refused the connection: {}", refused.message)),
            Error::InvalidUrl { .. } | Error::NoAuthorities | Error::Protocol { .. } => Self::new("protocol", target, error.to_string()),
        };
        failed.config = Some(session.instance.config_path.display().to_string());
        failed.hint = hint(session, target, failed.kind);
        failed
    }

    /// The connection ended.
    pub(super) fn closed(target: &Target, message: String) -> Self {
        Self::new("closed", target, message)
    }

    /// There was no answer in time.
    pub(super) fn timed_out(target: &Target, patience: Duration) -> Self {
        let timeout_ms = patience.as_millis();
        Self { timeout_ms: Some(timeout_ms), ..Self::new("timeout", target, format!("gateway timeout after {timeout_ms}ms")) }
    }

    fn new(kind: &'static str, target: &Target, message: String) -> Self {
        let (url, source_name) = (target.url.clone(), target.source.clone());
        let bind = target.bind.map(Bind::as_str);
        Self { kind, message, timeout_ms: None, url, source_name, bind, config: None, hint: None }
    }

    fn details(&self) -> String {
        let always = [("Gateway target: ", Some(self.url.as_str())), ("Source: ", Some(&self.source_name))];
        let sometimes = [("Config: ", self.config.as_deref()), ("Bind: ", self.bind), ("", self.hint.as_deref())];
        let lines = always.into_iter().chain(sometimes).filter_map(|(label, value)| Some(format!("{label}{}", value?)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Tells scripts too, which read standard output.
pub(crate) fn print_transport_error(error: &anyhow::Error, json: bool) -> io::Result<()> {
    let Some(failed) = error.downcast_ref::<TransportError>().filter(|_| json) else { return Ok(()) };
    let mut document = json!({
        "ok": false,
        "error": {"type": "gateway_transport_error", "kind": failed.kind, "message": failed.message},
        "gateway": {"url": failed.url, "urlSource": failed.source_name, "bindDetail": failed.bind.map(|bind| format!("Bind: {bind}"))},
    });
    if let Some(timeout_ms) = failed.timeout_ms {
        document["error"]["timeoutMs"] = json!(timeout_ms);
    }
    output::document(&document)
}

fn closed(code: u16, reason: &str) -> String {
    let hint = match code {
        ABNORMAL => " abnormal closure (no close frame)",
        1000 => " normal closure",
        _ => "",
    };
    let reason = if reason.is_empty() { "no close reason" } else { reason };
    format!("gateway closed ({code}{hint}): {reason}")
}

/// How to go on, when the gateway is ours to start.
fn hint(session: &Session, target: &Target, kind: &str) -> Option<String> {
    let instance = &session.instance;
    if target.is_elsewhere || !matches!(kind, "closed" | "timeout") {
        return None;
    }
    Some(match Holder::of(&instance.state_dir) {
        Some(holder) => format!(
            "A gateway is running (pid {}), but not on this address. Look at it with: {}",
            holder.pid,
            instance.command("services list")
        ),
        None => format!("Start it with: {}", instance.command("gateway")),
    })
}
