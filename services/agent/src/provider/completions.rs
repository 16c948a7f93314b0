//! The `openai-completions` dialect.

mod answer;
mod ask;

use super::exchange::Outgoing;
use super::reading::{self, Parse, Step};
use super::{Call, Delta, Failure};
use crate::models::Server;
use answer::Chunk;

/// Renders a call.
pub(super) fn request(server: &Server, call: &Call<'_>) -> Result<Outgoing, Failure> {
    let url = format!("{}/chat/completions", server.base_url);
    Outgoing::new(server, call, url, &ask::body(server, call))?.bearer(call)
}

/// Reads the answers.
#[derive(Debug)]
pub(super) struct Parser;

impl Parse for Parser {
    fn piece(&mut self, data: &str) -> Result<Step, Failure> {
        self.document(data.as_bytes()).map(Step::Add)
    }

    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure> {
        let chunk: Chunk = reading::json(body)?;
        match &chunk.error {
            Some(error) if !error.is_null() => Err(Failure::from_stream(error)),
            _ => Ok(chunk.into()),
        }
    }
}
