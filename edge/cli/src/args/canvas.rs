//! `verso nodes canvas`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;

/// The commands under `verso nodes canvas`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodesCanvas {
    /// Show the canvas, and a page on it.
    Present {
        #[command(flatten)]
        on: OnNode,
        /// An address, or a path of the gateway's canvas.
        #[arg(long, value_name = "URL")]
        target: Option<String>,
        /// Where the canvas is placed.
        #[arg(long, value_name = "PX", allow_negative_numbers = true)]
        x: Option<f64>,
        /// Where the canvas is placed.
        #[arg(long, value_name = "PX", allow_negative_numbers = true)]
        y: Option<f64>,
        /// How wide the canvas is.
        #[arg(long, value_name = "PX")]
        width: Option<f64>,
        /// How high the canvas is.
        #[arg(long, value_name = "PX")]
        height: Option<f64>,
    },
    /// Hide the canvas.
    Hide {
        #[command(flatten)]
        on: OnNode,
    },
    /// Go to another page.
    Navigate {
        #[command(flatten)]
        on: OnNode,
        /// An address, or a path of the gateway's canvas.
        #[arg(value_name = "URL")]
        page: String,
    },
    /// Run a script in the page and print what it returns.
    Eval {
        #[command(flatten)]
        on: OnNode,
        /// The script.
        #[arg(value_name = "SCRIPT", required_unless_present = "js")]
        script: Option<String>,
        /// The same.
        #[arg(long, value_name = "SCRIPT", conflicts_with = "script")]
        js: Option<String>,
    },
    /// Take a picture of the canvas, and print where it is.
    Snapshot {
        #[command(flatten)]
        on: OnNode,
        /// `png` or `jpg`.
        #[arg(long, value_name = "FORMAT", default_value = "jpg", value_parser = ["png", "jpg", "jpeg"])]
        format: String,
        /// The widest picture.
        #[arg(long, value_name = "PX")]
        max_width: Option<f64>,
        /// How much is kept of a jpg, from 0 to 1.
        #[arg(long, value_name = "SHARE")]
        quality: Option<f64>,
    },
    /// Show an interface (A2UI v0.8), or take all away.
    A2ui {
        #[command(subcommand)]
        command: NodesA2ui,
    },
}

/// The commands under `verso nodes canvas a2ui`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodesA2ui {
    /// Show an interface. The gateway checks it first, and shows it on its own canvas too.
    Push {
        #[command(flatten)]
        on: OnNode,
        /// A file of messages, one a line; `-` is the standard input.
        #[arg(long, value_name = "FILE", required_unless_present = "text")]
        jsonl: Option<PathBuf>,
        /// A line of text instead.
        #[arg(long, value_name = "TEXT", conflicts_with = "jsonl")]
        text: Option<String>,
    },
    /// Take all interfaces away.
    Reset {
        #[command(flatten)]
        on: OnNode,
    },
}

/// Which node, and how long it may take.
#[derive(Debug, Args)]
pub(crate) struct OnNode {
    /// Id, name or address.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: String,
    /// How long the node may take, in milliseconds or with a unit (20s).
    #[arg(long, value_name = "MS", default_value = "20000", value_parser = duration::milliseconds)]
    pub(crate) invoke_timeout: Duration,
}
