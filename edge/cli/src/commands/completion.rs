//! `verso completion`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use verso_kit::config::Env;

use crate::args::{Cli, Completion};
use crate::output;

pub(super) fn run(arguments: &Completion, env: &Env) -> anyhow::Result<()> {
    let of_login = || env.get("SHELL").and_then(Shell::from_shell_path);
    let shell = arguments.shell.or(arguments.shell_flag).or_else(of_login).unwrap_or(Shell::Zsh);
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "verso", &mut script);
    Ok(output::part(&String::from_utf8(script)?)?)
}
