//! `verso config`.

use clap::Subcommand;

/// The commands under `verso config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the value at a path, as the file has it.
    Get {
        /// Such as gateway.port, agents.list[0].id or models.providers.mine.
        path: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Print secrets too.
        #[arg(long)]
        reveal: bool,
    },
    /// Set the value at a path. Comments, order and variables stay.
    Set {
        /// Such as gateway.port.
        path: String,
        /// JSON5; what is none is taken as text.
        value: String,
        /// Refuse a value that is not JSON5; print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lay a JSON merge patch over the file: null removes, objects are laid over each other, anything else replaces.
    Patch {
        /// JSON5, such as {gateway: {port: 18999}}.
        patch: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove what is at a path.
    Unset {
        /// Such as gateway.port.
        path: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what is wrong with the file.
    Validate {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print where the file is.
    #[command(alias = "file")]
    Path {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the file.
    Schema {
        /// Print the reference page instead.
        #[arg(long)]
        markdown: bool,
    },
    /// List the earlier states of the file.
    Generations {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go back to an earlier state of the file.
    Rollback {
        /// The number of the state. Default: the one before the present one.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
