//! `verso backup`.

use std::path::PathBuf;

use clap::Subcommand;

/// The commands under `verso backup`.
#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Copy everything that the gateway keeps, also while it runs.
    Create {
        /// The folder to make. Default: a new one in the state folder's `backups`.
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a backup against its own list.
    Verify {
        /// The backup.
        from: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put a backup in the place of what there is. The gateway must be stopped.
    Restore {
        /// The backup.
        from: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
