//! The web: pages fetched from addresses that were looked at first, and searches by a service that the configuration names.

mod fetch;
mod guard;
mod search;
mod shelf;

pub use fetch::{FetchConfig, WebFetch};
pub use guard::{Blocked, check_address, check_url};
pub use search::{SearchConfig, WebSearch};

#[cfg(test)]
mod tests;
