//! Interfaces that an agent describes: A2UI v0.8, from its messages to the surfaces of each session.

mod catalog;
mod message;
pub(crate) mod page;
mod store;
mod surfaces;

pub(crate) use message::{Message, Problem, read_jsonl, read_list, read_loosely};
pub(crate) use store::Store;
pub(crate) use surfaces::{Surfaces, TooMuch};
