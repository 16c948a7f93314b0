//! Who may call: whoever knows the webhooks' own secret. The gateway's is not accepted here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::header::{ALLOW, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode};
use tokio::time::Instant;
use verso_proto::edge::v1::Credentials;
use verso_protocol::auth::{Mode, ServerSecret, check_shared};

use super::TEXT;
use super::config::Config;
use crate::gateway::Gateway;
use crate::http::Asked;
use crate::http::auth::bearer;
use crate::http::errors::Refusal;
use crate::http::session::first;

/// Wrong secrets of one address within a window, after which the answer says to wait.
const FAILURES_MAX: u32 = 20;

/// The window.
const WINDOW: Duration = Duration::from_mins(1);

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// Headers that hold the secret, beside `Authorization`.
const TOKEN: [&str; 2] = ["x-verso-token", "x-openclaw-token"];

/// What is remembered of callers, in memory.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    /// Programs that run at the moment.
    pub(super) transforms: super::transform::Places,
    pub(super) woken: super::action::Woken,
}

impl Hooks {
    /// Lets a call in, or returns what its sender reads instead.
    #[expect(clippy::result_large_err, reason = "it is written to the connection at once")]
    pub(super) fn admit(&self, gateway: &Gateway, config: &Config, asked: &Asked, head: &Parts) -> Result<(), Response> {
        let query_token = query(head, "token");
        if query_token.is_some() && !config.allow_query_token {
            let words = "The token must not stand in the address, where logs keep it: send it as \"Authorization: Bearer\" or \"x-openclaw-token\".";
            return Err((StatusCode::BAD_REQUEST, [TEXT], words).into_response());
        }
        if head.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, [TEXT], [(ALLOW, "POST")], "Method Not Allowed").into_response());
        }
        if asked.facts.is_unattributed(&gateway.config()) {
            return Err(Refusal::UnknownProxy.into_response());
        }
        let secret = config.token.as_ref().map(|token| token.expose().as_str());
        let presented = bearer(&head.headers).or_else(|| first(&head.headers, TOKEN)).map(str::to_owned).or(query_token);
        let server = ServerSecret { mode: Mode::Token, secret };
        // Without a secret of its own, nobody gets in.
        match check_shared(server, Some(&Credentials { token: presented, ..Credentials::default() })) {
            Ok(_) => {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked.facts.client_ip);
                Ok(())
            }
            Err(_) => Err(self.failed(asked.facts.client_ip)),
        }
    }

    fn failed(&self, address: IpAddr) -> Response {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&address) {
            failures.retain(|_, (_, since)| since.elapsed() < WINDOW);
            if failures.len() >= ADDRESSES_MAX {
                // Whoever came first is forgotten first; counting goes on for the rest.
                let oldest = failures.iter().min_by_key(|(_, (_, since))| *since).map(|(address, _)| *address);
                oldest.and_then(|oldest| failures.remove(&oldest));
            }
        }
        let (count, since) = failures.entry(address).or_insert((0, Instant::now()));
        if since.elapsed() >= WINDOW {
            (*count, *since) = (0, Instant::now());
        }
        *count += 1;
        if *count <= FAILURES_MAX {
            return (StatusCode::UNAUTHORIZED, [TEXT], "Unauthorized").into_response();
        }
        let wait = WINDOW.saturating_sub(since.elapsed()).as_secs().max(1);
        (StatusCode::TOO_MANY_REQUESTS, [TEXT], [(RETRY_AFTER, wait.to_string())], "Too Many Requests").into_response()
    }
}

/// Returns the last value of a name in the query.
pub(super) fn query(head: &Parts, name: &str) -> Option<String> {
    pairs(head).filter(|(known, _)| known == name).map(|(_, value)| value).last()
}

/// Returns the names and values of the query, decoded.
pub(super) fn pairs(head: &Parts) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queries_as_forms_write_them() {
        let (head, ()) = http::Request::builder().uri("/x?a=1&a=2+3&b=%C3%A9%zz&c").body(()).unwrap().into_parts();
        let read: Vec<_> = pairs(&head).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read, [pair("a", "1"), pair("a", "2 3"), pair("b", "é%zz"), pair("c", "")]);
        assert_eq!(query(&head, "a").as_deref(), Some("2 3"));
    }
}
