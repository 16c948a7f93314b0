//! What an adapter is told when it starts: one line of JSON on its standard input. The input stays open as long as the other side lives.

use std::fmt;
use std::io::{self, BufRead as _, Read as _};
use std::path::PathBuf;
use std::thread;

use serde::{Deserialize, Serialize};
use verso_kit::CancellationToken;
use verso_kit::telemetry::Destination;

use crate::error::Error;

/// What an adapter is told. Nothing of it is in its arguments or its environment, where other processes could read it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    /// The version of the contract that the gateway speaks.
    pub contract: u32,
    /// The Unix socket to listen on.
    pub socket: PathBuf,
    /// What every call must present.
    pub token: String,
    /// The network's id in the configuration.
    pub channel: String,
    /// The account that is run here.
    pub account: String,
    /// A folder of its own, which nobody else writes.
    pub folder: PathBuf,
    /// Where its telemetry goes: told to programs of this build alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Destination>,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").field("channel", &self.channel).field("account", &self.account).finish_non_exhaustive()
    }
}

/// Tells whether the process that started this one still lives.
#[derive(Debug)]
pub struct Lifeline(io::Stdin);

impl Handover {
    /// Reads what this process was told. The lifeline is what is left of the standard input.
    pub fn take() -> Result<(Self, Lifeline), Error> {
        let stdin = io::stdin();
        let mut line = String::new();
        stdin.lock().read_line(&mut line).map_err(Error::Handover)?;
        let told = serde_json::from_str(&line).map_err(|error| Error::Handover(io::Error::other(error)))?;
        Ok((told, Lifeline(stdin)))
    }
}

impl Lifeline {
    /// Triggers `shutdown` when the other side is gone.
    pub fn follow(self, shutdown: CancellationToken) -> io::Result<()> {
        let wait = move || {
            let mut rest = [0; 64];
            while self.0.lock().read(&mut rest).is_ok_and(|read| read > 0) {}
            shutdown.cancel();
        };
        thread::Builder::new().name("lifeline".to_owned()).spawn(wait).map(drop)
    }
}
