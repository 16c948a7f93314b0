//! The built `verso`, as a shell or a script meets it, where no gateway runs.

#![allow(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

mod arguments;
mod configuration;
mod fixture;
mod house;
mod without_a_gateway;
