//! Who may use the HTTP APIs: whoever knows the gateway's secret. Without one, the owner, but not the pages that he visits.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use tokio::time::sleep;
use verso_proto::edge::v1::{ClientInfo, Credentials};
use verso_protocol::Version;
use verso_protocol::auth::{Mode, RequestFacts, check_origin, check_shared, is_trusted_proxy};

use super::Asked;
use super::errors::Refusal;
use crate::gateway::Gateway;
use crate::metrics::{self, Limit};
use crate::rate_limit::Guesser;

/// Which part of the configuration says whether something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Responses,
    /// Where either of them is.
    Either,
    Always,
}

impl Api {
    fn is_served(self, gateway: &Gateway) -> bool {
        let config = gateway.config();
        let endpoints = &config.http.endpoints;
        let (chat, responses) = (endpoints.chat_completions.enabled.unwrap_or(true), endpoints.responses.enabled.unwrap_or(false));
        match self {
            Self::Chat => chat,
            Self::Responses => responses,
            Self::Either => chat || responses,
            Self::Always => true,
        }
    }
}

/// Lets a request for an API in, if it is served, by a method that the path has, from somebody who may. Waits after a wrong secret from
/// this machine.
pub(super) async fn admit(gateway: &Gateway, asked: &Asked, head: &Parts, method: &Method, api: Api) -> Result<(), Refusal> {
    if !api.is_served(gateway) {
        return Err(Refusal::NotFound);
    }
    if head.method != *method {
        return Err(Refusal::WrongMethod(if *method == Method::POST { "POST" } else { "GET" }));
    }
    if gateway.is_draining() {
        return Err(Refusal::draining());
    }
    authorize(gateway, asked, &head.headers).await
}

/// Lets a request in from somebody who may. Waits after a wrong secret from this machine.
pub(super) async fn authorize(gateway: &Gateway, asked: &Asked, headers: &HeaderMap) -> Result<(), Refusal> {
    let config = gateway.config();
    let rules = asked.facts.rules(&config);
    if rules.forwarded && !is_trusted_proxy(&rules) {
        return Err(Refusal::UnknownProxy);
    }
    let server = config.auth.server_secret();
    let vouched = match server.mode {
        // It is the machine that is trusted, so whoever speaks for others is not.
        Mode::None => asked.facts.local,
        Mode::TrustedProxy => matches!(asked.facts.proxy_user, Some(Ok(_))),
        Mode::Token | Mode::Password => false,
    };
    if vouched || server.mode == Mode::None {
        return if vouched && page_is_allowed(&rules) { Ok(()) } else { Err(Refusal::ForeignPage) };
    }
    if server.mode == Mode::TrustedProxy && !asked.facts.local {
        return Err(Refusal::Unauthorized);
    }
    let guesser = Guesser::new(asked.facts.client_ip, rules.origin);
    if let Some(left) = gateway.failed_auth.locked_for(&guesser) {
        metrics::reached(Limit::FailedAuth);
        return Err(Refusal::Locked(left));
    }
    let presented = Credentials { token: bearer(headers).map(str::to_owned), ..Credentials::default() };
    match check_shared(server, Some(&presented)) {
        Ok(_) => gateway.failed_auth.succeeded(&guesser).map_err(Refusal::Locked),
        Err(refused) => {
            if refused.counts_as_failure() {
                // Counted before the wait: attempts at the same time are no way around the limit.
                sleep(gateway.failed_auth.failed(&guesser, &config.auth.rate_limit)).await;
            }
            Err(Refusal::Unauthorized)
        }
    }
}

/// Whether a request shows the right secret from an address that is not locked out. Counts nothing.
pub(super) fn knows_secret(gateway: &Gateway, asked: &Asked, headers: &HeaderMap) -> bool {
    let config = gateway.config();
    let rules = asked.facts.rules(&config);
    let guesser = Guesser::new(asked.facts.client_ip, rules.origin);
    let presented = bearer(headers).map(|token| Credentials { token: Some(token.to_owned()), ..Credentials::default() });
    let known = presented.is_some_and(|presented| {
        let server = config.auth.server_secret();
        matches!(server.mode, Mode::Token | Mode::Password) && check_shared(server, Some(&presented)).is_ok()
    });
    // A right answer to one of many guesses is no answer.
    known && !asked.facts.is_unattributed(&config) && gateway.failed_auth.locked_for(&guesser).is_none()
}

/// Returns the secret of `Authorization: Bearer <secret>`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim()).filter(|secret| !secret.is_empty())
}

/// Whether no foreign web page can have sent the request. Where no secret is asked for, that is all that keeps pages out.
fn page_is_allowed(rules: &RequestFacts<'_>) -> bool {
    let client = ClientInfo::default();
    let allowed = |origin: &str| check_origin(&RequestFacts { origin: Some(origin), ..*rules }, &client, Version::V3).is_ok();
    match (rules.origin, rules.host) {
        (Some(origin), _) => allowed(origin),
        // A page leaves its origin out only where it is the host's own page; a host name that its owner points here is foreign.
        (None, Some(host)) => allowed(&format!("http://{host}")) || allowed(&format!("https://{host}")),
        // Browsers always name the host.
        (None, None) => true,
    }
}
