//! One HTTP request to a provider, repeated while the provider is only busy.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use reqwest::Response;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use tokio::time::timeout;
use verso_kit::trace;

use super::client::Clients;
use super::reading::{self, Parse, Patience};
use super::{Answer, Call, Failure, Kind};
use crate::models::Server;

/// How long a provider may take to begin its answer: a local model reads a long prompt slowly.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_mins(5);

/// How long the body of an error may take.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest body of an error that is read, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// How often a call is repeated that has not begun to answer.
const REPEATS_MAX: u32 = 2;

/// The first pause before a repeat; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest pause that a provider may ask for; a longer one ends the call instead.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A header in which providers ask for a pause in milliseconds.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A request, ready to be sent as often as it takes.
#[derive(Debug)]
pub(super) struct Outgoing {
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    /// Makes a request with the headers that every dialect has.
    pub(super) fn new(server: &Server, call: &Call<'_>, url: String, body: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| Failure::new(Kind::Unusable, format!("the request is not JSON: {error}")))?;
        let mut request = Self { url, headers: HeaderMap::new(), body: body.into() };
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json, application/vnd.amazon.eventstream"));
        request.set(trace::HEADER, &call.trace.to_string())?;
        for (name, value) in &server.headers {
            request.set(name, value.expose())?;
        }
        Ok(request)
    }

    /// Adds a bearer token, unless the configuration has a header in its place.
    pub(super) fn bearer(mut self, call: &Call<'_>) -> Result<Self, Failure> {
        if let Some(credential) = call.credential
            && !self.headers.contains_key(AUTHORIZATION)
        {
            self.set(AUTHORIZATION.as_str(), &format!("Bearer {}", credential.secret.expose().trim()))?;
        }
        Ok(self)
    }

    /// Adds a header, unless the configuration has it already.
    pub(super) fn header(mut self, name: &str, value: &str) -> Result<Self, Failure> {
        if !self.headers.contains_key(name) {
            self.set(name, value)?;
        }
        Ok(self)
    }

    /// Returns the address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the names of the headers; their values may be secrets.
    pub(super) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.keys().map(HeaderName::as_str)
    }

    /// Returns the body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let unusable = || Failure::new(Kind::Unusable, format!("the configured header {name} holds what no header may hold"));
        let mut value = HeaderValue::try_from(value).map_err(|_| unusable())?;
        value.set_sensitive(true);
        self.headers.insert(HeaderName::try_from(name).map_err(|_| unusable())?, value);
        Ok(())
    }
}

/// Sends a request until its answer begins. With `patient`, a busy provider is asked again.
pub(super) async fn call(clients: &Clients, request: Outgoing, parser: Box<dyn Parse>, patient: bool) -> Result<Answer, Failure> {
    let client = clients.for_url(&request.url).await.map_err(|error| Failure::new(Kind::Unusable, error.to_string()))?;
    let patience = Patience { document: FIRST_BYTE_TIMEOUT, idle: clients.idle_timeout() };
    let mut repeats = 0;
    loop {
        let sending = client.post(&request.url).headers(request.headers.clone()).body(request.body.clone()).send();
        let failure = match timeout(FIRST_BYTE_TIMEOUT, sending).await {
            Ok(Ok(response)) if response.status().is_success() => return reading::read(response, parser, patience).await,
            Ok(Ok(response)) => refused(response).await,
            Ok(Err(error)) => Failure::from_client(&error),
            Err(_) => Failure::new(Kind::Timeout, format!("the provider did not answer within {} s", FIRST_BYTE_TIMEOUT.as_secs())),
        };
        let Some(pause) = pause(&failure, repeats).filter(|_| patient) else { return Err(failure) };
        tracing::debug!(elapsed_ms = pause.as_millis(), error = %failure, "model call is repeated");
        tokio::time::sleep(pause).await;
        repeats += 1;
    }
}

/// Returns how long to wait before a repeat; none if a repeat would not help.
fn pause(failure: &Failure, repeats: u32) -> Option<Duration> {
    let passes = matches!(failure.kind, Kind::RateLimit | Kind::Overloaded | Kind::Server | Kind::Unreachable);
    let pause = failure.retry_after.unwrap_or_else(|| {
        // Callers that failed together should not come back together.
        let jitter_ms = rand::random::<u64>() % 250;
        PAUSE * 2_u32.pow(repeats) + Duration::from_millis(jitter_ms)
    });
    (passes && repeats < REPEATS_MAX && pause <= PAUSE_MAX).then_some(pause)
}

async fn refused(response: Response) -> Failure {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
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
    Failure::from_answer(status, &String::from_utf8_lossy(&body), retry_after)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number(&RETRY_AFTER_MS).map(Duration::from_millis).or_else(|| number(&RETRY_AFTER).map(Duration::from_secs))
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
            (after(Kind::Overloaded, 1), 0, Some(Duration::from_secs(1))),
            (after(Kind::Server, 0), 1, Some(Duration::ZERO)),
            (after(Kind::Refused, 0), 0, None),
            (after(Kind::Billing, 0), 0, None),
            (after(Kind::Auth, 0), 0, None),
            (after(Kind::Timeout, 0), 0, None),
        ] {
            assert_eq!(pause(&failure, repeats), wait, "{failure:?}");
        }
        assert!(pause(&Failure::new(Kind::Unreachable, ""), 1).is_some_and(|wait| wait >= Duration::from_secs(1)));
    }

    #[test]
    fn understands_how_long_a_provider_wants_to_be_left_alone() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect::<HeaderMap>()
        };
        assert_eq!(retry_after(&headers(&[("retry-after", " 7 ")])), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers(&[("retry-after", "7"), ("retry-after-ms", "250")])), Some(Duration::from_millis(250)));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")])), None);
    }
}
