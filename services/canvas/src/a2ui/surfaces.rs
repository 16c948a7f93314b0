//! The surfaces of a session: what its messages have made of them, kept as the messages that make the same again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::message::{Deed, Message};

/// How many surfaces a session may have.
const SURFACES_MAX: usize = 32;

/// How many components a surface may have.
const COMPONENTS_MAX: usize = 4_096;

/// How much the surfaces of a session may say together, in bytes of JSON.
pub(super) const BYTES_MAX: usize = 2 << 20;

/// The surfaces of one session, by their ids.
pub(crate) type Session = BTreeMap<String, Surface>;

/// One surface.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Surface {
    begun: Option<Value>,
    components: BTreeMap<String, Value>,
    /// What was put where in the data model, in order.
    data: Vec<(String, Value)>,
}

/// Too much for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session has at most {max} {what}")]
pub(crate) struct TooMuch {
    pub(crate) what: &'static str,
    pub(crate) max: usize,
}

/// What can be done with the surfaces of a session.
pub(crate) trait Surfaces {
    /// Applies messages in their order.
    fn apply(&mut self, messages: &[Message]) -> Result<(), TooMuch>;

    /// The messages that make the same surfaces.
    fn messages(&self) -> Vec<Value>;

    /// Whether a surface has a component, and so whether a user can have touched it.
    fn has(&self, surface: &str, component: &str) -> bool;
}

impl Surfaces for Session {
    fn apply(&mut self, messages: &[Message]) -> Result<(), TooMuch> {
        for message in messages {
            if message.deed == Deed::Delete {
                self.remove(&message.surface);
                continue;
            }
            let surface = self.entry(message.surface.clone()).or_default();
            match &message.deed {
                Deed::Begin => surface.begun = Some(message.json.clone()),
                Deed::Components(components) => surface.components.extend(components.iter().cloned()),
                Deed::Data(path) => {
                    // What lies at the place, or below it, is replaced.
                    let below = format!("{path}/");
                    surface.data.retain(|(other, _)| !(path.is_empty() || other == path || other.starts_with(&below)));
                    surface.data.push((path.clone(), message.json.clone()));
                }
                Deed::Delete => {}
            }
            if surface.components.len() > COMPONENTS_MAX {
                return Err(TooMuch { what: "components in a surface", max: COMPONENTS_MAX });
            }
        }
        if self.len() > SURFACES_MAX {
            return Err(TooMuch { what: "surfaces", max: SURFACES_MAX });
        }
        let bytes: usize = self.messages().iter().map(|message| message.to_string().len()).sum();
        if bytes > BYTES_MAX { Err(TooMuch { what: "bytes of surfaces", max: BYTES_MAX }) } else { Ok(()) }
    }

    fn messages(&self) -> Vec<Value> {
        let mut messages = Vec::new();
        for (id, surface) in self {
            if !surface.components.is_empty() {
                let components: Vec<_> = surface.components.values().collect();
                messages.push(json!({"surfaceUpdate": {"surfaceId": id, "components": components}}));
            }
            messages.extend(surface.data.iter().map(|(_, message)| message.clone()));
            messages.extend(surface.begun.clone());
        }
        messages
    }

    fn has(&self, surface: &str, component: &str) -> bool {
        self.get(surface).is_some_and(|surface| surface.components.contains_key(component))
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::read_jsonl;
    use super::*;

    fn session(jsonl: &str) -> Session {
        let mut session = Session::new();
        session.apply(&read_jsonl(jsonl).unwrap()).unwrap();
        session
    }

    const FORM: &str = r##"{"surfaceUpdate":{"surfaceId":"main","components":[{"id":"t","component":{"Text":{"text":{"path":"/name"}}}}]}}
{"dataModelUpdate":{"surfaceId":"main","contents":[{"key":"name","valueString":"Kit"}]}}
{"beginRendering":{"surfaceId":"main","root":"t","styles":{"primaryColor":"#1a73e8"}}}"##;

    #[test]
    fn the_messages_that_are_kept_make_the_same_surfaces() {
        let first = session(FORM);
        let again = session(&first.messages().iter().map(Value::to_string).collect::<Vec<_>>().join("\n"));
        assert_eq!(again, first);
        assert!(first.has("main", "t") && !first.has("main", "x") && !first.has("other", "t"));
    }

    #[test]
    fn a_place_in_the_data_is_replaced_with_all_below_it() {
        let update = |path: &str| format!(r#"{{"dataModelUpdate":{{"surfaceId":"s","path":"{path}","contents":[]}}}}"#);
        let paths = |updates: &[&str]| {
            let session = session(&updates.iter().map(|path| update(path)).collect::<Vec<_>>().join("\n"));
            session["s"].data.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(paths(&["/a/b", "/ab", "/a"]), ["/ab", "/a"]);
        assert_eq!(paths(&["/a", "/a/b"]), ["/a", "/a/b"]);
        assert_eq!(paths(&["/a", "/b", "/"]), [""]);
    }

    #[test]
    fn a_deleted_surface_is_gone_and_limits_hold() {
        assert!(session(&format!("{FORM}\n{}", r#"{"deleteSurface":{"surfaceId":"main"}}"#)).is_empty());
        let begin = |id: usize| format!(r#"{{"beginRendering":{{"surfaceId":"s{id}","root":"r"}}}}"#);
        let many = (0..=SURFACES_MAX).map(begin).collect::<Vec<_>>().join("\n");
        let refused = Session::new().apply(&read_jsonl(&many).unwrap()).unwrap_err();
        assert_eq!(refused.to_string(), "a session has at most 32 surfaces");
    }
}
