//! `verso chaos`.

use std::time::Duration;

use clap::Args;

use super::{Target, duration};

/// `verso chaos`.
#[derive(Debug, Args)]
pub(crate) struct Chaos {
    /// How long it goes on, in seconds or with a unit (10m).
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = duration::seconds)]
    pub(crate) length: Duration,
    /// Between two faults, in milliseconds or with a unit (2s).
    #[arg(long, value_name = "TIME", default_value = "2000", value_parser = duration::milliseconds)]
    pub(crate) every: Duration,
    /// Repeat the plan of this seed.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Whom it may hit. The edge is replaced, never killed: it holds the sockets.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "presence,node,channel,agent,canvas")]
    pub(crate) services: Vec<String>,
    /// Do it: processes of the running gateway are killed.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print what was seen as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}
