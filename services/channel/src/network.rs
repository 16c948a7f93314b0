//! The chat networks that accounts can be on.

use std::sync::{Mutex, PoisonError};

/// A chat network. The order is the one in which clients list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Network {
    Telegram,
    WhatsApp,
    Discord,
    Slack,
    Signal,
    IMessage,
    Irc,
    /// One that another program speaks.
    Other(&'static Face),
}

/// What clients show of a network.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Face {
    id: &'static str,
    label: &'static str,
    detail_label: &'static str,
    /// The name of an Apple system symbol.
    system_image: &'static str,
}

/// The networks that other programs speak. A process learns few of them and never forgets one, so that a network can be passed on as
/// freely as a number.
static OTHERS: Mutex<Vec<&'static Face>> = Mutex::new(Vec::new());

impl Network {
    /// Every network that this build knows, in their order.
    pub(crate) const ALL: [Self; 7] = [Self::Telegram, Self::WhatsApp, Self::Discord, Self::Slack, Self::Signal, Self::IMessage, Self::Irc];

    /// Finds a network by its id.
    pub(crate) fn find(id: &str) -> Option<Self> {
        let other = || {
            let others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
            others.iter().find(|face| face.id == id).copied().map(Self::Other)
        };
        Self::ALL.into_iter().find(|network| network.id() == id).or_else(other)
    }

    /// Makes a network known that another program speaks.
    pub(crate) fn declare(id: &str, label: Option<&str>) -> Self {
        let label = label.unwrap_or(id);
        let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.iter().find(|face| face.id == id && face.label == label) {
            return Self::Other(known);
        }
        others.retain(|face| face.id != id);
        let kept = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let (id, label) = (kept(id), kept(label));
        let face = Box::leak(Box::new(Face { id, label, detail_label: label, system_image: "puzzlepiece.extension" }));
        others.push(face);
        Self::Other(face)
    }

    /// Whether this build knows the network by itself.
    pub(crate) fn is_built_in(self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Returns the id: the key in the configuration and on the wire.
    pub(crate) fn id(self) -> &'static str {
        self.face().id
    }

    /// Returns the name that people know.
    pub(crate) fn label(self) -> &'static str {
        self.face().label
    }

    /// Returns the name that says how we take part.
    pub(crate) fn detail_label(self) -> &'static str {
        self.face().detail_label
    }

    /// Returns the symbol that Apple clients show.
    pub(crate) fn system_image(self) -> &'static str {
        self.face().system_image
    }

    fn face(self) -> Face {
        let (id, label, detail_label, system_image) = match self {
            Self::Telegram => ("telegram", "Telegram", "Telegram Bot", "paperplane"),
            Self::WhatsApp => ("whatsapp", "WhatsApp", "WhatsApp Web", "message"),
            Self::Discord => ("discord", "Discord", "Discord Bot", "bubble.left.and.bubble.right"),
            Self::Slack => ("slack", "Slack", "Slack Socket", "number"),
            Self::Signal => ("signal", "Signal", "Signal REST", "antenna.radiowaves.left.and.right"),
            Self::IMessage => ("imessage", "iMessage", "iMessage", "message.fill"),
            Self::Irc => ("irc", "IRC", "IRC", "network"),
            Self::Other(Face { id, label, detail_label, system_image }) => (*id, *label, *detail_label, *system_image),
        };
        Face { id, label, detail_label, system_image }
    }
}
