//! Calls in the `openai-completions` dialect.

use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::{EventStream, Eventsource as _};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use reqwest::Response;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use tokio::time::timeout;
use verso_kit::trace;

use super::client::Clients;
use super::wire::{Chunk, Request, StreamOptions};
use super::{Answer, Call, Delta, Failure, Kind};
use crate::models::Completions;

/// How long a provider may take to begin its answer: a local model reads a long prompt slowly.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_mins(5);

/// How long a provider may be silent within its answer.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// How long the body of an error may take.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest body of an error that is read, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How often a call is repeated that has not begun to answer.
const REPEATS_MAX: u32 = 2;

/// The first pause before a repeat; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest pause that a provider may ask for; a longer one ends the run instead.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The host whose newer models no longer take `max_tokens`.
const OPENAI_HOST: &str = "://api.openai.com";

/// Asks for an answer, and repeats the request while the provider is only busy.
pub(super) async fn call(clients: &Clients, endpoint: &Completions, call: &Call<'_>) -> Result<Answer, Failure> {
    let url = format!("{}/chat/completions", endpoint.base_url);
    let client = clients.for_url(&url).await.map_err(|error| Failure::new(Kind::Unusable, error.to_string()))?;
    let headers = headers(endpoint, call)?;
    let body = body(endpoint, call)?;
    let mut repeats = 0;
    loop {
        let request = client.post(&url).headers(headers.clone()).body(body.clone());
        let failure = match timeout(FIRST_BYTE_TIMEOUT, request.send()).await {
            Ok(Ok(response)) if response.status().is_success() => return read(response).await,
            Ok(Ok(response)) => refused(response).await,
            Ok(Err(error)) => Failure::from_client(&error),
            Err(_) => Failure::new(Kind::Timeout, format!("the provider did not answer within {} s", FIRST_BYTE_TIMEOUT.as_secs())),
        };
        let Some(pause) = pause(&failure, repeats) else { return Err(failure) };
        tracing::debug!(elapsed_ms = pause.as_millis(), error = %failure, "model call is repeated");
        tokio::time::sleep(pause).await;
        repeats += 1;
    }
}

/// Returns how long to wait before a repeat; none if a repeat would not help.
fn pause(failure: &Failure, repeats: u32) -> Option<Duration> {
    let worth_it = matches!(failure.kind, Kind::RateLimit | Kind::Server | Kind::Unreachable) && repeats < REPEATS_MAX;
    let pause = failure.retry_after.unwrap_or_else(|| {
        // Callers that failed together should not come back together.
        let jitter_ms = rand::random::<u64>() % 250;
        PAUSE * 2_u32.pow(repeats) + Duration::from_millis(jitter_ms)
    });
    (worth_it && pause <= PAUSE_MAX).then_some(pause)
}

fn headers(endpoint: &Completions, call: &Call<'_>) -> Result<HeaderMap, Failure> {
    let unusable = |name: &str| Failure::new(Kind::Unusable, format!("the configured header {name} holds what no header may hold"));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
    let traceparent = HeaderValue::try_from(call.trace.child().to_string()).map_err(|_| unusable(trace::HEADER))?;
    headers.insert(HeaderName::from_static(trace::HEADER), traceparent);
    if let Some(key) = &endpoint.api_key {
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose().trim())).map_err(|_| unusable("authorization"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &endpoint.headers {
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| unusable(name))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name).map_err(|_| unusable(name))?, value);
    }
    Ok(headers)
}

fn body(endpoint: &Completions, call: &Call<'_>) -> Result<Bytes, Failure> {
    let newer = endpoint.base_url.contains(OPENAI_HOST);
    let request = Request {
        model: &call.model.id,
        messages: call.messages,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        tools: call.tools,
        max_tokens: call.model.max_tokens.filter(|_| !newer),
        max_completion_tokens: call.model.max_tokens.filter(|_| newer),
        reasoning_effort: call.thinking.filter(|level| call.model.reasoning && *level != "off"),
    };
    serde_json::to_vec(&request).map(Bytes::from).map_err(|error| Failure::new(Kind::Unusable, format!("the request is not JSON: {error}")))
}

async fn refused(response: Response) -> Failure {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|value| value.trim().parse().ok());
    let mut stream = response.bytes_stream();
    let mut body = Vec::new();
    let reading = async {
        while let Some(Ok(bytes)) = stream.next().await {
            body.extend_from_slice(&bytes);
            if body.len() >= ERROR_BYTES_MAX {
                break;
            }
        }
    };
    // What has arrived by then must do.
    drop(timeout(ERROR_BODY_TIMEOUT, reading).await);
    Failure::from_answer(status, &String::from_utf8_lossy(&body), retry_after.map(Duration::from_secs))
}

