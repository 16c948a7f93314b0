//! `verso gateway`: checks what it was asked for, then runs the supervisor until it is told to stop.

mod announce;
mod bind;
mod credentials;
mod dev;
mod force;
mod plan;
mod start;
mod tailscale;

use std::process::ExitCode;

use crate::args::Run;
use crate::config::Snapshot;
use crate::failure::Failure;
use crate::instance::Instance;

pub(crate) use bind::Bind;
pub(crate) use credentials::{Presented, presented, stored_token};
pub(crate) use start::runtime;

use plan::Plan;

/// Runs the gateway in the foreground.
pub(crate) fn run(instance: &Instance, snapshot: Snapshot, no_color: bool, flags: &Run) -> anyhow::Result<ExitCode> {
    if flags.reset && !instance.profile.is_dev() {
        return Err(Failure::new("Use --reset with --dev.").into());
    }
    let snapshot = if instance.profile.is_dev() && dev::prepare(instance, flags.reset)? { Snapshot::read(instance) } else { snapshot };
    if flags.ws_log.as_deref().is_some_and(|style| !["auto", "full", "compact"].contains(&style)) {
        return Err(Failure::new("Invalid --ws-log (use \"auto\", \"full\", \"compact\")").into());
    }
    let plan = Plan::make(instance, &snapshot, flags)?;
    if flags.force {
        force::free(plan.listen.port)?;
    }
    let credentials = credentials::resolve(instance, &snapshot, flags, plan.bind)?;
    let publication = tailscale::Publication::of(&snapshot, flags, plan.bind, &credentials.mode)?;
    start::start(start::Order { instance, snapshot: &snapshot, plan, credentials, publication, flags, no_color })
}
