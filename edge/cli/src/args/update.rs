//! `verso update`.

use std::path::PathBuf;

use clap::Args;

/// `verso update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The executable to run from now on.
    #[arg(long, value_name = "PATH")]
    pub(crate) from: PathBuf,
    /// Leave the installed executable as it is: the next start of the gateway runs that one again.
    #[arg(long)]
    pub(crate) no_install: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
