//! Calls by the contract's own types: the request names its method and its answer.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use verso_proto::methods::Call;

use crate::{CallError, CallErrorKind, CallStream, Client};

impl Client {
    /// Calls the method that `request` belongs to, and returns its first answer.
    pub async fn request<C>(&self, request: C) -> Result<C::Response, CallError>
    where
        C: Call + Serialize,
        C::Response: DeserializeOwned,
    {
        read::<C>(self.call(C::METHOD.name, write(&request)?).await?)
    }

    /// Calls a method that answers more than once. There is no time limit: drop the stream to stop waiting.
    pub async fn request_streaming<C>(&self, request: C) -> Result<Answers<C>, CallError>
    where
        C: Call + Serialize,
        C::Response: DeserializeOwned,
    {
        let stream = self.call_streaming(C::METHOD.name, write(&request)?).await?;
        Ok(Answers { stream, request: std::marker::PhantomData })
    }
}

/// The answers to one request, as the contract's type.
#[derive(Debug)]
pub struct Answers<C> {
    stream: CallStream,
    request: std::marker::PhantomData<C>,
}

impl<C> Answers<C>
where
    C: Call,
    C::Response: DeserializeOwned,
{
    /// Waits for the next answer; none after the last.
    pub async fn next(&mut self) -> Option<Result<C::Response, CallError>> {
        Some(self.stream.next().await?.and_then(read::<C>))
    }
}

/// Writes a request as parameters.
pub(crate) fn write<C: Call + Serialize>(request: &C) -> Result<Value, CallError> {
    serde_json::to_value(request).map_err(|error| malformed::<C>("request", &error))
}

/// Reads an answer.
pub(crate) fn read<C: Call>(payload: Value) -> Result<C::Response, CallError>
where
    C::Response: DeserializeOwned,
{
    serde_json::from_value(payload).map_err(|error| malformed::<C>("answer", &error))
}

fn malformed<C: Call>(what: &str, error: &serde_json::Error) -> CallError {
    CallError::without_answer(CallErrorKind::Malformed, format!("the {what} of {} is not what the contract says: {error}", C::METHOD.name))
}
