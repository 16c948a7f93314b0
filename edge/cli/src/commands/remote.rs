//! One command's talk with the gateway: ask, then print JSON or words.

use serde_json::{Map, Value};
use verso_kit::clock::Clock;

use super::Session;
use crate::args::Reach;
use crate::client::{Connection, Mode, print_transport_error};
use crate::output::{self, Column, Reader, Tone};

/// A command's connection, and the form of its answers.
pub(super) struct Remote<'a> {
    pub(super) session: &'a Session,
    pub(super) reach: &'a Reach,
    connection: Connection,
}

impl<'a> Remote<'a> {
    /// Connects to the gateway that the flags mean.
    pub(super) async fn open(session: &'a Session, reach: &'a Reach) -> anyhow::Result<Self> {
        let target = reach.target();
        let opened = output::watched("connecting", Connection::open(session, &target, reach.timeout, Mode::Cli)).await;
        let connection = opened.inspect_err(|error| drop(print_transport_error(error, reach.json)))?;
        Ok(Self { session, reach, connection })
    }

    /// Calls a method.
    pub(super) async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.call_within(method, params, self.reach.timeout).await
    }

    /// Calls a method that may take longer than the flags say.
    pub(super) async fn call_within(&mut self, method: &str, params: Value, timeout: std::time::Duration) -> anyhow::Result<Value> {
        let answered = output::watched(method, self.connection.call(method, params, timeout)).await;
        answered.inspect_err(|error| drop(print_transport_error(error, self.reach.json)))
    }

    /// Prints an answer: as it is for scripts, in words for people.
    pub(super) fn answer(&self, payload: &Value, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.reach.json {
            return Ok(output::document(payload)?);
        }
        Ok(output::line(words())?)
    }

    /// Returns how rows are read.
    pub(super) fn reader(&self) -> Reader {
        Reader { style: self.session.style, now_ms: Clock::system().now_ms() }
    }

    /// Words a titled table of the rows at `place`; a sentence if there are none.
    pub(super) fn section(&self, title: &str, payload: &Value, place: &str, columns: &[Column]) -> String {
        let rows = payload.pointer(place).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let heading = self.session.style.paint(Tone::Accent, format!("{title} ({})", rows.len()));
        if rows.is_empty() { heading } else { format!("{heading}\n{}", self.reader().table(rows, columns)) }
    }
}

/// Asks one thing and prints the answer.
pub(super) async fn ask(
    session: &Session,
    reach: &Reach,
    method: &str,
    params: Value,
    words: impl FnOnce(&Remote<'_>, &Value) -> String,
) -> anyhow::Result<()> {
    let mut remote = Remote::open(session, reach).await?;
    let payload = remote.call(method, params).await?;
    remote.answer(&payload, || words(&remote, &payload))
}

/// Puts parameters together; what is null is left out.
pub(super) fn members<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let present = pairs.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(present.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// Words what an answer says about one thing, a line a member.
pub(super) fn facts(payload: &Value) -> String {
    let members = payload.as_object().into_iter().flatten();
    members.map(|(name, value)| format!("{name}: {}", output::plain(value))).collect::<Vec<_>>().join("\n")
}

/// Returns the text at `place`; empty if there is none.
pub(super) fn text<'a>(payload: &'a Value, place: &str) -> &'a str {
    payload.pointer(place).and_then(Value::as_str).unwrap_or_default()
}
