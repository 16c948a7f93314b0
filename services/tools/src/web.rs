//! The web: pages fetched from addresses that were looked at first, and searches by a service that the configuration names.

mod fetch;
mod media;
mod search;
mod shelf;

pub use fetch::{FetchConfig, WebFetch};
pub use media::{Media, MediaError, MediaLimits, fetch_media};
pub use search::{SearchConfig, WebSearch};
pub use verso_kit::web::{Blocked, check_address, check_url};

#[cfg(test)]
mod tests;
