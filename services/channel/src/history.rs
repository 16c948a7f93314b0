//! What was said in groups and was not for the agent: told with the next message that is. It is kept in memory only.

use std::collections::{HashMap, VecDeque};

/// Groups that are remembered; the one that was silent for longest is forgotten first.
const GROUPS_MAX: usize = 1_000;

/// Characters of one line that are kept.
const LINE_CHARS_MAX: usize = 2_000;

/// The lines of all groups of an account.
#[derive(Debug, Default)]
pub(crate) struct History {
    groups: HashMap<String, Group>,
    /// Counts what was heard.
    tick: u64,
}

#[derive(Debug, Default)]
struct Group {
    lines: VecDeque<String>,
    heard: u64,
}

impl History {
    /// Keeps a line of a group, which keeps its `limit` newest ones.
    pub(crate) fn hear(&mut self, group: &str, line: &str, limit: usize) {
        if limit == 0 {
            return;
        }
        if self.groups.len() >= GROUPS_MAX
            && !self.groups.contains_key(group)
            && let Some(oldest) = self.groups.iter().min_by_key(|(_, group)| group.heard).map(|(name, _)| name.clone())
        {
            self.groups.remove(&oldest);
        }
        self.tick += 1;
        let kept = self.groups.entry(group.to_owned()).or_default();
        kept.heard = self.tick;
        kept.lines.push_back(line.chars().take(LINE_CHARS_MAX).collect());
        while kept.lines.len() > limit {
            kept.lines.pop_front();
        }
    }

    /// Returns what was said in a group, and forgets it.
    pub(crate) fn take(&mut self, group: &str) -> Option<String> {
        self.groups.remove(group).map(|group| Vec::from(group.lines).join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_of_the_liveliest_groups_are_kept() {
        let mut history = History::default();
        for number in 0..4 {
            history.hear("a", &number.to_string(), 2);
        }
        history.hear("none", "x", 0);
        assert_eq!((history.take("a").as_deref(), history.take("a"), history.take("none")), (Some("2\n3"), None, None));
        for group in 0..=GROUPS_MAX {
            history.hear(&group.to_string(), "x", 2);
        }
        assert_eq!((history.take("0"), history.take("1").as_deref()), (None, Some("x")));
    }
}
