//! The chat networks that accounts can be on.

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
}

/// What clients show of a network.
struct Face {
    id: &'static str,
    label: &'static str,
    detail_label: &'static str,
    /// The name of an Apple system symbol.
    system_image: &'static str,
}

impl Network {
    /// Every network, in their order.
    pub(crate) const ALL: [Self; 7] = [Self::Telegram, Self::WhatsApp, Self::Discord, Self::Slack, Self::Signal, Self::IMessage, Self::Irc];

    /// Finds a network by its id.
    pub(crate) fn find(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.id() == id)
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
        };
        Face { id, label, detail_label, system_image }
    }
}
