//! One event, rendered at most once for each protocol version and each name of its session, whoever receives it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use verso_proto::methods::EventKind;
use verso_proto::wire::v1::{EventMeta, Party, StateVersion};
use verso_protocol::frames::EventPrefix;
use verso_protocol::{Adapter, Circumstances, Version};

/// An event on its way to many connections.
#[derive(Debug)]
pub(crate) struct Rendered {
    kind: &'static EventKind,
    /// The payload as its service says it, rendered for all versions that read it so: events are kept for a while, once is enough.
    plain: Arc<EventPrefix>,
    state_version: Option<(u64, u64)>,
    droppable: bool,
    about: About,
    v3: OnceLock<Form>,
    v4: OnceLock<Form>,
    /// The renderings for readers who call the event's session by another name.
    aliased: Mutex<Vec<(String, Arc<EventPrefix>)>>,
}

/// What an event is about, and for whom it is, as its service says.
#[derive(Debug, Default)]
pub(crate) struct About {
    session_key: String,
    parties: Vec<Party>,
    verbose: bool,
    topics: Vec<String>,
    without_parties: bool,
}

/// How an event looks in one version.
#[derive(Debug)]
struct Form {
    /// None: the event does not exist in that version.
    prefix: Option<Arc<EventPrefix>>,
    /// Only those get it who started what it is about.
    for_starters: bool,
}

impl From<&EventMeta> for About {
    fn from(meta: &EventMeta) -> Self {
        let audience = meta.audience.as_ref();
        Self {
            session_key: meta.session_key.clone(),
            parties: meta.parties.clone(),
            verbose: meta.verbose,
            topics: audience.map(|audience| audience.topics.clone()).unwrap_or_default(),
            without_parties: audience.is_some_and(|audience| audience.without_parties),
        }
    }
}

impl Rendered {
    pub(crate) fn new(kind: &'static EventKind, payload: &str) -> Self {
        Self {
            kind,
            plain: Arc::new(EventPrefix::new(kind.name, payload)),
            state_version: None,
            droppable: kind.drop_if_slow,
            about: About::default(),
            v3: OnceLock::new(),
            v4: OnceLock::new(),
            aliased: Mutex::default(),
        }
    }

    pub(crate) fn with_state_version(mut self, version: &StateVersion) -> Self {
        self.state_version = Some((version.presence, version.health));
        self
    }

    pub(crate) fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    pub(crate) fn droppable(mut self, droppable: bool) -> Self {
        self.droppable |= droppable;
        self
    }

    pub(crate) fn kind(&self) -> &'static EventKind {
        self.kind
    }

    pub(crate) fn drop_if_slow(&self) -> bool {
        self.droppable
    }

    /// What it keeps in memory at most, in bytes: the payload, and a rendering for each version that reads it otherwise.
    pub(crate) fn footprint_bytes(&self) -> usize {
        self.payload().len() * 3
    }

    pub(crate) fn state_version(&self) -> Option<(u64, u64)> {
        self.state_version
    }

    /// The payload as its service says it.
    pub(crate) fn payload(&self) -> &str {
        self.plain.payload()
    }

    /// The session that it is about.
    pub(crate) fn session_key(&self) -> &str {
        &self.about.session_key
    }

    /// What a connection must follow to hear of it; nothing when everybody with the scope hears of it.
    pub(crate) fn topics(&self) -> &[String] {
        &self.about.topics
    }

    /// Whether those who started what it is about do not hear of it.
    pub(crate) fn without_parties(&self) -> bool {
        self.about.without_parties
    }

    /// The connection among those who started what it is about.
    pub(crate) fn party(&self, conn_id: &str) -> Option<&Party> {
        self.about.parties.iter().find(|party| party.conn_id == conn_id)
    }

    /// Whether clients of that version know the event.
    pub(crate) fn exists_in(&self, version: Version) -> bool {
        self.form(version).prefix.is_some()
    }

    /// Whether only those clients of that version get it who started what it is about.
    pub(crate) fn for_starters(&self, version: Version) -> bool {
        self.form(version).for_starters
    }

    /// Returns the part of the frame that all clients of a version share who call the session by the same name.
    pub(crate) fn prefix(&self, version: Version, alias: Option<&str>) -> Option<Arc<EventPrefix>> {
        let prefix = self.form(version).prefix.as_ref()?;
        let alias = alias.filter(|alias| !alias.is_empty() && *alias != self.about.session_key);
        let Some(alias) = alias.filter(|_| Adapter::new(version).takes_alias(self.kind.name)) else { return Some(Arc::clone(prefix)) };
        let mut aliased = self.aliased.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = aliased.iter().find(|(name, _)| name == alias) {
            return Some(Arc::clone(known));
        }
        let rendered = self.render(version, Some(&serde_json::Value::from(alias).to_string()))?;
        aliased.push((alias.to_owned(), Arc::clone(&rendered)));
        Some(rendered)
    }

    fn form(&self, version: Version) -> &Form {
        let cell = match version {
            Version::V3 => &self.v3,
            Version::V4 => &self.v4,
        };
        cell.get_or_init(|| Form {
            prefix: self.render(version, None),
            for_starters: Adapter::new(version).for_starters(self.kind.name, self.payload()),
        })
    }

    fn render(&self, version: Version, alias: Option<&str>) -> Option<Arc<EventPrefix>> {
        let circumstances = Circumstances { verbose: self.about.verbose, alias };
        Some(match Adapter::new(version).event(self.kind.name, self.payload(), circumstances)? {
            Cow::Borrowed(_) => Arc::clone(&self.plain),
            Cow::Owned(payload) => Arc::new(EventPrefix::new(self.kind.name, &payload)),
        })
    }
}

#[cfg(test)]
mod tests {
    use verso_proto::methods::EVENTS;

    use super::*;

    #[test]
    fn versions_that_read_the_same_share_a_rendering() {
        let kind = EVENTS.iter().find(|kind| kind.name == "presence").unwrap();
        let event = Rendered::new(kind, "{\"presence\":[]}");
        let (v3, v4) = (event.prefix(Version::V3, None).unwrap(), event.prefix(Version::V4, None).unwrap());
        assert!(Arc::ptr_eq(&v3, &v4));
    }
}
