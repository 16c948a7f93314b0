//! The agent service through its gRPC client, in front of a scripted model server on loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent;
mod automation;
mod changes;
mod commands;
mod cron;
mod faults;
mod inbound;
mod kills;
mod migration;
mod models;
mod provider;
mod queue;
mod reach;
mod recovery;
mod reports;
mod sessions;
mod skills;
mod tools;
mod turns;
