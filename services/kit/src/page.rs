//! What every process that serves pages asks of a request.

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};

/// Whether the page that asks is one of the host's own; programs have no page.
pub fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match text(ORIGIN) {
        Some(origin) => origin.split_once("://").is_some_and(|(_, host)| Some(host) == text(HOST)),
        None => !headers.contains_key(ORIGIN),
    }
}

/// Replaces `%xx`, once. Anything else after a percent sign, and what is then not UTF-8, is nothing that an address holds.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            bytes.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_host_s_own_if_it_came_from_there() {
        for (headers, own) in [
            (vec![], true),
            (vec![("origin", "http://den.example:1"), ("host", "den.example:1")], true),
            (vec![("origin", "http://evil.example"), ("host", "den.example:1")], false),
            (vec![("origin", "null"), ("host", "den.example:1")], false),
            (vec![("origin", "http://den.example:1")], false),
        ] {
            let map = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(is_own(&map), own, "{headers:?}");
        }
    }

    #[test]
    fn addresses_are_decoded_once_or_not_at_all() {
        for (text, expected) in [("a%20b", Some("a b")), ("%2541", Some("%41")), ("%", None), ("%zz", None), ("%+1", None), ("%ff", None)] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }
}
