//! `verso cron`.

use clap::{Args, Subcommand};

/// The commands under `verso cron`.
#[derive(Debug, Subcommand)]
pub(crate) enum Cron {
    /// Show whether the scheduler runs, and when it acts next.
    Status,
    /// List the jobs.
    List {
        /// Also those that are turned off.
        #[arg(long)]
        all: bool,
    },
    /// Add a job.
    #[command(alias = "create")]
    Add {
        #[command(flatten)]
        job: Box<Job>,
        /// The job's name.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Turned off at first.
        #[arg(long)]
        disabled: bool,
    },
    /// Change a job.
    Edit {
        /// The job's id.
        id: String,
        #[command(flatten)]
        job: Box<Job>,
        /// Another name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Turn it on.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Turn it off.
        #[arg(long)]
        disable: bool,
        /// The default agent's again.
        #[arg(long, conflicts_with = "agent")]
        clear_agent: bool,
        /// Do not send the result any more.
        #[arg(long, conflicts_with = "deliver")]
        no_deliver: bool,
        /// A delivery that fails makes the run fail again.
        #[arg(long, conflicts_with = "best_effort_deliver")]
        no_best_effort_deliver: bool,
    },
    /// Remove a job.
    #[command(visible_alias = "remove", alias = "delete")]
    Rm {
        /// The job's id.
        id: String,
    },
    /// Turn a job on.
    Enable {
        /// The job's id.
        id: String,
    },
    /// Turn a job off.
    Disable {
        /// The job's id.
        id: String,
    },
    /// Run a job now if it is due.
    Run {
        /// The job's id.
        id: String,
        /// Also when it is not due.
        #[arg(long)]
        force: bool,
    },
    /// List a job's past runs.
    Runs {
        /// The job's id.
        #[arg(long, value_name = "ID")]
        id: String,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
}

/// What a job does, and when.
#[derive(Debug, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Job {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Once, at this time (2026-01-31T08:00:00Z) or after this time (20m).
    #[arg(long, value_name = "TIME", group = "when")]
    pub(crate) at: Option<String>,
    /// Again and again, after this time (10m, 1h).
    #[arg(long, value_name = "TIME", group = "when")]
    pub(crate) every: Option<String>,
    /// At the times of a cron expression of five fields.
    #[arg(long, value_name = "EXPR", group = "when")]
    pub(crate) cron: Option<String>,
    /// The time zone of the expression, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", requires = "cron")]
    pub(crate) tz: Option<String>,
    /// Where it runs: in the main session, or in one of its own.
    #[arg(long, value_name = "SESSION", value_parser = ["main", "isolated"])]
    pub(crate) session: Option<String>,
    /// When the agent hears of it.
    #[arg(long, value_name = "MODE", value_parser = ["now", "next-heartbeat"])]
    pub(crate) wake: Option<String>,
    /// Whose agent runs it.
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// Tell the main session this.
    #[arg(long, value_name = "TEXT", group = "what")]
    pub(crate) system_event: Option<String>,
    /// Have the agent answer this.
    #[arg(long, value_name = "TEXT", group = "what")]
    pub(crate) message: Option<String>,
    /// How much to think.
    #[arg(long, value_name = "LEVEL", requires = "message")]
    pub(crate) thinking: Option<String>,
    /// The model.
    #[arg(long, value_name = "ID", requires = "message")]
    pub(crate) model: Option<String>,
    /// How long the answer may take, in seconds.
    #[arg(long, value_name = "S", requires = "message")]
    pub(crate) timeout_seconds: Option<u32>,
    /// Send the answer to a chat network.
    #[arg(long)]
    pub(crate) deliver: bool,
    /// The chat network. Default: the last one that was used.
    #[arg(long, value_name = "ID")]
    pub(crate) channel: Option<String>,
    /// The person or group on it.
    #[arg(long, value_name = "DEST")]
    pub(crate) to: Option<String>,
    /// A delivery that fails does not make the run fail.
    #[arg(long)]
    pub(crate) best_effort_deliver: bool,
    /// What stands before the note in the main session.
    #[arg(long, value_name = "TEXT")]
    pub(crate) post_prefix: Option<String>,
    /// How much of the answer the note holds.
    #[arg(long, value_name = "MODE", value_parser = ["summary", "full"])]
    pub(crate) post_mode: Option<String>,
    /// How long the note may be, in characters.
    #[arg(long, value_name = "N")]
    pub(crate) post_max_chars: Option<u32>,
    /// Remove the job after its run.
    #[arg(long)]
    pub(crate) delete_after_run: bool,
}
