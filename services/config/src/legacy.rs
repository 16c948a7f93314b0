//! Keys of older versions.

use serde_json::Value;

use crate::check::Problem;

/// Such keys, and where their content belongs now.
const MOVED: [(&str, &str); 10] = [
    ("agent", "agents.defaults"),
    ("discord", "channels.discord"),
    ("identity", "agents.list[].identity"),
    ("imessage", "channels.imessage"),
    ("msteams", "channels.msteams"),
    ("routing", "channels, agents and messages"),
    ("signal", "channels.signal"),
    ("slack", "channels.slack"),
    ("telegram", "channels.telegram"),
    ("whatsapp", "channels.whatsapp"),
];

/// Keys that moved within their sections.
const MOVED_INSIDE: [(&str, &str, &str); 2] =
    [("/gateway/token", "gateway.token", "gateway.auth.token"), ("/tools/bash", "tools.bash", "tools.exec")];

/// Whether the top-level key is one of an older version.
pub(crate) fn is_legacy(key: &str) -> bool {
    MOVED.iter().any(|(legacy, _)| *legacy == key)
}

/// Lists the keys of older versions.
pub fn legacy(root: &Value) -> Vec<Problem> {
    let moved = MOVED.iter().filter(|(key, _)| root.get(key).is_some()).map(|(key, now)| Problem::new(*key, format!("moved to {now}")));
    let inside = MOVED_INSIDE.iter().filter(|(pointer, ..)| root.pointer(pointer).is_some());
    moved.chain(inside.map(|(_, path, now)| Problem::new(*path, format!("moved to {now}")))).collect()
}

/// Returns where the content of such a key belongs as it is; none when it has to be sorted by hand.
pub fn moved_to(path: &str) -> Option<&'static str> {
    let whole = MOVED.iter().find(|(key, now)| *key == path && now.starts_with("channels.")).map(|(_, now)| *now);
    whole.or_else(|| MOVED_INSIDE.iter().find(|(_, key, _)| *key == path).map(|(_, _, now)| *now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tells_where_an_old_key_has_gone() {
        let found = legacy(&json!({"telegram": {}, "gateway": {"token": "x"}}));
        assert_eq!(
            found,
            [Problem::new("telegram", "moved to channels.telegram"), Problem::new("gateway.token", "moved to gateway.auth.token")]
        );
    }
}
