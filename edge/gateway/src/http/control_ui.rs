//! The browser client: our own small one, or a folder that the operator names, for instance an unpacked build of another.

mod avatar;
mod bootstrap;
mod files;
mod page;

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::Asked;
use super::errors::Refusal;
use crate::gateway::Gateway;
use files::{Found, Shelf};

/// Beginnings of paths that are never the browser client's where it has no base path of its own: whoever asks for an API that is not
/// there must not be answered with a page.
const NEVER: [&str; 14] = [
    "v1",
    "api",
    "hooks",
    "metrics",
    "plugins",
    "webhook",
    "webhooks",
    ".well-known",
    "mcp",
    "slack",
    "line",
    "__openclaw__",
    "__verso__",
    "a2ui",
];

/// The same, where something follows them: alone they are addresses of the client's own.
const NEVER_BELOW: [&str; 3] = ["tools", "sessions", "j"];

/// Beginnings of names that probes have.
const PROBES: [&str; 3] = ["health", "ready", "startup"];

/// What clients ask for to know where they are.
const BOOTSTRAP: [&str; 3] = ["control-ui-config.json", "__openclaw/control-ui-config.json", "__openclaw__/control-ui-config.json"];

/// The name of the page.
const INDEX: &str = "index.html";

/// Answers what nothing else has claimed.
pub(super) async fn serve(gateway: &Arc<Gateway>, asked: &Asked, head: &Parts) -> Response {
    let config = gateway.config();
    if !config.control_ui.enabled.unwrap_or(true) || !matches!(head.method, Method::GET | Method::HEAD) {
        return Refusal::NotFound.into_response();
    }
    let base = base_path(config.control_ui.base_path.as_deref());
    let path = head.uri.path();
    if !base.is_empty() && path == base {
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return (StatusCode::FOUND, [(LOCATION, format!("{base}/{query}"))]).into_response();
    }
    let Some(rest) = path.strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix('/')) else {
        return Refusal::NotFound.into_response();
    };
    if let Some(agent) = rest.strip_prefix("avatar/") {
        return avatar::serve(gateway, asked, head, &base, agent).await;
    }
    if BOOTSTRAP.contains(&rest) {
        return bootstrap::serve(gateway, asked, head, &base).await;
    }
    if base.is_empty() && is_reserved(rest) {
        return Refusal::NotFound.into_response();
    }
    let root = config.control_ui.root.clone();
    let shelf = Shelf::of(root.as_deref());
    // A file of a folder is read where it holds up nobody else.
    let wanted = rest.to_owned();
    let found = tokio::task::spawn_blocking(move || shelf.find(&wanted)).await;
    match found {
        Ok(Found::File(file)) if file.name == INDEX => page::serve(gateway, head, &base, &file, root.is_some()).await,
        Ok(Found::File(file)) => file.answer(&head.headers),
        // An address of the client's own, which it reads itself.
        Ok(Found::Nothing) if !files::has_known_ending(rest) && wants_page(&head.headers) => {
            let shelf = Shelf::of(root.as_deref());
            match tokio::task::spawn_blocking(move || shelf.find(INDEX)).await {
                Ok(Found::File(file)) => page::serve(gateway, head, &base, &file, root.is_some()).await,
                _ => missing(),
            }
        }
        Ok(Found::Nothing) if rest.is_empty() => missing(),
        Ok(Found::Refused | Found::Nothing) => Refusal::NotFound.into_response(),
        Err(_) => Refusal::internal().into_response(),
    }
}

fn missing() -> Response {
    let words = "The browser client's files are not there: gateway.controlUi.root must be a folder with an index.html. Remove it from the \
                 configuration to get the built-in client.";
    (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")], words).into_response()
}

/// With a slash before it and none after it; empty for the root.
pub(super) fn base_path(configured: Option<&str>) -> String {
    let path = configured.unwrap_or_default().trim().trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

fn is_reserved(rest: &str) -> bool {
    let (first, below) = rest.split_once('/').map_or((rest, false), |(first, _)| (first, true));
    (below && NEVER_BELOW.iter().any(|name| first.eq_ignore_ascii_case(name)))
        || NEVER.iter().any(|name| first.eq_ignore_ascii_case(name))
        || PROBES.iter().any(|probe| first.starts_with(probe))
}

/// Whether a page is an answer that the client can use: no word on it, or anything but a refusal.
fn wants_page(headers: &HeaderMap) -> bool {
    let Some(accept) = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()) else { return true };
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let refused = parts.any(|parameter| parameter.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
        matches!(kind, "text/html" | "text/*" | "*/*") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_api_is_answered_with_a_page() {
        for path in
            ["v1/nothing", "V1", "api/x", "healthz/x", "ready", "startupx", "tools/invoke", "sessions/a/history", "metrics", "hooks/x"]
        {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["", "chat", "overview", "sessions", "apis", "config/x"] {
            assert!(!is_reserved(path), "{path}");
        }
    }

    #[test]
    fn a_page_is_for_those_who_can_use_one() {
        let wants = |accept: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|value| (http::header::ACCEPT, value.parse().unwrap())));
            wants_page(&headers)
        };
        assert!(wants(None) && wants(Some("*/*")) && wants(Some("text/html,application/xml;q=0.9")));
        assert!(!wants(Some("application/json")) && !wants(Some("text/html;q=0")));
        assert_eq!((base_path(Some("/ui/")), base_path(Some("/")), base_path(None)), ("/ui".to_owned(), String::new(), String::new()));
    }
}
