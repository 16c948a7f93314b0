//! One event, rendered at most once for each protocol version, whoever receives it.

use std::sync::OnceLock;

use verso_proto::methods::EventKind;
use verso_proto::wire::v1::StateVersion;
use verso_protocol::frames::EventPrefix;
use verso_protocol::{Adapter, Version};

/// An event on its way to many connections.
#[derive(Debug)]
pub(crate) struct Rendered {
    kind: &'static EventKind,
    payload: String,
    state_version: Option<(u64, u64)>,
    droppable: bool,
    /// None inside: the event does not exist in that version.
    v3: OnceLock<Option<EventPrefix>>,
    v4: OnceLock<Option<EventPrefix>>,
}

impl Rendered {
    pub(crate) fn new(kind: &'static EventKind, payload: String) -> Self {
        Self { kind, payload, state_version: None, droppable: kind.drop_if_slow, v3: OnceLock::new(), v4: OnceLock::new() }
    }

    pub(crate) fn with_state_version(mut self, version: &StateVersion) -> Self {
        self.state_version = Some((version.presence, version.health));
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

    /// Whether clients of that version know the event.
    pub(crate) fn exists_in(&self, version: Version) -> bool {
        self.prefix(version).is_some()
    }

    pub(crate) fn size_bytes(&self, version: Version) -> usize {
        self.prefix(version).map_or(0, EventPrefix::len)
    }

    pub(crate) fn state_version(&self) -> Option<(u64, u64)> {
        self.state_version
    }

    /// Returns the part of the frame that all clients of a version share.
    pub(crate) fn prefix(&self, version: Version) -> Option<&EventPrefix> {
        let cell = match version {
            Version::V3 => &self.v3,
            Version::V4 => &self.v4,
        };
        let render = || {
            let payload = Adapter::new(version).event(self.kind.name, &self.payload)?;
            Some(EventPrefix::new(self.kind.name, &payload))
        };
        cell.get_or_init(render).as_ref()
    }
}
