//! What a node sends as a value, or as text of one.

use serde_json::{Value, json};
use verso_proto::Json;

/// What a node answered, as a value and as the text of one. Text that is not JSON is passed on as it came.
pub(super) fn both(payload: Option<Json>, payload_json: Option<Json>) -> (Option<Json>, Option<String>) {
    let Some(sent) = payload_json.filter(|sent| sent.text != "null") else { return (payload, None) };
    let Ok(text) = serde_json::from_str::<String>(&sent.text) else { return (Some(sent), None) };
    if text.trim().is_empty() {
        return (payload, Some(text));
    }
    let value = match serde_json::from_str::<Value>(&text) {
        Ok(_) => Json { text: text.clone() },
        Err(_) => Json { text: json!({"payloadJSON": text}).to_string() },
    };
    (Some(value), Some(text))
}

/// What a node told, as a value; null when it told nothing.
pub(crate) fn told(payload: Option<Json>, payload_json: Option<Json>) -> Value {
    let (value, _) = both(payload, payload_json);
    value.and_then(|value| serde_json::from_str(&value.text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer_however_it_is_wrapped() {
        let json = |text: &str| Some(Json { text: text.to_owned() });
        assert_eq!(both(json("1"), None), (json("1"), None));
        assert_eq!(both(json("1"), json("null")), (json("1"), None));
        assert_eq!(both(None, json(r#""{\"a\":1}""#)), (json(r#"{"a":1}"#), Some(r#"{"a":1}"#.to_owned())));
        assert_eq!(both(None, json(r#"{"a":1}"#)), (json(r#"{"a":1}"#), None));
        assert_eq!(both(None, json(r#""oops""#)), (json(r#"{"payloadJSON":"oops"}"#), Some("oops".to_owned())));
        assert_eq!(both(None, None), (None, None));
        assert_eq!(told(None, json(r#""{\"a\":1}""#)), json!({"a": 1}));
        assert_eq!(told(None, None), Value::Null);
    }
}
