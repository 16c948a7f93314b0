//! Commands by the names that their callers gave them: the same name again is the same command, not another one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_mins(5);

/// How many answers are kept.
const KEPT_MAX: usize = 256;

/// How a command ended: its payload, or a code and words.
pub(crate) type Outcome = Result<Value, (&'static str, String)>;

/// The commands under way and the answers of earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// By name: the ids under which the gateway waits.
    under_way: BTreeMap<String, Vec<String>>,
    ended: BTreeMap<String, Outcome>,
    /// In the order in which they ended.
    order: VecDeque<(Instant, String)>,
}

/// What a command's name says.
#[derive(Debug, PartialEq)]
pub(crate) enum Begun {
    /// It is to be carried out.
    New,
    /// It is being carried out; its answer will be for this id too.
    UnderWay,
    /// It was carried out.
    Ended(Outcome),
}

impl Repeats {
    /// Looks a command up by its name and begins it if it is new.
    pub(crate) fn begin(&mut self, name: &str, id: &str) -> Begun {
        self.prune();
        if let Some(outcome) = self.ended.get(name) {
            return Begun::Ended(outcome.clone());
        }
        if let Some(ids) = self.under_way.get_mut(name) {
            ids.push(id.to_owned());
            return Begun::UnderWay;
        }
        self.under_way.insert(name.to_owned(), vec![id.to_owned()]);
        Begun::New
    }

    /// A command has ended; returns the ids that wait for its answer. One that was cancelled may be asked for again.
    pub(crate) fn end(&mut self, name: &str, outcome: &Outcome, keep: bool) -> Vec<String> {
        if keep {
            self.ended.insert(name.to_owned(), outcome.clone());
            self.order.push_back((Instant::now(), name.to_owned()));
            self.prune();
        }
        self.under_way.remove(name).unwrap_or_default()
    }

    /// The gateway no longer waits under an id; returns the command's name when nobody waits for it any more.
    pub(crate) fn leave(&mut self, id: &str) -> Option<String> {
        let (name, ids) = self.under_way.iter_mut().find(|(_, ids)| ids.iter().any(|known| known == id))?;
        ids.retain(|known| known != id);
        ids.is_empty().then(|| name.clone())
    }

    /// How many commands are under way.
    pub(crate) fn count(&self) -> usize {
        self.under_way.len()
    }

    fn prune(&mut self) {
        let now = Instant::now();
        while self.order.len() > KEPT_MAX || self.order.front().is_some_and(|(ended, _)| now.duration_since(*ended) >= KEPT) {
            let Some((_, name)) = self.order.pop_front() else { return };
            self.ended.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_name_is_the_same_command() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.begin("k", "1"), Begun::New);
        assert_eq!(repeats.begin("k", "2"), Begun::UnderWay);
        assert_eq!(repeats.leave("1"), None, "somebody else still waits");
        let outcome = Ok(Value::from(5));
        assert_eq!(repeats.end("k", &outcome, true), ["2"]);
        assert_eq!(repeats.begin("k", "3"), Begun::Ended(outcome));
        assert_eq!(repeats.begin("other", "4"), Begun::New);
        assert_eq!(repeats.leave("4").as_deref(), Some("other"));
        repeats.end("other", &Err(("UNAVAILABLE", "cancelled".to_owned())), false);
        assert_eq!(repeats.begin("other", "5"), Begun::New);
    }
}
