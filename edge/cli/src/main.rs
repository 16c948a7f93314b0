//! `verso`: the operator's command line, and the daemon that it starts.

mod args;
mod client;
mod commands;
mod config;
mod environment;
mod failure;
mod gateway;
mod instance;
mod output;
mod ports;
mod profile;
mod service;
mod tui;
mod units;
mod workspace;

fn main() -> std::process::ExitCode {
    commands::main()
}