async fn read(response: Response) -> Result<Answer, Failure> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/json") {
        let body = timeout(FIRST_BYTE_TIMEOUT, response.bytes()).await.map_err(|_| silent())?;
        let delta = parse(&body.map_err(|error| Failure::from_client(&error))?)?;
        return Ok(stream::once(async { Ok(delta) }).boxed());
    }
    let mut left = ANSWER_BYTES_MAX;
    let bytes = response.bytes_stream().map(move |piece| {
        let piece = piece.map_err(|error| Failure::from_client(&error))?;
        left = left.checked_sub(piece.len()).ok_or_else(|| Failure::new(Kind::Malformed, "the provider's answer is endless"))?;
        Ok::<_, Failure>(piece)
    });
    let reading = Reading { events: bytes.boxed().eventsource(), finished: false, over: false };
    Ok(stream::unfold(reading, Reading::next).boxed())
}

struct Reading {
    events: EventStream<BoxStream<'static, Result<Bytes, Failure>>>,
    /// Whether the model has said why it stopped: what follows is only about costs.
    finished: bool,
    over: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Delta, Failure>, Self)> {
        if self.over {
            return None;
        }
        let failure = match timeout(IDLE_TIMEOUT, self.events.next()).await {
            Ok(Some(Ok(event))) if event.data.trim() == "[DONE]" => return None,
            Ok(Some(Ok(event))) => match parse(event.data.as_bytes()) {
                Ok(delta) => {
                    self.finished |= delta.finish.is_some();
                    return Some((Ok(delta), self));
                }
                Err(failure) => failure,
            },
            Ok(Some(Err(eventsource_stream::EventStreamError::Transport(failure)))) => broken(failure),
            Ok(Some(Err(error))) => Failure::new(Kind::Malformed, format!("the provider's answer is not an event stream: {error}")),
            Ok(None) => cut(),
            Err(_) => silent(),
        };
        let ended_anyway = self.finished && matches!(failure.kind, Kind::Cut | Kind::Timeout);
        self.over = true;
        (!ended_anyway).then_some((Err(failure), self))
    }
}

fn parse(data: &[u8]) -> Result<Delta, Failure> {
    let chunk: Chunk = serde_json::from_slice(data)
        .map_err(|error| Failure::new(Kind::Malformed, format!("the provider's answer is not JSON: {error}")))?;
    match &chunk.error {
        Some(error) if !error.is_null() => Err(Failure::from_stream(error)),
        _ => Ok(chunk.into()),
    }
}

fn broken(failure: Failure) -> Failure {
    if failure.kind == Kind::Malformed { failure } else { cut() }
}

fn cut() -> Failure {
    Failure::new(Kind::Cut, "the provider's answer broke off in the middle")
}

fn silent() -> Failure {
    Failure::new(Kind::Timeout, format!("the provider fell silent for {} s", IDLE_TIMEOUT.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_only_what_may_succeed_later() {
        let after = |kind, seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..Failure::new(kind, "") };
        for (failure, repeats, wait) in [
            (after(Kind::RateLimit, 3), 0, Some(Duration::from_secs(3))),
            (after(Kind::RateLimit, 3), 2, None),
            (after(Kind::RateLimit, 31), 0, None),
            (after(Kind::Server, 0), 1, Some(Duration::ZERO)),
            (after(Kind::Refused, 0), 0, None),
            (after(Kind::Auth, 0), 0, None),
            (after(Kind::Timeout, 0), 0, None),
        ] {
            assert_eq!(pause(&failure, repeats), wait, "{failure:?}");
        }
        assert!(pause(&Failure::new(Kind::Unreachable, ""), 1).is_some_and(|wait| wait >= Duration::from_secs(1)));
    }

    #[test]
    fn reads_pieces_of_an_answer() {
        let delta = parse(br#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"tok"},"finish_reason":null}]}"#).unwrap();
        assert_eq!((delta.text.as_str(), delta.finish), ("tok", None));
        let delta =
            parse(br#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#)
                .unwrap();
        let usage = delta.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read, usage.total), (6, 2, 4, 12));
        let call = br#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"c","function":{"name":"f","arguments":"{"}}]}}]}"#;
        assert_eq!(parse(call).unwrap().tools[0].index, 1);
        assert_eq!(parse(br#"{"error":{"message":"overloaded","code":429}}"#).unwrap_err().kind, Kind::RateLimit);
        assert_eq!(parse(b"data").unwrap_err().kind, Kind::Malformed);
    }
}
