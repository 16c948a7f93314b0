//! Programs: whether they may be run, and running them.

pub mod approval;
pub mod binary;
pub mod child;
mod command;
pub mod environment;
mod filters;
mod job;
mod jobs;
mod ledger;
pub mod parse;
mod process;
pub mod safety;

pub use command::{ApplyPatch, Config, Exec};
pub use job::{Job, Order};
pub use jobs::Jobs;
pub use ledger::{Noted, Notes};
pub use process::Process;

#[cfg(test)]
mod tests;
