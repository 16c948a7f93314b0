//! Who did what to a service: one line a deed in `<state>/logs/audit.jsonl`, readable by the owner only.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use serde_json::json;
use tonic::Request;
use tracing::{info, warn};
use verso_kit::clock::Clock;
use verso_kit::links::From as Source;
use verso_kit::principal::principal;

/// The log of deeds.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    path: PathBuf,
    clock: Clock,
}

/// Who asks, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Actor(serde_json::Value);

impl Actor {
    /// Reads who asks: the client that the edge speaks for, or the process on the other end of the socket.
    pub(crate) fn of<T>(request: &Request<T>, on_behalf_of: Option<&str>) -> Self {
        let process = request.extensions().get::<Source>().and_then(|from| from.process);
        let process = process.map(|peer| json!({"uid": peer.uid(), "pid": peer.pid()}));
        let client = principal(request).map(|asking| {
            json!({
                "connId": asking.conn_id, "deviceId": asking.device_id, "clientId": asking.client_id, "name": asking.display_name,
                "user": asking.user,
            })
        });
        let via = if client.is_some() { "gateway" } else { "socket" };
        Self(json!({"via": via, "client": client, "process": process, "onBehalfOf": on_behalf_of}))
    }
}

impl Audit {
    /// Writes below the state folder.
    pub(crate) fn new(state_dir: &std::path::Path, clock: Clock) -> Self {
        Self { path: state_dir.join("logs").join("audit.jsonl"), clock }
    }

    /// Writes a deed down before it is done; one that cannot be written down is not done.
    pub(crate) fn begin(&self, action: &str, service: &str, actor: &Actor) -> io::Result<()> {
        info!(action, service, actor = %actor.0, "an operator looks after a service");
        self.write(&json!({"action": action, "service": service, "actor": actor.0, "phase": "begun"}))
    }

    /// Writes down what came of it.
    pub(crate) fn end(&self, action: &str, service: &str, actor: &Actor, outcome: Result<(), &str>) {
        let line = json!({
            "action": action, "service": service, "actor": actor.0, "phase": "ended", "ok": outcome.is_ok(), "error": outcome.err(),
        });
        if let Err(error) = self.write(&line) {
            warn!(error = &error as &dyn std::error::Error, "the end of an operator's deed was not written down");
        }
    }

    fn write(&self, line: &serde_json::Value) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            verso_kit::files::create_private_dir(folder)?;
        }
        let mut line = line.clone();
        line["ts"] = json!(self.clock.now_ms());
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }
}
