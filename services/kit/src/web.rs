//! The public internet, for services that fetch what others name.

mod fetch;
mod guard;

pub use fetch::{Fetched, Fetcher, NotFetched};
pub use guard::{Blocked, check_address, check_url, resolve};
