//! What agents can do: files, programs, the web, skills. Knows nothing of sessions or runs; `README.md` says what it promises.

pub mod exec;
pub mod files;
pub mod mcp;
pub mod memory;
pub mod policy;
pub mod sandbox;
pub mod skills;
pub mod tool;
pub mod toolset;
pub mod web;
