//! Reading request frames: one strict pass for good ones, a second look at bad ones to say what is wrong.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::object::{Object, Text};
use crate::validation::Parts;
use crate::version::Version;

/// Characters of `traceparent` and of `expectedProfileId`.
const MEMBER_CHARS_MAX: usize = 128;

/// A request as it stands in its frame; the parameters are still text.
#[derive(Debug)]
pub struct RequestFrame<'a> {
    /// Chosen by the client; every answer repeats it.
    pub id: Cow<'a, str>,
    /// The wire name of the method.
    pub method: Cow<'a, str>,
    /// The parameters; absent and `null` are the same.
    pub params: Option<&'a RawValue>,
    /// W3C trace context of the caller.
    pub traceparent: Option<Cow<'a, str>>,
    /// The profile that the caller believes it talks to.
    pub expected_profile_id: Option<Cow<'a, str>>,
}

/// Why a text is not a request frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// Not JSON at all: closes a new connection, is ignored on an established one.
    NotJson,
    /// JSON, but not a request frame.
    NotARequest {
        /// The id to answer with.
        id: String,
        /// The message of the answer.
        message: String,
    },
}

impl<'a> RequestFrame<'a> {
    /// Reads one frame. `version` chooses the wording of a refusal.
    pub fn parse(text: &'a str, version: Version) -> Result<Self, Rejected> {
        serde_json::from_str(text).map_err(|_| explain(text, version))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RequestFrame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Strict)
    }
}

struct Strict;

impl<'de> Visitor<'de> for Strict {
    type Value = RequestFrame<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a request frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut kind, mut id, mut method) = (None, None, None);
        let (mut params, mut traceparent, mut expected_profile_id) = (None, None, None);
        while let Some(Text(name)) = map.next_key()? {
            // Of two members with one name the last counts, as in the clients' own parsers.
            match name.as_ref() {
                "type" => kind = Some(map.next_value::<Text<'de>>()?.0),
                "id" => id = Some(map.next_value::<Text<'de>>()?.0),
                "method" => method = Some(map.next_value::<Text<'de>>()?.0),
                "params" => params = map.next_value::<Option<&'de RawValue>>()?,
                "traceparent" => traceparent = Some(map.next_value::<Text<'de>>()?.0),
                "expectedProfileId" => expected_profile_id = Some(map.next_value::<Text<'de>>()?.0),
                _ => return Err(A::Error::custom("unexpected member")),
            }
        }
        let filled = |text: &Cow<'_, str>| !text.is_empty();
        let short = |text: &Cow<'_, str>| text.chars().nth(MEMBER_CHARS_MAX).is_none();
        let (Some("req"), Some(id), Some(method)) = (kind.as_deref(), id.filter(filled), method.filter(filled)) else {
            return Err(A::Error::custom("not a request"));
        };
        let traceparent_fits = traceparent.as_ref().is_none_or(short);
        let profile_fits = expected_profile_id.as_ref().is_none_or(|text| filled(text) && short(text));
        if !(traceparent_fits && profile_fits) {
            return Err(A::Error::custom("a member is too long or empty"));
        }
        Ok(RequestFrame { id, method, params, traceparent, expected_profile_id })
    }
}

/// Says what is wrong with a text that the strict pass refused.
fn explain(text: &str, version: Version) -> Rejected {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Rejected::NotJson;
    }
    let mut parts = Parts::new(version);
    let mut id = None;
    if let Some(object) = Object::parse(text) {
        describe(&object, &mut parts);
        id = object.text("id").filter(|id| !id.is_empty());
    } else {
        parts.push("", "must be object");
    }
    Rejected::NotARequest { id: id.unwrap_or_else(|| "invalid".to_owned()), message: parts.message("invalid request frame") }
}

fn describe(object: &Object<'_>, parts: &mut Parts) {
    const KNOWN: [&str; 6] = ["type", "id", "method", "params", "traceparent", "expectedProfileId"];
    for name in &KNOWN[..3] {
        if object.get(name).is_none() {
            parts.missing("", name);
        }
    }
    for (name, _) in object.iter() {
        if !KNOWN.contains(&name) {
            parts.unexpected("", name);
        }
    }
    if object.get("type").is_some_and(|kind| kind != "\"req\"") {
        parts.push("/type", "must be equal to constant");
    }
    for (name, chars_min, chars_max) in
        [("id", 1, None), ("method", 1, None), ("traceparent", 0, Some(MEMBER_CHARS_MAX)), ("expectedProfileId", 1, Some(MEMBER_CHARS_MAX))]
    {
        if object.get(name).is_none() {
            continue;
        }
        let path = format!("/{name}");
        match object.text(name) {
            None => parts.push(&path, "must be string"),
            Some(text) if text.chars().count() < chars_min => parts.too_few(&path, chars_min as u64, "characters"),
            Some(text) if chars_max.is_some_and(|max| text.chars().count() > max) => {
                parts.too_many(&path, MEMBER_CHARS_MAX as u64, "characters");
            }
            Some(_) => {}
        }
    }
}
