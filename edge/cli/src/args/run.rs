//! `verso gateway`: how it is run.

use std::path::PathBuf;

use clap::Args;

/// How to run the gateway.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Run {
    /// Port for WebSocket and HTTP; 0 takes any free one. Default 18789 (dev: 19001).
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<String>,
    /// Who may connect: loopback, lan, tailnet, auto or custom.
    #[arg(long, value_name = "MODE")]
    pub(crate) bind: Option<String>,
    /// Token that clients must present. Other users of this machine can read it from the process list; prefer --token-file.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Read the token from a file.
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// How clients prove themselves: token, password or none.
    #[arg(long, value_name = "MODE")]
    pub(crate) auth: Option<String>,
    /// Password that clients must present. Other users of this machine can read it from the process list; prefer --password-file.
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// Read the password from a file.
    #[arg(long, value_name = "PATH", conflicts_with = "password")]
    pub(crate) password_file: Option<PathBuf>,
    /// Start although the configuration does not set gateway.mode to "local".
    #[arg(long)]
    pub(crate) allow_unconfigured: bool,
    /// Move the dev profile's configuration, credentials, sessions and workspace aside first.
    #[arg(long)]
    pub(crate) reset: bool,
    /// Stop whatever listens on the port first.
    #[arg(long)]
    pub(crate) force: bool,
    /// Print debug messages.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Run these services only, separated by commas.
    #[arg(long, value_name = "LIST")]
    pub(crate) services: Option<String>,
    /// Publish the port in the tailnet: off, serve (its members) or funnel (everybody; needs a password).
    #[arg(long, value_name = "MODE")]
    pub(crate) tailscale: Option<String>,
    /// Take the publication back when the gateway ends.
    #[arg(long)]
    pub(crate) tailscale_reset_on_exit: bool,
    /// How much of the WebSocket traffic --verbose prints: auto, compact (answers) or full (requests and events too).
    #[arg(long, value_name = "STYLE")]
    pub(crate) ws_log: Option<String>,
    /// The same as --ws-log compact.
    #[arg(long, conflicts_with = "ws_log")]
    pub(crate) compact: bool,
    /// Write what model providers send, as JSON lines: conversations in clear text, for debugging.
    #[arg(long)]
    pub(crate) raw_stream: bool,
    /// Where to write it. Default: `logs/raw-stream.jsonl` in the state folder.
    #[arg(long, value_name = "PATH", requires = "raw_stream")]
    pub(crate) raw_stream_path: Option<PathBuf>,
    /// Accepted for older scripts; no agent runs behind another command line here.
    #[arg(long, alias = "claude-cli-logs", hide = true)]
    pub(crate) cli_backend_logs: bool,
}
