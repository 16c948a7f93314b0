//! Chat networks in processes of their own: starting such a process, calling it, being one, and trying one that somebody else wrote.
//!
//! The contract is `verso.adapter.v1`; `services/channel/ADAPTERS.md` explains it to authors.

pub mod check;
mod client;
mod error;
mod handover;
mod limits;
mod process;
mod server;

pub use client::{Client, Codes, Events};
pub use error::Error;
pub use handover::{Handover, Lifeline};
pub use limits::Limits;
pub use process::{Exit, Process, Program, START_TIMEOUT};
pub use server::{agree, received, serve};

/// The version of the contract that this build speaks.
pub const VERSION: u32 = 1;
