//! Flags that every command shares which asks the gateway something.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Target, duration};

/// How to reach the gateway, and in which form to print what it says.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait, in milliseconds or with a unit (10s).
    #[arg(long, value_name = "MS", default_value = "10000", value_parser = duration::milliseconds, global = true)]
    pub(crate) timeout: Duration,
    /// WebSocket URL of the gateway, if it is not the one of this profile.
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// Token, if it is not the one of this profile.
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
    /// Password, if it is not the one of this profile.
    #[arg(long, value_name = "PASSWORD", global = true)]
    password: Option<String>,
}

impl Reach {
    /// Returns which gateway the flags mean.
    pub(crate) fn target(&self) -> Target {
        Target { url: self.url.clone(), token: self.token.clone(), password: self.password.clone() }
    }
}

/// A family of commands. Without a command, the family's first question is asked.
#[derive(Debug, Args)]
pub(crate) struct Group<C: Subcommand> {
    #[command(subcommand)]
    pub(crate) command: Option<C>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}
