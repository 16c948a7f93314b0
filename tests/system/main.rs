//! Whole gateways of real processes: killed, stopped, flooded and fed with nonsense.

mod attacks;
mod auth_modes;
mod authorization;
mod bad_input;
mod canvas_pages;
mod chat_networks;
mod cli;
mod config;
mod devices;
mod following;
mod fuzz;
mod handshake;
mod http;
mod isolation;
mod lifecycle;
mod limits;
mod mcp;
mod nodes;
mod raw;
mod sandbox;
mod telemetry;
mod terminal;
mod tls;
mod turns;
mod wizard;
