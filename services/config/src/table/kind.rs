//! The types of single values.

use serde_json::{Value, json};

/// What a single value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Flag,
    Text,
    Path,
    Url,
    Color,
    /// Such as `30m` or `1h30m`.
    Duration,
    Integer {
        least: i64,
        most: i64,
    },
    Number {
        least: f64,
        most: f64,
    },
    Word(Vec<&'static str>),
    Texts,
    /// A list of strings and numbers.
    Ids,
    /// An object of any content.
    Object,
    Any,
}

impl Kind {
    /// Reads `int 1..5 or word(a b)`.
    pub(super) fn read_all(text: &'static str) -> Result<Vec<Self>, String> {
        text.split(" or ").map(|part| Self::read(part.trim())).collect()
    }

    fn read(text: &'static str) -> Result<Self, String> {
        let unknown = || format!("unknown type {text:?}");
        if let Some(words) = text.strip_prefix("word(").and_then(|rest| rest.strip_suffix(')')) {
            return Ok(Self::Word(words.split(' ').collect()));
        }
        let bounds = |text: &'static str| -> Option<(f64, f64)> {
            if let Some(least) = text.strip_prefix(">=") {
                return Some((least.parse().ok()?, f64::MAX));
            }
            if let Some(least) = text.strip_prefix('>') {
                return Some((least.parse::<f64>().ok()? + f64::EPSILON, f64::MAX));
            }
            let (least, most) = text.trim().split_once("..")?;
            Some((least.parse().ok()?, most.parse().ok()?))
        };
        if let Some(rest) = text.strip_prefix("int") {
            let (least, most) = bounds(rest).ok_or_else(unknown)?;
            #[allow(clippy::cast_possible_truncation, reason = "bounds of the table are small; the largest means none")]
            return Ok(Self::Integer { least: least as i64, most: most as i64 });
        }
        if let Some(rest) = text.strip_prefix("num") {
            let (least, most) = bounds(rest).ok_or_else(unknown)?;
            return Ok(Self::Number { least, most });
        }
        Ok(match text {
            "bool" => Self::Flag,
            "text" => Self::Text,
            "path" => Self::Path,
            "url" => Self::Url,
            "color" => Self::Color,
            "duration" => Self::Duration,
            "texts" => Self::Texts,
            "ids" => Self::Ids,
            "object" => Self::Object,
            "any" => Self::Any,
            _ => return Err(unknown()),
        })
    }

    /// Whether the value is of this type. A string that refers to a variable may become anything that a string can be.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        let is_text = value.is_string();
        let refers = || value.as_str().is_some_and(|text| text.contains("${"));
        match self {
            Self::Any => true,
            Self::Flag => value.is_boolean(),
            Self::Text | Self::Path => is_text,
            Self::Url => value.as_str().is_some_and(|text| refers() || is_url(text)),
            Self::Color => value.as_str().is_some_and(|text| refers() || is_color(text)),
            Self::Duration => value.as_str().is_some_and(|text| refers() || is_duration(text)),
            Self::Integer { least, most } => value.as_i64().is_some_and(|number| (*least..=*most).contains(&number)),
            Self::Number { least, most } => value.as_f64().is_some_and(|number| (*least..=*most).contains(&number)),
            Self::Word(words) => value.as_str().is_some_and(|text| refers() || words.contains(&text)),
            Self::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::Ids => value.as_array().is_some_and(|items| items.iter().all(|item| item.is_string() || item.is_number())),
            Self::Object => value.is_object(),
        }
    }

    /// Says what it takes, to follow "must be".
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Url => "an address such as https://host or wss://host".to_owned(),
            Self::Color => "a colour such as \"#FF4500\"".to_owned(),
            Self::Duration => "a time such as \"30m\"".to_owned(),
            Self::Integer { least: i64::MIN, most: i64::MAX } => "a whole number".to_owned(),
            Self::Integer { least, most: i64::MAX } => format!("a whole number of at least {least}"),
            Self::Integer { least, most } => format!("a whole number from {least} to {most}"),
            Self::Number { least, most } if *most >= f64::MAX => {
                if *least > 0.0 {
                    "a number above 0".to_owned()
                } else {
                    format!("a number of at least {least}")
                }
            }
            Self::Number { least, most } => format!("a number from {least} to {most}"),
            Self::Word(words) => format!("one of {}", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")),
            Self::Texts => "a list of strings".to_owned(),
            Self::Ids => "a list of strings or numbers".to_owned(),
            Self::Object => "an object".to_owned(),
        }
    }

    /// Returns the JSON Schema.
    pub(crate) fn schema(&self) -> Value {
        match self {
            Self::Any => json!({}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Text | Self::Path | Self::Url | Self::Duration => json!({"type": "string"}),
            Self::Color => json!({"type": "string", "pattern": "^#?[0-9a-fA-F]{6}$|\\$\\{"}),
            Self::Integer { least, most } => {
                let mut schema = json!({"type": "integer", "minimum": least});
                if *most < i64::MAX {
                    schema["maximum"] = json!(most);
                }
                schema
            }
            Self::Number { least, most } => {
                let open = *most >= f64::MAX;
                let mut schema = if open && *least > 0.0 {
                    json!({"type": "number", "exclusiveMinimum": 0})
                } else {
                    json!({"type": "number", "minimum": least})
                };
                if !open {
                    schema["maximum"] = json!(most);
                }
                schema
            }
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::Ids => json!({"type": "array", "items": {"type": ["string", "number"]}}),
            Self::Object => json!({"type": "object"}),
        }
    }
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    ["http", "https", "ws", "wss"].contains(&scheme.to_ascii_lowercase().as_str()) && !rest.is_empty()
}

fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    digits.len() == 6 && digits.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Numbers, each with a unit or none: `90`, `30m`, `1h30m`, `500ms`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim();
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        if digits.len() == rest.len() {
            return false;
        }
        let after = digits.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        if !["", "ms", "s", "m", "h", "d"].contains(&&digits[..digits.len() - after.len()]) {
            return false;
        }
        rest = after;
    }
    true
}
