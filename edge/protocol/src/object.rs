//! JSON objects taken apart one level deep.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object, each value still as text. Nothing below the first level is read.
#[derive(Debug)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Takes `text` apart; none if it is not a JSON object.
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The JSON text of the member `name`. Of two members with one name the last counts.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|(member, _)| member == name).map(|(_, value)| value.get())
    }

    /// The string in the member `name`.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// Names and JSON texts, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), value.get()))
    }

    /// The object with `value`, a JSON text, in place of the member `name`; unchanged if it has no such member.
    pub fn replacing(&self, name: &str, value: &str) -> String {
        let mut out = Builder::with_capacity(self.members.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum());
        for (member, old) in self.iter() {
            out.member(member, if member == name { value } else { old });
        }
        out.finish()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members).map(|members| Self { members })
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Text(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(members)
    }
}

/// A string that borrows from its JSON text when it has no escapes.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}

/// Writes a JSON object member by member.
pub(crate) struct Builder {
    out: String,
}

impl Builder {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut out = String::with_capacity(bytes + 2);
        out.push('{');
        Self { out }
    }

    pub(crate) fn member(&mut self, name: &str, value: &str) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        push_text(&mut self.out, name);
        self.out.push(':');
        self.out.push_str(value);
    }

    pub(crate) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn push_text(out: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.push_str(&serde_json::Value::from(text).to_string());
        return;
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Appends `number` in decimal.
pub(crate) fn push_number(out: &mut String, number: u64) {
    // Twenty digits hold every `u64`.
    let mut digits = [0_u8; 20];
    let (mut rest, mut at) = (number, digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_level_and_keeps_the_text_below() {
        let object = Object::parse(r#"{"a": {"b" : 1.0e2}, "c\u0041": "x", "a2":null}"#).unwrap();
        assert_eq!(object.get("a"), Some(r#"{"b" : 1.0e2}"#));
        assert_eq!(object.text("cA").as_deref(), Some("x"));
        assert_eq!(object.get("b"), None);
        assert_eq!(object.replacing("cA", "7"), r#"{"a":{"b" : 1.0e2},"cA":7,"a2":null}"#);
    }

    #[test]
    fn the_last_of_two_members_counts() {
        assert_eq!(Object::parse(r#"{"a":1,"a":2}"#).unwrap().get("a"), Some("2"));
    }

    #[test]
    fn refuses_what_is_not_an_object() {
        for text in ["[]", "null", "1", "\"a\"", "{", "{}x", ""] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn writes_strings_and_numbers_as_json() {
        let mut out = String::new();
        for text in ["plain é", "a\"b", "back\\slash", "line\nbreak\u{1}"] {
            out.clear();
            push_text(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            out.clear();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}
