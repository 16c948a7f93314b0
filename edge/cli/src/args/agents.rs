//! `verso agents`, `verso models`, `verso skills`, `verso approvals` and `verso system`.

use std::path::PathBuf;

use clap::Subcommand;

/// The commands under `verso agents`.
#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// List the agents.
    List {
        /// Also which chats each of them answers.
        #[arg(long)]
        bindings: bool,
    },
}

/// The commands under `verso models`.
#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// Show the model in use and its alternatives.
    Status {
        /// Exit with 1 when no model can be used.
        #[arg(long)]
        check: bool,
    },
    /// List the models.
    List {
        /// Also those that are not configured.
        #[arg(long)]
        all: bool,
        /// Those only of this provider.
        #[arg(long, value_name = "ID")]
        provider: Option<String>,
        /// One name a line.
        #[arg(long)]
        plain: bool,
    },
    /// Make a model the default.
    Set {
        /// PROVIDER/MODEL.
        model: String,
    },
}

/// The commands under `verso skills`.
#[derive(Debug, Subcommand)]
pub(crate) enum Skills {
    /// List the skills.
    List {
        /// Those only that can be used.
        #[arg(long)]
        eligible: bool,
    },
    /// Show all that is known of a skill.
    Info {
        /// Its name.
        name: String,
    },
    /// Count the skills that can be used, and say what the others lack.
    Check,
}

/// The commands under `verso approvals`.
#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// Show the rules for running programs.
    Get {
        /// Those of a node, by its id or name.
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Replace the rules.
    Set {
        /// Read them from a file.
        #[arg(long, value_name = "PATH", required_unless_present = "stdin")]
        file: Option<PathBuf>,
        /// Read them from standard input.
        #[arg(long, conflicts_with = "file")]
        stdin: bool,
        /// Those of a node, by its id or name.
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Change the list of programs that may run without asking.
    #[command(subcommand)]
    Allowlist(Allowlist),
    /// List what waits for a decision.
    Pending,
    /// Decide.
    Resolve {
        /// The request's id.
        id: String,
        /// What to answer.
        #[arg(value_parser = ["allow-once", "allow-always", "deny"])]
        decision: String,
    },
}

/// The commands under `verso approvals allowlist`.
#[derive(Debug, Subcommand)]
pub(crate) enum Allowlist {
    /// Allow a program.
    Add(AllowlistEntry),
    /// Ask again before a program runs.
    Remove(AllowlistEntry),
}

/// A program on the list.
#[derive(Debug, clap::Args)]
pub(crate) struct AllowlistEntry {
    /// A path, with * for any name.
    pub(crate) pattern: String,
    /// The agent whose list it is; * for all.
    #[arg(long, value_name = "ID", default_value = "main")]
    pub(crate) agent: String,
    /// That of a node, by its id or name.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
}

/// The commands under `verso system`.
#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Tell the main session something.
    Event {
        /// What.
        #[arg(long, value_name = "TEXT")]
        text: String,
        /// When the agent hears of it.
        #[arg(long, value_name = "MODE", default_value = "next-heartbeat", value_parser = ["now", "next-heartbeat"])]
        mode: String,
    },
    /// Look at the heartbeat, or turn it on or off.
    Heartbeat {
        /// What to do.
        #[arg(value_parser = ["last", "enable", "disable"])]
        what: String,
    },
    /// List who and what is connected.
    Presence,
}

/// The commands under `verso protocol`.
#[derive(Debug, Subcommand)]
pub(crate) enum Protocol {
    /// Print the JSON Schemas of all methods and events.
    Schema {
        /// This method only.
        #[arg(long, value_name = "NAME")]
        method: Option<String>,
    },
    /// Print TypeScript declarations of the same.
    Types,
}
