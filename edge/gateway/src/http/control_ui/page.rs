//! The page: told where it is, and fenced in.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, X_FRAME_OPTIONS};
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::bootstrap::{self, Assistant};
use super::files::Asset;
use crate::gateway::Gateway;

/// Which devices the page may ask for.
const PERMISSIONS: (HeaderName, &str) =
    (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=*, geolocation=*, clipboard-write=*");

/// Returns the page. `foreign`: it comes from a folder, and may be a client that connects elsewhere.
pub(super) async fn serve(gateway: &Arc<Gateway>, head: &Parts, base: &str, file: &Asset, foreign: bool) -> Response {
    let assistant = bootstrap::assistant(gateway, base).await;
    let html = told(&String::from_utf8_lossy(&file.content), base, &assistant, &file.tag());
    let policy = policy(&html, head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()), foreign);
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CACHE_CONTROL, "no-cache".to_owned()),
        (X_FRAME_OPTIONS, "DENY".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
        (PERMISSIONS.0, PERMISSIONS.1.to_owned()),
    ];
    (headers, html).into_response()
}

/// Adds what clients of either age look for: globals in a script, attributes of the root.
fn told(html: &str, base: &str, assistant: &Assistant, build: &str) -> String {
    let text = |value: &str| script_text(value);
    let globals = ["OPENCLAW", "VERSO"].map(|family| {
        format!(
            "window.__{family}_CONTROL_UI_BASE_PATH__={};window.__{family}_ASSISTANT_NAME__={};window.__{family}_ASSISTANT_AVATAR__={};",
            text(base),
            text(&assistant.name),
            text(&assistant.avatar)
        )
    });
    let mut html = html.to_owned();
    if !html.contains("__OPENCLAW_ASSISTANT_NAME__") {
        let script = format!("<script>{}</script>", globals.concat());
        let place = html.find("</head>").unwrap_or(0);
        html.insert_str(place, &script);
    }
    if let Some(place) = html.find("<html") {
        let attributes = format!(
            " data-openclaw-control-ui-base-path=\"{}\" data-openclaw-terminal-enabled=\"false\" data-openclaw-control-ui-build-id=\"{}\"",
            attribute_text(base),
            attribute_text(build.trim_matches('"'))
        );
        html.insert_str(place + "<html".len(), &attributes);
    }
    // Deep links of the client would look for its files beside themselves.
    html.replace("\"./assets/", &format!("\"{}/assets/", attribute_text(base)))
}

/// A JSON string that is safe within a script.
fn script_text(value: &str) -> String {
    let json = serde_json::Value::from(value).to_string();
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn attribute_text(value: &str) -> String {
    value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What the page may do: run its own scripts and those that it is served with, and nothing that somebody else puts into it.
fn policy(html: &str, host: Option<&str>, foreign: bool) -> String {
    let plain = |host: &&str| host.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | ':' | '[' | ']'));
    let hashes: Vec<String> = inline_scripts(html).map(|script| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script)))).collect();
    let scripts = hashes.join(" ");
    // Older browsers do not take the page's own host for its own where the scheme is another.
    let own = host.filter(plain).map(|host| format!("ws://{host} wss://{host}")).unwrap_or_default();
    if !foreign {
        return format!(
            "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'none'; script-src 'self' {scripts}; \
             style-src 'self'; img-src 'self' data:; connect-src 'self' {own}"
        );
    }
    format!(
        "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; frame-src 'self' http: https:; script-src 'self' \
         {scripts} 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob: https:; media-src 'self' data: blob:; \
         font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' ws: wss: data: {own}"
    )
}

/// Returns the texts of scripts that stand in the page.
fn inline_scripts(html: &str) -> impl Iterator<Item = &str> {
    html.split("<script").skip(1).filter_map(|rest| {
        let (head, rest) = rest.split_once('>')?;
        let (text, _) = rest.split_once("</script>")?;
        (!head.contains("src=") && !text.is_empty()).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_36_the_page_runs_only_what_it_is_served_with_and_no_frame_holds_it() {
        let assistant = Assistant { name: "</script><script>alert(1)</script>\u{2028}".to_owned(), avatar: "A".to_owned(), source: None };
        let page = "<!doctype html><html lang=\"en\"><head><script src=\"./assets/app.js\"></script></head><body></body></html>";
        let html = told(page, "/ui", &assistant, "\"b1\"");
        assert_eq!(html.matches("<script").count(), 2, "a name ends no script: {html}");
        assert!(html.contains("src=\"/ui/assets/app.js\"") && html.contains("data-openclaw-control-ui-base-path=\"/ui\""), "{html}");
        let policy = policy(&html, Some("127.0.0.1:18789"), false);
        let inline = inline_scripts(&html).next().unwrap();
        assert!(policy.contains(&format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inline)))), "{policy}");
        for rule in ["frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'", "connect-src 'self' ws://127.0.0.1:18789"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{policy}");
        let forged = super::policy(&html, Some("evil; script-src *"), false);
        assert!(!forged.contains("evil"), "{forged}");
    }

    #[test]
    fn sec_37_a_name_is_text_wherever_it_is_shown() {
        let name = "<img src=x onerror=alert(1)>\" onload=\"x";
        let assistant = Assistant { name: name.to_owned(), avatar: "javascript:alert(1)".to_owned(), source: None };
        let html = told("<html><head></head></html>", "/a\"><script>", &assistant, "b");
        assert!(!html.contains("<img") && !html.contains("\"><script>"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "{html}");
    }
}
