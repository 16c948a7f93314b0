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

/// What a gateway allocates is small, many, and soon gone: a quarter of the work of a routed request is saved by an allocator made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The allocator asks for pages of 2 MiB, and seven processes that idle would fill a dozen each. What is started from here inherits this.
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).ok();
    commands::main()
}
