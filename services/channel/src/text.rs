//! Text: what a model writes, in Markdown, to what a network shows.

pub(crate) mod chunks;
pub(crate) mod envelope;
mod markdown;
mod marked;
mod render;

pub(crate) use markdown::parse;
pub(crate) use marked::{markdown, whatsapp};
pub(crate) use render::{irc, plain, telegram_html};

/// How a run of characters looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Style {
    Bold,
    Italic,
    Strike,
    Code,
    /// A block of code.
    Block,
    Link(String),
}

/// Characters that look the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Run {
    pub(crate) text: String,
    /// From the outermost to the innermost.
    pub(crate) styles: Vec<Style>,
}

/// Formatted text. It is cut into messages before it is rendered, so that no format is cut in two.
pub(crate) type Rich = Vec<Run>;
