//! The supervisor with real processes.
//!
//! Supervisor and services are this test binary again: a script that stands in for the executable runs the one test below, which
//! plays the role that the script's arguments name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod child;
mod gateway;
mod parent;

mod start;
mod stop;
mod survive;
mod swap;

use verso_kit::config::Env;

#[test]
fn plays_a_role_when_asked_to() {
    let env = Env::process();
    let Some(role) = env.get("VERSO_TEST_ROLE") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match role.split_once(' ') {
        Some(("gateway", setup)) => runtime.block_on(parent::run(setup)),
        Some(("service", name)) => runtime.block_on(child::run(name)),
        _ => panic!("no such role: {role}"),
    }
}
