//! Messages that are told together: the pictures of an album, a long text that its sender's program has cut, lines that somebody writes one
//! after the other.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::is_command;
use crate::message::{EventKind, Incoming};
use crate::store::inbox::Open;

/// How long the next picture of an album is waited for.
const ALBUM_WAIT: Duration = Duration::from_millis(500);

/// How long the next piece of a long text is waited for.
const PIECE_WAIT: Duration = Duration::from_millis(1_500);

/// How many pieces a long text has at most, and how many characters.
const PIECES_MAX: usize = 12;
const PIECES_CHARS_MAX: usize = 50_000;

/// Messages that are told together at most, whatever joins them.
const TOGETHER_MAX: usize = 50;

/// Messages that are told together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) opens: Vec<Open>,
    /// All of them as one: the ids and the time are those of the last.
    pub(crate) incoming: Incoming,
    /// The traces that all but the last were received in.
    pub(crate) traceparents: Vec<String>,
    /// Whether their sender may give commands.
    pub(crate) authorized: bool,
    /// What joins them.
    joint: Joint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// It goes alone.
    None,
    Album,
    Pieces,
    Lines,
    /// An earlier incarnation has decided it.
    Decided,
}

impl Batch {
    /// Begins with one message.
    pub(crate) fn new(open: Open, incoming: Incoming, authorized: bool, debounce: Duration) -> Self {
        let joint = if open.lead.is_some() {
            Joint::Decided
        } else if incoming.album.is_some() {
            Joint::Album
        } else if incoming.may_go_on {
            Joint::Pieces
        } else if !debounce.is_zero() && is_line(&incoming) {
            Joint::Lines
        } else {
            Joint::None
        };
        Self { opens: vec![open], incoming, traceparents: Vec::new(), authorized, joint }
    }

    /// Returns how long another message is waited for; none when this is whole.
    pub(crate) fn wait(&self, debounce: Duration) -> Option<Duration> {
        match self.joint {
            Joint::None => None,
            Joint::Album => Some(ALBUM_WAIT),
            Joint::Pieces if self.opens.len() >= PIECES_MAX || !self.incoming.may_go_on => None,
            Joint::Pieces => Some(PIECE_WAIT),
            Joint::Lines => Some(debounce),
            Joint::Decided => (self.last().lead.as_deref() != Some(&self.last().event)).then_some(PIECE_WAIT),
        }
    }

    /// Takes another message in if it belongs here; else returns it.
    pub(crate) fn join(&mut self, open: Open, incoming: Incoming, authorized: bool) -> Result<(), Box<(Open, Incoming, bool)>> {
        let same_hand = incoming.sender == self.incoming.sender && authorized == self.authorized && self.opens.len() < TOGETHER_MAX;
        let belongs = same_hand
            && match self.joint {
                Joint::None => false,
                Joint::Decided => open.lead == self.last().lead,
                _ if open.lead.is_some() => false,
                Joint::Album => incoming.album == self.incoming.album,
                Joint::Pieces => self.goes_on_with(&incoming),
                Joint::Lines => is_line(&incoming),
            };
        if !belongs {
            return Err(Box::new((open, incoming, authorized)));
        }
        let (before, text) = (std::mem::take(&mut self.incoming.text), incoming.text.clone());
        let decided_pieces = self.joint == Joint::Decided && self.incoming.may_go_on;
        let text = match self.joint {
            Joint::Pieces => before + &text,
            _ if decided_pieces => before + &text,
            _ => format!("{before}\n{text}"),
        };
        let mut media = std::mem::take(&mut self.incoming.media);
        media.extend(incoming.media.clone());
        let mentioned = self.incoming.mentioned || incoming.mentioned;
        self.traceparents.extend(self.incoming.traceparent.take());
        self.incoming = Incoming { text, mentioned, media, ..incoming };
        self.opens.push(open);
        Ok(())
    }

    /// Returns the event that names the whole.
    pub(crate) fn name(&self) -> &str {
        &self.last().event
    }

    /// Returns the numbers of all messages.
    pub(crate) fn seqs(&self) -> Vec<i64> {
        self.opens.iter().map(|open| open.seq).collect()
    }

    /// Returns the message that shows the beginning of the answer already.
    pub(crate) fn preview(&self) -> Option<String> {
        self.opens.iter().find_map(|open| open.preview.clone())
    }

    pub(crate) fn received_at_ms(&self) -> i64 {
        self.first().received_at_ms
    }

    pub(crate) fn first(&self) -> &Open {
        self.opens.first().expect("a batch begins with a message and loses none")
    }

    fn last(&self) -> &Open {
        self.opens.last().expect("a batch begins with a message and loses none")
    }

    /// The next piece of a text has the next number.
    fn goes_on_with(&self, next: &Incoming) -> bool {
        let number = |incoming: &Incoming| incoming.message_id.as_deref().and_then(|id| id.parse::<i64>().ok());
        let follows = number(&self.incoming).zip(number(next)).is_some_and(|(last, next)| next == last + 1);
        let length = self.incoming.text.chars().count() + next.text.chars().count();
        follows && is_line(next) && self.incoming.may_go_on && length <= PIECES_CHARS_MAX
    }
}

/// Whether a message is nothing but words for a model.
fn is_line(incoming: &Incoming) -> bool {
    incoming.kind == EventKind::Message
        && incoming.media.is_empty()
        && !is_command(&incoming.text)
        && !incoming.text.contains("[/Replying]")
        && !incoming.text.contains("[/Quoting]")
}
