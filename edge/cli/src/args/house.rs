//! Commands that set a gateway up on this machine, and take it away again.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `verso setup`.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The folder that agents work in. Default: `workspace` in the state folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) workspace: Option<PathBuf>,
    /// `local`: the gateway runs here. `remote`: this machine uses another one's.
    #[arg(long, value_name = "MODE", value_parser = ["local", "remote"])]
    pub(crate) mode: Option<String>,
    /// The WebSocket URL of the remote gateway.
    #[arg(long, value_name = "URL")]
    pub(crate) remote_url: Option<String>,
    /// Its token.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) remote_token: Option<String>,
    /// Ask questions, as `verso onboard` does.
    #[arg(long)]
    pub(crate) wizard: bool,
    /// Ask nothing.
    #[arg(long)]
    pub(crate) non_interactive: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `verso onboard`.
#[derive(Debug, Clone, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Onboard {
    /// The folder that agents work in.
    #[arg(long, value_name = "PATH")]
    pub(crate) workspace: Option<PathBuf>,
    /// Remove the configuration, credentials and sessions first.
    #[arg(long)]
    pub(crate) reset: bool,
    /// Ask nothing; everything comes from flags.
    #[arg(long, requires = "accept_risk")]
    pub(crate) non_interactive: bool,
    /// Agents can run programs on this machine, and you know it.
    #[arg(long)]
    pub(crate) accept_risk: bool,
    /// How much is asked.
    #[arg(long, value_name = "FLOW", value_parser = ["quickstart", "advanced", "manual"], default_value = "quickstart")]
    pub(crate) flow: String,
    /// `local`: the gateway runs here. `remote`: this machine uses another one's.
    #[arg(long, value_name = "MODE", value_parser = ["local", "remote"], default_value = "local")]
    pub(crate) mode: String,
    /// Whose models answer: `skip`, or a provider's key such as `openai-api-key`, `apiKey` (Anthropic) or `openrouter-api-key`.
    #[arg(long, value_name = "CHOICE")]
    pub(crate) auth_choice: Option<String>,
    /// The key of the chosen provider. Other users of this machine can read it from the process list; prefer --api-key-file.
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Read the key of the chosen provider from a file.
    #[arg(long, value_name = "PATH", conflicts_with = "api_key")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// The gateway's port.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) gateway_port: Option<u16>,
    /// Who may connect: loopback, lan, tailnet, auto or custom.
    #[arg(long, value_name = "MODE", value_parser = ["loopback", "lan", "tailnet", "auto", "custom"])]
    pub(crate) gateway_bind: Option<String>,
    /// How clients prove themselves.
    #[arg(long, value_name = "MODE", value_parser = ["token", "password"])]
    pub(crate) gateway_auth: Option<String>,
    /// The token that clients present. Default: a new one.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) gateway_token: Option<String>,
    /// The password that clients present.
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) gateway_password: Option<String>,
    /// The WebSocket URL of the remote gateway.
    #[arg(long, value_name = "URL")]
    pub(crate) remote_url: Option<String>,
    /// Its token.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) remote_token: Option<String>,
    /// Publish over Tailscale.
    #[arg(long, value_name = "MODE", value_parser = ["off", "serve", "funnel"])]
    pub(crate) tailscale: Option<String>,
    /// Have this system start the gateway from now on.
    #[arg(long, overrides_with = "no_install_daemon")]
    pub(crate) install_daemon: bool,
    /// Do not.
    #[arg(long, visible_alias = "skip-daemon")]
    pub(crate) no_install_daemon: bool,
    /// Accepted for older scripts; the gateway needs no runtime.
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) daemon_runtime: Option<String>,
    /// Accepted for older scripts; the gateway installs no packages.
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) node_manager: Option<String>,
    /// Leave chat networks out.
    #[arg(long)]
    pub(crate) skip_channels: bool,
    /// Leave skills out.
    #[arg(long)]
    pub(crate) skip_skills: bool,
    /// Do not ask the gateway for its health in the end.
    #[arg(long)]
    pub(crate) skip_health: bool,
    /// Do not print where the gateway's page is.
    #[arg(long)]
    pub(crate) skip_ui: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Onboard {
    /// As if no flag had been given.
    pub(crate) fn by_questions() -> Self {
        Self { flow: "quickstart".to_owned(), mode: "local".to_owned(), ..Self::default() }
    }
}

/// `verso configure`.
#[derive(Debug, Args)]
pub(crate) struct Configure {
    /// What to set: workspace, model, web, gateway, daemon, channels, skills or health; may be repeated. Default: asks.
    #[arg(long = "section", value_name = "NAME", value_parser = crate::args::SECTIONS)]
    pub(crate) sections: Vec<String>,
}

/// `verso reset`.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// How much is removed.
    #[arg(long, value_name = "SCOPE", value_parser = ["config", "config+creds+sessions", "full"])]
    pub(crate) scope: Option<String>,
    /// Do not ask whether it is meant.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Ask nothing; needs --yes and --scope.
    #[arg(long)]
    pub(crate) non_interactive: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `verso uninstall`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Uninstall {
    /// The service that starts the gateway.
    #[arg(long)]
    pub(crate) service: bool,
    /// The state folder and the configuration.
    #[arg(long)]
    pub(crate) state: bool,
    /// The folders that agents work in.
    #[arg(long)]
    pub(crate) workspace: bool,
    /// Accepted for older scripts; there is no app.
    #[arg(long, hide = true)]
    pub(crate) app: bool,
    /// All of it.
    #[arg(long)]
    pub(crate) all: bool,
    /// Do not ask whether it is meant.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Ask nothing; needs --yes.
    #[arg(long)]
    pub(crate) non_interactive: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The commands under `verso security`.
#[derive(Debug, Subcommand)]
pub(crate) enum Security {
    /// Look for what lets others in.
    Audit(SecurityAudit),
}

/// `verso security audit`.
#[derive(Debug, Args)]
pub(crate) struct SecurityAudit {
    /// Also ask the running gateway.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Close what can be closed without a question.
    #[arg(long)]
    pub(crate) fix: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
