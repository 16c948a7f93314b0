//! IRC.
//!
//! People are known by account name where the server tells it (`account-tag`), else by their whole mask `nick!user@host`. A nick alone can be
//! taken by anybody, so it lets nobody in.

mod connection;
mod reading;
mod registration;
mod session;

pub(crate) use session::Session;
