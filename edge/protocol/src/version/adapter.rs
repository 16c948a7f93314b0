//! Renders what services send, always the widest form, for one protocol version.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::Version;
use super::requests::REQUESTS;
use super::table::{ERRORS, EVENTS, Edit, ErrorRow, RESPONSES, Row, WORDINGS};
use crate::object::Builder;
use crate::{Code, ErrorShape, Object};

/// What an event's rendering depends on besides its payload and the version.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances<'a> {
    /// Whether the session asks for the details of its runs.
    pub verbose: bool,
    /// The session's key as the reader has written it, a JSON text.
    pub alias: Option<&'a str>,
}

/// The differences between the widest form of every message and one protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapter {
    version: Version,
}

impl Adapter {
    /// The adapter of connections that speak `version`.
    pub const fn new(version: Version) -> Self {
        Self { version }
    }

    /// The adapter for a protocol number: what is older than 4 gets 3.
    pub const fn for_version(number: u32) -> Self {
        Self::new(if number < 4 { Version::V3 } else { Version::V4 })
    }

    /// The version that it renders for.
    pub const fn version(self) -> Version {
        self.version
    }

    /// The parameters of a request of `method` as they are to be checked; none if they need no change.
    pub fn request(self, method: &str, params: Option<&RawValue>) -> Option<Box<RawValue>> {
        let row = REQUESTS.iter().find(|row| row.method == method)?;
        let mut members = serde_json::from_str(params?.get()).ok()?;
        (row.complete)(self.version, &mut members);
        to_raw_value(&members).ok()
    }

    /// The payload of a response of `method`, a JSON text.
    pub fn response<'a>(self, method: &str, payload: &'a str) -> Cow<'a, str> {
        self.edited(RESPONSES, method, payload, None)
    }

    /// The payload of the event `name`; none if this version's clients do not get it.
    pub fn event<'a>(self, name: &str, payload: &'a str, circumstances: Circumstances<'_>) -> Option<Cow<'a, str>> {
        let suppressed = self.rows(EVENTS, name).any(|row| match row.edit {
            Edit::Suppress(values) => says(payload, row.path, values),
            Edit::Verbose(values) => !circumstances.verbose && says(payload, row.path, values),
            _ => false,
        });
        if suppressed { None } else { Some(self.edited(EVENTS, name, payload, circumstances.alias)) }
    }

    /// Whether only those get the event who started what it is about.
    pub fn for_starters(self, name: &str, payload: &str) -> bool {
        self.rows(EVENTS, name).any(|row| matches!(row.edit, Edit::Starters(values) if says(payload, row.path, values)))
    }

    /// Whether readers of the event `name` may each have their own key of its session.
    pub fn takes_alias(self, name: &str) -> bool {
        self.rows(EVENTS, name).any(|row| matches!(row.edit, Edit::Alias))
    }

    /// An error as this version's clients know it.
    pub fn error(self, mut error: ErrorShape) -> ErrorShape {
        let sent = error.code;
        let detail = error.detail("code");
        let concerns = |row: &ErrorRow| row.detail.is_none_or(|wanted| detail.as_deref() == Some(wanted));
        for row in ERRORS.iter().filter(|row| row.version == self.version && row.code == sent && concerns(row)) {
            if let Some(code) = row.becomes {
                error.code = code;
            }
            if let Some(short) = row.short_message.filter(|short| error.message.starts_with(short)) {
                error.message = Cow::Borrowed(short);
            }
            if let Some(prefix) = row.prefix {
                error.message = Cow::Owned(format!("{prefix}{}", error.message));
            }
        }
        if let Some(row) = WORDINGS.iter().find(|row| row.version == self.version && error.message == row.sent) {
            error.message = Cow::Borrowed(row.becomes);
        }
        error
    }

    /// The error that belongs beside a payload which says that the call ended badly; such an answer goes out as
    /// [`response_failed`](crate::frames::response_failed).
    pub fn failure(self, method: &str, payload: &str) -> Option<ErrorShape> {
        if !matches!(method, "agent" | "chat.send") {
            return None;
        }
        let object = Object::parse(payload)?;
        let code = if object.get("errorKind") == Some("\"timeout\"") { Code::AgentTimeout } else { Code::Unavailable };
        (object.get("status")? == "\"error\"")
            .then(|| ErrorShape::new(code, object.text("summary").unwrap_or_else(|| "run failed".to_owned())))
    }

    fn rows<'t>(self, table: &'t [Row], name: &str) -> impl Iterator<Item = &'t Row> {
        table.iter().filter(move |row| row.version == self.version && row.name == name)
    }

    fn edited<'a>(self, table: &[Row], name: &str, payload: &'a str, alias: Option<&str>) -> Cow<'a, str> {
        let edits: Vec<_> = self.rows(table, name).map(|row| (row.path, row.edit)).collect();
        if edits.is_empty() {
            return Cow::Borrowed(payload);
        }
        rewrite(payload, &edits, alias).map_or(Cow::Borrowed(payload), Cow::Owned)
    }
}

