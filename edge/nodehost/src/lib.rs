//! This machine as a node of a gateway: it runs programs for agents and operators, as far as its owner allows.

mod ask;
mod binary;
mod command_line;
mod environment;
mod error;
mod host;
mod notify;
mod policy;
mod repeats;
mod run;
mod system_run;

pub use error::Error;
pub use host::{Config, run};
