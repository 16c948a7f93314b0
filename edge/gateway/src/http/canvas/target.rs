//! What a path on the gateway's port asks of the canvas, and by which secret address.

use http::Uri;
use verso_kit::page::decode;

use crate::http::errors::Refusal;

/// What routes lead here.
pub(super) const PATHS: [&str; 16] = [
    "/__verso__/canvas",
    "/__verso__/canvas/",
    "/__verso__/canvas/{*path}",
    "/__verso__/a2ui",
    "/__verso__/a2ui/",
    "/__verso__/a2ui/{*path}",
    "/__verso__/ws",
    "/__verso__/cap/{*path}",
    "/__openclaw__/canvas",
    "/__openclaw__/canvas/",
    "/__openclaw__/canvas/{*path}",
    "/__openclaw__/a2ui",
    "/__openclaw__/a2ui/",
    "/__openclaw__/a2ui/{*path}",
    "/__openclaw__/ws",
    "/__openclaw__/cap/{*path}",
];

/// The two names of everything.
const PREFIXES: [&str; 2] = ["/__verso__/", "/__openclaw__/"];

/// Where secret addresses begin, below a prefix.
const CAPABILITY: &str = "cap/";

/// The same as a parameter.
const PARAMETERS: [&str; 2] = ["verso_cap", "oc_cap"];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The secret that was presented with the address.
    pub(crate) capability: Option<String>,
    /// The path without it, and the query without it.
    pub(crate) path: String,
    /// Asks for the socket of a page.
    pub(crate) is_socket: bool,
}

impl Target {
    /// Whether a path belongs to the canvas as a socket, with or without a secret.
    pub(crate) fn wants_socket(uri: &Uri) -> bool {
        Self::read(uri).is_ok_and(|target| target.is_socket)
    }

    /// Reads a request's address.
    pub(in crate::http) fn read(uri: &Uri) -> Result<Self, Refusal> {
        let mut capability = None;
        let mut path = uri.path().to_owned();
        if let Some(below) = below(&path).and_then(|below| below.strip_prefix(CAPABILITY)) {
            let (token, rest) =
                below.split_once('/').filter(|(token, rest)| !token.is_empty() && !rest.is_empty()).ok_or(Refusal::Unauthorized)?;
            (capability, path) = (Some(token.to_owned()), format!("/{rest}"));
        }
        let place = below(&path).ok_or(Refusal::NotFound)?;
        let first = place.split('/').next().unwrap_or_default();
        let is_socket = place == "ws";
        if !(is_socket || matches!(first, "canvas" | "a2ui")) {
            return Err(Refusal::NotFound);
        }
        let mut kept = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((name, value)) if PARAMETERS.contains(&name) => capability = capability.or(Some(value.to_owned())),
                _ => kept.push(pair),
            }
        }
        if !kept.is_empty() {
            path = format!("{path}?{}", kept.join("&"));
        }
        Ok(Self { capability, path, is_socket })
    }

    /// Which session's surfaces a socket asks for.
    pub(crate) fn session(&self) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix("session="))?;
        decode(value).filter(|session| !session.is_empty())
    }
}

fn below(path: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, Refusal> {
        Target::read(&text.parse().unwrap())
    }

    #[test]
    fn a_secret_is_taken_out_of_the_address() {
        let target = |capability: Option<&str>, path: &str| Target {
            capability: capability.map(str::to_owned),
            path: path.to_owned(),
            is_socket: path.contains("/ws"),
        };
        for (text, expected) in [
            ("/__verso__/canvas", target(None, "/__verso__/canvas")),
            ("/__openclaw__/cap/T/__openclaw__/canvas/a%20b?x=1", target(Some("T"), "/__openclaw__/canvas/a%20b?x=1")),
            ("/__verso__/cap/T/__openclaw__/ws", target(Some("T"), "/__openclaw__/ws")),
            ("/__verso__/a2ui/?x=1&oc_cap=T&y", target(Some("T"), "/__verso__/a2ui/?x=1&y")),
            ("/__verso__/cap/A/__verso__/a2ui/?verso_cap=B", target(Some("A"), "/__verso__/a2ui/")),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for malformed in ["/__verso__/cap/", "/__verso__/cap/T", "/__verso__/cap/T/", "/__verso__/cap//__verso__/canvas"] {
            assert_eq!(read(malformed), Err(Refusal::Unauthorized), "{malformed}");
        }
        for elsewhere in ["/__verso__/cap/T/health", "/__verso__/cap/T/__verso__/cap/T/x", "/__verso__/other", "/canvas"] {
            assert_eq!(read(elsewhere), Err(Refusal::NotFound), "{elsewhere}");
        }
        assert_eq!(read("/__verso__/ws?session=agent%3Amain%3Amain").unwrap().session().as_deref(), Some("agent:main:main"));
        assert_eq!(read("/__verso__/ws?session=").unwrap().session(), None);
    }
}
