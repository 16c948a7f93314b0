//! The one-line text form of an entry: `Node: <host> (<ip>) · app <version> · last input <n>s ago · mode <mode> · reason <reason>`.

use std::fmt::Write as _;

use verso_proto::presence::v1::Entry;

const PREFIX: &str = "node:";

/// Writes the text of an entry that brought none.
pub(crate) fn write(entry: &Entry) -> String {
    with_label("Node", entry)
}

/// Writes the text of the gateway's own entry.
pub(crate) fn write_own(entry: &Entry) -> String {
    with_label("Gateway", entry)
}

fn with_label(label: &str, entry: &Entry) -> String {
    let mut text = format!("{label}: {}", entry.host.as_deref().unwrap_or("unknown"));
    let mut add = |piece: std::fmt::Arguments<'_>| text.write_fmt(piece).expect("writing to a String cannot fail");
    if let Some(ip) = &entry.ip {
        add(format_args!(" ({ip})"));
    }
    if let Some(version) = &entry.version {
        add(format_args!(" · app {version}"));
    }
    if let Some(seconds) = entry.last_input_seconds {
        add(format_args!(" · last input {seconds}s ago"));
    }
    add(format_args!(" · mode {}", entry.mode.as_deref().unwrap_or("unknown")));
    if let Some(reason) = &entry.reason {
        add(format_args!(" · reason {reason}"));
    }
    text
}

/// Reads what a text of that form says; nothing is read from any other text. Parts may be missing.
pub(crate) fn read(text: &str) -> Entry {
    let mut entry = Entry::default();
    let Some(prefix) = text.get(..PREFIX.len()).filter(|prefix| prefix.eq_ignore_ascii_case(PREFIX)) else { return entry };
    let mut parts = text[prefix.len()..].split('·').map(str::trim);
    let head = parts.next().unwrap_or_default();
    let (host, ip) = match head.strip_suffix(')').and_then(|head| head.rsplit_once('(')) {
        Some((host, ip)) => (host, ip),
        None => (head, ""),
    };
    (entry.host, entry.ip) = (filled(host), filled(ip));
    for part in parts {
        match part.split_once(char::is_whitespace) {
            Some(("app", version)) => entry.version = filled(version),
            Some(("mode", mode)) => entry.mode = filled(mode),
            Some(("reason", reason)) => entry.reason = filled(reason),
            Some(("last", input)) => entry.last_input_seconds = seconds(input),
            _ => {}
        }
    }
    entry
}

fn filled(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn seconds(input: &str) -> Option<i64> {
    let count = input.trim().strip_prefix("input")?.trim().strip_suffix("s ago")?;
    count.parse().ok().filter(|seconds| *seconds >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Entry {
        Entry {
            host: Some("Den Box".to_owned()),
            ip: Some("198.51.100.8".to_owned()),
            version: Some("3.4".to_owned()),
            mode: Some("remote".to_owned()),
            last_input_seconds: Some(12),
            reason: Some("periodic".to_owned()),
            ..Entry::default()
        }
    }

    #[test]
    fn reads_back_what_it_writes() {
        let text = write(&full());
        assert_eq!(text, "Node: Den Box (198.51.100.8) · app 3.4 · last input 12s ago · mode remote · reason periodic");
        assert_eq!(read(&text), full());
    }

    #[test]
    fn leaves_out_what_is_unknown() {
        assert_eq!(write(&Entry::default()), "Node: unknown · mode unknown");
        let entry = Entry { host: Some("tv".to_owned()), mode: Some("ui".to_owned()), ..Entry::default() };
        assert_eq!(write(&entry), "Node: tv · mode ui");
    }

    #[test]
    fn reads_parts_and_ignores_the_rest() {
        let entry = read("NODE: tv · mode ui · colour red · last input soon · app");
        assert_eq!(entry, Entry { host: Some("tv".to_owned()), mode: Some("ui".to_owned()), ..Entry::default() });
        for text in ["", "Note: tv", "nod", "·", "näde: x"] {
            assert_eq!(read(text), Entry::default(), "{text:?}");
        }
        assert_eq!(read("Node: (x"), Entry { host: Some("(x".to_owned()), ..Entry::default() });
    }
}