/// The JSON text at a dotted path.
fn lookup<'a>(text: &'a str, path: &str) -> Option<&'a str> {
    path.split('.').try_fold(text, |text, name| Object::parse(text)?.get(name))
}

fn says(payload: &str, path: &str, values: &[&str]) -> bool {
    lookup(payload, path).is_some_and(|value| values.contains(&value))
}

/// Applies edits at dotted paths, to every element of an array on the way; none if nothing changed. Values off the paths are copied as text.
fn rewrite(text: &str, edits: &[(&str, Edit)], alias: Option<&str>) -> Option<String> {
    if text.starts_with('[') {
        return rewrite_each(text, edits, alias);
    }
    let object = Object::parse(text)?;
    let mut out = Builder::with_capacity(text.len());
    let mut changed = false;
    for (name, value) in object.iter() {
        let mut below = Vec::new();
        let mut kept = Some(value);
        for (path, edit) in edits {
            match path.split_once('.') {
                Some((head, rest)) if head == name => below.push((rest, *edit)),
                None if *path == name => {
                    let beside = matches!(edit, Edit::DropBeside(name, text) if object.get(name) == Some(text));
                    kept = kept.filter(|_| !beside).and_then(|value| edit.apply(value, alias));
                    below.extend(edit.members());
                }
                _ => {}
            }
        }
        changed |= kept != Some(value);
        let Some(kept) = kept else { continue };
        let inner = if below.is_empty() { None } else { rewrite(kept, &below, alias) };
        changed |= inner.is_some();
        out.member(name, inner.as_deref().unwrap_or(kept));
    }
    changed.then(|| out.finish())
}

fn rewrite_each(text: &str, edits: &[(&str, Edit)], alias: Option<&str>) -> Option<String> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let rewritten: Vec<_> = elements.iter().map(|element| rewrite(element.get(), edits, alias)).collect();
    if rewritten.iter().all(Option::is_none) {
        return None;
    }
    let parts: Vec<_> = elements.iter().zip(&rewritten).map(|(element, new)| new.as_deref().unwrap_or(element.get())).collect();
    Some(format!("[{}]", parts.join(",")))
}

impl Edit {
    fn apply<'a>(self, value: &'a str, alias: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Drop => None,
            Self::DropUnless(member) => Object::parse(value)?.get(member).map(|_| value),
            Self::Replace { from, to } if value == from => Some(to),
            Self::Alias => Some(alias.unwrap_or(value)),
            Self::DropBeside(..) | Self::Replace { .. } | Self::Suppress(_) | Self::Verbose(_) | Self::Starters(_) | Self::DropAll(_) => {
                Some(value)
            }
        }
    }

    /// What happens to the members of the object at the path.
    fn members<'a>(self) -> impl Iterator<Item = (&'a str, Self)> {
        let dropped: &'static [&'static str] = if let Self::DropAll(members) = self { members } else { &[] };
        dropped.iter().map(|member| (*member, Self::Drop))
    }
}
