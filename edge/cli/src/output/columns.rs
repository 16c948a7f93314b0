//! Rows of JSON as a table.

use jiff::Timestamp;
use serde_json::Value;

use super::{Style, Table, Tone};

/// How a value reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum As {
    /// As it is; several joined by commas.
    Text,
    /// Milliseconds since 1970, as the time that has passed.
    Ago,
    /// Milliseconds since 1970, as a time.
    Time,
    /// Yes or no, good or not.
    Yes,
}

/// A column: its heading, where its value stands (the first that is there counts), and how it reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column(pub(crate) &'static str, pub(crate) &'static [&'static str], pub(crate) As);

/// What rows need to be read: colours and the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    pub(crate) style: Style,
    pub(crate) now_ms: i64,
}

impl Reader {
    /// Draws rows as a table.
    pub(crate) fn table<'a>(self, rows: impl IntoIterator<Item = &'a Value>, columns: &[Column]) -> Table {
        let mut table = Table::new(&columns.iter().map(|column| column.0).collect::<Vec<_>>());
        for row in rows {
            table.row(columns.iter().map(|Column(_, places, how)| {
                let value = places.iter().filter_map(|place| row.pointer(place)).find(|value| !value.is_null());
                value.map_or_else(|| "-".to_owned(), |value| self.word(value, *how))
            }));
        }
        table
    }

    /// Words one value.
    pub(crate) fn word(self, value: &Value, how: As) -> String {
        match (how, value) {
            (As::Ago, value) => value.as_i64().map_or_else(|| plain(value), |then| format!("{} ago", span(self.now_ms - then))),
            (As::Time, value) => value
                .as_i64()
                .and_then(|ms| Timestamp::from_millisecond(ms).ok())
                .map_or_else(|| plain(value), |instant| instant.strftime("%Y-%m-%d %H:%M:%SZ").to_string()),
            (As::Yes, Value::Bool(true)) => self.style.paint(Tone::Good, "yes"),
            (As::Yes, Value::Bool(false)) => self.style.paint(Tone::Muted, "no"),
            (As::Text | As::Yes, value) => plain(value),
        }
    }
}

/// A value without the marks of JSON, and without anything that would move the cursor: it may come from a stranger.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Words a length of time: its two largest units.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", seconds % 60),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_reads_the_first_place_that_is_there() {
        let reader = Reader { style: Style::plain(), now_ms: 100_000 };
        let rows = [json!({"displayName": null, "id": "a\u{1b}[2J", "at": 40_000, "on": true}), json!({"list": [1, "b"]})];
        let columns = [
            Column("Name", &["/displayName", "/id"], As::Text),
            Column("Seen", &["/at"], As::Ago),
            Column("On", &["/on"], As::Yes),
            Column("List", &["/list"], As::Text),
        ];
        let text = reader.table(&rows, &columns).to_string();
        assert!(text.contains("a [2J") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("1m 0s ago") && text.contains("yes") && text.contains("1, b"), "{text}");
    }
}
