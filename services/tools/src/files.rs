//! An agent's files: read, written and changed below its workspace and nowhere else, whatever a path says and whatever links there are.

mod patch;
mod place;
mod tools;

pub use patch::{ApplyPatch, Patch};
pub use place::{Place, Problem};
pub use tools::{Edit, Read, Write, picture_type};

#[cfg(test)]
mod tests;
