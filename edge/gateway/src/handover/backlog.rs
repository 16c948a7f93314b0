//! Which events connections have got, service by service, and those since the start of an edge that expects connections.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use verso_proto::wire::v1::{Audience, From as Position};

use crate::event::Rendered;

/// Events that are kept for connections that are about to come.
const EVENTS_MAX: usize = 16_384;

/// What they may take, in bytes.
const BYTES_MAX: usize = 16 << 20;

/// Where an event comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The gRPC service.
    pub(crate) service: &'static str,
    /// Its place in the service's stream.
    pub(crate) position: Position,
}

/// One event that was given out here.
#[derive(Debug)]
pub(crate) struct Kept {
    /// None: the edge's own.
    origin: Option<Origin>,
    pub(crate) event: Arc<Rendered>,
    pub(crate) audience: Option<Audience>,
}

/// The positions, and what is kept.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    positions: BTreeMap<&'static str, Position>,
    /// No more events of services are given out: a successor does.
    frozen: bool,
    /// None: no connections are expected.
    kept: Option<VecDeque<Kept>>,
    size_bytes: usize,
    overflown: bool,
}

impl Backlog {
    /// Keeps events from now on.
    pub(crate) fn keep(&mut self) {
        self.kept = Some(VecDeque::new());
    }

    /// Whether events are kept.
    pub(crate) fn is_keeping(&self) -> bool {
        self.kept.is_some()
    }

    /// Keeps nothing any more.
    pub(crate) fn forget(&mut self) {
        (self.kept, self.size_bytes) = (None, 0);
    }

    /// Notes how far a service's events have got; false when they are not to be given out any more.
    pub(crate) fn advance(&mut self, origin: &Origin) -> bool {
        if !self.frozen {
            self.positions.insert(origin.service, origin.position.clone());
        }
        !self.frozen
    }

    /// Takes an event down for connections that are to come. The edge's own that come again and again are not worth it.
    pub(crate) fn add(&mut self, origin: Option<&Origin>, event: &Arc<Rendered>, audience: Option<&Audience>) {
        let Some(kept) = &mut self.kept else { return };
        if origin.is_none() && event.drop_if_slow() {
            return;
        }
        self.size_bytes += event.footprint_bytes();
        if kept.len() >= EVENTS_MAX || self.size_bytes > BYTES_MAX {
            self.overflown = true;
            kept.clear();
            return;
        }
        kept.push_back(Kept { origin: origin.cloned(), event: Arc::clone(event), audience: audience.cloned() });
    }

    /// Gives out no more, and says how far it got.
    pub(crate) fn freeze(&mut self) -> BTreeMap<&'static str, Position> {
        self.frozen = true;
        self.positions.clone()
    }

    /// Where a service's events are.
    pub(crate) fn position(&self, service: &str) -> Option<Position> {
        self.positions.get(service).cloned()
    }

    /// Goes on from there with a service that has not been heard of yet.
    pub(crate) fn begin_at(&mut self, service: &'static str, position: &Position) {
        self.positions.entry(service).or_insert_with(|| position.clone());
    }

    /// Whether what is kept goes back far enough.
    pub(crate) fn is_whole(&self) -> bool {
        self.kept.is_some() && !self.overflown
    }

    /// What was given out here after those positions.
    pub(crate) fn after<'a>(&'a self, positions: &'a BTreeMap<&'static str, Position>) -> impl Iterator<Item = &'a Kept> {
        let kept = self.kept.iter().flatten();
        // Where each service's stream went on as another incarnation than the one that was known.
        let mut last_known = BTreeMap::new();
        for (index, origin) in kept.clone().enumerate().filter_map(|(index, kept)| Some((index, kept.origin.as_ref()?))) {
            if positions.get(origin.service).is_some_and(|known| known.epoch == origin.position.epoch) {
                last_known.insert(origin.service, index);
            }
        }
        kept.enumerate().filter_map(move |(index, kept)| {
            let is_new = match &kept.origin {
                None => true,
                Some(origin) => match positions.get(origin.service) {
                    Some(known) if known.epoch == origin.position.epoch => origin.position.seq > known.seq,
                    Some(_) => last_known.get(origin.service).is_none_or(|last| index > *last),
                    None => true,
                },
            };
            is_new.then_some(kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use verso_proto::methods::EVENTS;

    use super::*;

    const SERVICE: &str = "verso.presence.v1.Presence";

    fn at(epoch: &str, seq: u64) -> Position {
        Position { epoch: epoch.to_owned(), seq }
    }

    fn backlog(positions: &[(&str, u64)]) -> Backlog {
        let mut backlog = Backlog::default();
        backlog.keep();
        let kind = EVENTS.iter().find(|kind| kind.name == "presence").unwrap();
        for (epoch, seq) in positions {
            let origin = Origin { service: SERVICE, position: at(epoch, *seq) };
            assert!(backlog.advance(&origin));
            backlog.add(Some(&origin), &Arc::new(Rendered::new(kind, "{}")), None);
        }
        backlog
    }

    fn after(backlog: &Backlog, position: Position) -> Vec<u64> {
        let positions = BTreeMap::from([(SERVICE, position)]);
        backlog.after(&positions).map(|kept| kept.origin.as_ref().unwrap().position.seq).collect()
    }

    #[test]
    fn gives_what_came_after_and_nothing_twice() {
        let backlog = backlog(&[("a", 3), ("a", 4), ("a", 5)]);
        assert_eq!(after(&backlog, at("a", 4)), [5]);
        assert_eq!(after(&backlog, at("a", 2)), [3, 4, 5]);
        assert_eq!(after(&backlog, at("a", 9)), [0; 0]);
    }

    #[test]
    fn a_service_that_restarted_meanwhile_is_followed_into_its_new_incarnation() {
        let backlog = backlog(&[("a", 8), ("b", 1), ("b", 2)]);
        assert_eq!(after(&backlog, at("a", 8)), [1, 2], "the known incarnation ended");
        assert_eq!(after(&backlog, at("b", 1)), [2], "the known incarnation is the newer one");
        assert_eq!(after(&backlog, at("z", 5)), [8, 1, 2], "none of it was known");
    }

    #[test]
    fn after_the_freeze_nothing_is_given_out() {
        let mut backlog = backlog(&[("a", 1)]);
        assert_eq!(backlog.freeze(), BTreeMap::from([(SERVICE, at("a", 1))]));
        assert!(!backlog.advance(&Origin { service: SERVICE, position: at("a", 2) }));
        assert_eq!(backlog.position(SERVICE), Some(at("a", 1)));
    }

    #[test]
    fn too_much_to_keep_is_said() {
        let mut backlog = backlog(&[("a", 1)]);
        assert!(backlog.is_whole());
        let kind = EVENTS.iter().find(|kind| kind.name == "presence").unwrap();
        let large = Arc::new(Rendered::new(kind, &"x".repeat(BYTES_MAX)));
        backlog.add(Some(&Origin { service: SERVICE, position: at("a", 2) }), &large, None);
        assert!(!backlog.is_whole());
    }
}
