//! `verso agent`: one message to an agent; the reply appears as it is written.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use verso_proto::agent::v1::RunResponse;

use super::Session;
use crate::args::Agent;
use crate::client::{Connection, Mode, print_transport_error};
use crate::failure::Failure;
use crate::output;

mod preview;

/// What the gateway may take beyond the run's own limit: to accept it, and to tell its end.
const GRACE: Duration = Duration::from_secs(30);

pub(super) async fn run(session: &Session, arguments: &Agent) -> anyhow::Result<()> {
    if arguments.dry_run {
        return preview::run(session, arguments).await;
    }
    let answer = ask(session, arguments).await.inspect_err(|error| drop(print_transport_error(error, arguments.json)));
    let (payload, mut reply) = answer?;
    let response: RunResponse = serde_json::from_value(payload.clone())?;
    if arguments.json {
        output::document(&payload)?;
    } else {
        reply.finish(&response)?;
    }
    if response.status == "ok" {
        return Ok(());
    }
    let why = response.summary.unwrap_or_else(|| format!("the run ended with status {}", response.status));
    Err(if arguments.json { Failure::silent() } else { Failure::new(format!("Error: {why}")) }.into())
}

async fn ask(session: &Session, arguments: &Agent) -> anyhow::Result<(Value, Reply)> {
    let timeout = arguments.timeout + GRACE;
    let mut connection = Connection::open(session, &arguments.target, timeout, Mode::Cli).await?;
    let mut reply = Reply { live: !arguments.json && output::stdout_is_terminal(), shown: String::new() };
    let payload = connection.run_agent(params(arguments), timeout, &mut |text| reply.extend(text)).await?;
    Ok((payload, reply))
}

fn params(arguments: &Agent) -> Value {
    let mut params = json!({
        "message": arguments.message,
        "idempotencyKey": Uuid::new_v4().to_string(),
        "timeout": arguments.timeout.as_secs().max(1),
    });
    let optional = [
        ("agentId", &arguments.agent),
        ("sessionId", &arguments.session_id),
        ("sessionKey", &arguments.session_key),
        ("to", &arguments.to),
        ("thinking", &arguments.thinking),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            params[name] = json!(value);
        }
    }
    if arguments.deliver {
        params["deliver"] = json!(true);
    }
    params
}

/// The reply as far as it has been printed.
#[derive(Debug)]
struct Reply {
    /// Whether a person watches.
    live: bool,
    shown: String,
}

impl Reply {
    /// Prints what is new in `text`, the whole reply so far.
    fn extend(&mut self, text: &str) -> io::Result<()> {
        if !self.live || text == self.shown {
            return Ok(());
        }
        if let Some(more) = text.strip_prefix(self.shown.as_str()) {
            output::part(more)?;
        } else {
            // A second message of the same run, or a run that was begun again.
            output::part(&format!("\n{text}"))?;
        }
        text.clone_into(&mut self.shown);
        Ok(())
    }

    /// Prints what has not been printed yet.
    fn finish(&mut self, response: &RunResponse) -> io::Result<()> {
        let payloads = response.result.iter().flat_map(|result| &result.payloads);
        let mut lines: Vec<String> = Vec::new();
        for payload in payloads {
            lines.extend(Some(payload.text.clone()).filter(|text| !text.is_empty()));
            lines.extend(payload.media_url.as_ref().map(|url| format!("MEDIA:{url}")));
        }
        let mut text = lines.join("\n");
        if response.status != "ok" && response.summary.as_deref() == Some(text.as_str()) {
            // The caller says it where errors are said.
            text.clear();
        }
        if text.is_empty() && self.shown.is_empty() {
            // An error is told by the caller.
            return if response.status == "ok" { output::line("No reply from agent.") } else { Ok(()) };
        }
        if text.is_empty() || self.shown.ends_with(&text) {
            return if self.shown.ends_with('\n') { Ok(()) } else { output::line("") };
        }
        match text.strip_prefix(self.shown.as_str()) {
            Some(rest) => output::line(rest),
            None => output::line(format!("\n{text}")),
        }
    }
}
