//! What people and scripts see. Nothing else in the command line prints.

mod columns;
mod progress;
mod prompt;
mod table;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use verso_kit::config::Env;

pub(crate) use columns::{As, Column, Reader, plain, span};
pub(crate) use progress::watched;
pub(crate) use prompt::{ask, can_ask, choose, confirm, secret};
pub(crate) use table::Table;

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    coloured: bool,
}

/// What a text means to its reader.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    Accent,
    Good,
    Warning,
    Bad,
    Muted,
}

impl Style {
    /// The style of standard output: coloured for a person, unless told otherwise.
    pub(crate) fn of_stdout(env: &Env, no_color: bool) -> Self {
        let forced = env.get("FORCE_COLOR").is_some();
        let forbidden = no_color || env.get("NO_COLOR").is_some();
        Self { coloured: !no_color && (forced || (!forbidden && stdout_is_terminal())) }
    }

    /// Never coloured.
    pub(crate) fn plain() -> Self {
        Self { coloured: false }
    }

    /// Paints a text.
    pub(crate) fn paint(self, tone: Tone, text: impl Display) -> String {
        let code = match tone {
            Tone::Accent => "1;36",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Muted => "2",
        };
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

/// Whether a person reads standard output.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints a line.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Prints a part of a line at once.
pub(crate) fn part(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints a document for a script: JSON, indented by two spaces.
pub(crate) fn document(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Prints one value for a script: JSON on a line.
pub(crate) fn record(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string(value)?)
}

/// Passes on what another program said on its standard error.
pub(crate) fn notice_part(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()));
}

/// Tells the operator something that is not the command's result. A closed standard error is nobody's loss.
pub(crate) fn notice(text: impl Display) {
    let mut stderr = io::stderr().lock();
    drop(writeln!(stderr, "{text}"));
}
