//! `verso message`, `verso channels` and `verso sessions`.

use clap::{Args, Subcommand};

/// The commands under `verso message`.
#[derive(Debug, Subcommand)]
pub(crate) enum Message {
    /// Send a message to a person or a group on a chat network.
    Send(MessageSend),
    /// Ask a question with answers to choose from.
    Poll(MessagePoll),
}

/// Where a message goes.
#[derive(Debug, Args)]
pub(crate) struct Destination {
    /// The chat network, such as telegram. Default: the only one that is configured.
    #[arg(long, value_name = "ID")]
    pub(crate) channel: Option<String>,
    /// The account on it. Default: the network's default account.
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    /// The person or group, as the network names it.
    #[arg(short = 't', long = "target", visible_alias = "to", value_name = "DEST")]
    pub(crate) target: String,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `verso message send`.
#[derive(Debug, Args)]
pub(crate) struct MessageSend {
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// The text.
    #[arg(short, long, value_name = "TEXT", required_unless_present = "media")]
    pub(crate) message: Option<String>,
    /// A picture or file, by its address; may be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) media: Vec<String>,
    /// The message to answer.
    #[arg(long, value_name = "ID")]
    pub(crate) reply_to: Option<String>,
    /// The thread to post in.
    #[arg(long, value_name = "ID")]
    pub(crate) thread_id: Option<String>,
    /// Play a video like a moving picture.
    #[arg(long)]
    pub(crate) gif_playback: bool,
    /// Without a sound at the other end.
    #[arg(long)]
    pub(crate) silent: bool,
}

/// `verso message poll`.
#[derive(Debug, Args)]
pub(crate) struct MessagePoll {
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// The question.
    #[arg(long, value_name = "TEXT")]
    pub(crate) poll_question: String,
    /// An answer to choose; 2 to 12 of them.
    #[arg(long, value_name = "TEXT", required = true)]
    pub(crate) poll_option: Vec<String>,
    /// More than one answer may be chosen.
    #[arg(long)]
    pub(crate) poll_multi: bool,
    /// How long it is open, in hours.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) poll_duration_hours: Option<u32>,
}

/// The commands under `verso channels`.
#[derive(Debug, Subcommand)]
pub(crate) enum Channels {
    /// Show the chat networks and how they fare.
    Status {
        /// Have each network checked now.
        #[arg(long)]
        probe: bool,
        /// This network only.
        #[arg(long, value_name = "ID")]
        channel: Option<String>,
    },
    /// List the configured chat networks and their accounts.
    List,
    /// Print the log of the chat networks.
    Logs {
        /// This network only.
        #[arg(long, value_name = "ID")]
        channel: Option<String>,
        /// How many lines.
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5000))]
        lines: u16,
    },
    /// Link an account by scanning a code, or by typing one.
    Login {
        /// Your telephone number: get a code to type on the telephone instead of one to scan.
        #[arg(long, value_name = "NUMBER")]
        phone: Option<String>,
        /// Give up the link that there is.
        #[arg(long)]
        force: bool,
        /// The network.
        #[arg(long, value_name = "ID")]
        channel: Option<String>,
        /// The account on it.
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
    /// Help authors of adapters: programs that speak a chat network for this gateway.
    #[command(arg_required_else_help = true)]
    Adapter {
        #[command(subcommand)]
        command: super::Adapter,
    },
    /// Unlink an account.
    Logout {
        /// The network.
        #[arg(long, value_name = "ID")]
        channel: String,
        /// The account on it.
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
}

/// The commands under `verso sessions`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List the sessions, newest first.
    List(SessionsList),
    /// Show the last messages of a session.
    Preview {
        /// The session's key.
        key: String,
        /// How many messages.
        #[arg(long, value_name = "N", default_value_t = 12)]
        limit: u32,
    },
    /// Begin a session anew.
    Reset {
        /// The session's key.
        key: String,
    },
    /// Delete a session and its transcript.
    Delete {
        /// The session's key.
        key: String,
        /// Leave the transcript where it is.
        #[arg(long)]
        keep_transcript: bool,
    },
    /// Shorten a session's transcript.
    Compact {
        /// The session's key.
        key: String,
        /// How many lines to keep.
        #[arg(long, value_name = "N")]
        max_lines: Option<u32>,
    },
}

/// `verso sessions list`.
#[derive(Debug, Default, Args)]
pub(crate) struct SessionsList {
    /// Those only that were used in the last minutes.
    #[arg(long, value_name = "MINUTES")]
    pub(crate) active: Option<String>,
    /// Those only of this agent.
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// Those only whose key, label or name holds this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
}

/// `verso sessions` itself takes the flags of its list, as scripts expect.
#[derive(Debug, Args)]
pub(crate) struct SessionsGroup {
    #[command(subcommand)]
    pub(crate) command: Option<Sessions>,
    #[command(flatten)]
    pub(crate) list: SessionsList,
    #[command(flatten)]
    pub(crate) reach: super::Reach,
}
