//! Formatted text in the words of networks that put marks around it.

use super::{Rich, Style};

/// Which marks a network knows.
struct Marks {
    bold: &'static str,
    italic: &'static str,
    strike: &'static str,
    /// Characters of a text that would be read as marks.
    escaped: &'static [char],
    /// Whether a link can stand behind words.
    links: bool,
}

/// Returns the text in Markdown.
pub(crate) fn markdown(rich: &Rich) -> String {
    written(rich, &Marks { bold: "**", italic: "*", strike: "~~", escaped: &['\\', '*', '`', '[', '~'], links: true })
}

/// Returns the text as `WhatsApp` formats it.
pub(crate) fn whatsapp(rich: &Rich) -> String {
    written(rich, &Marks { bold: "*", italic: "_", strike: "~", escaped: &[], links: false })
}

fn written(rich: &Rich, marks: &Marks) -> String {
    let mut text = String::new();
    let mut open: Vec<&Style> = Vec::new();
    for run in rich {
        let shared = open.iter().zip(&run.styles).take_while(|(open, wanted)| **open == *wanted).count();
        for style in open.drain(shared..).rev() {
            text.push_str(&marks.around(style, true));
        }
        for style in run.styles.iter().skip(shared) {
            text.push_str(&marks.around(style, false));
            open.push(style);
        }
        let verbatim = run.styles.iter().any(|style| matches!(style, Style::Code | Style::Block));
        for letter in run.text.chars() {
            if !verbatim && marks.escaped.contains(&letter) {
                text.push('\\');
            }
            text.push(letter);
        }
    }
    for style in open.into_iter().rev() {
        text.push_str(&marks.around(style, true));
    }
    text
}

impl Marks {
    fn around(&self, style: &Style, closing: bool) -> String {
        match style {
            Style::Bold => self.bold.to_owned(),
            Style::Italic => self.italic.to_owned(),
            Style::Strike => self.strike.to_owned(),
            Style::Code => "`".to_owned(),
            Style::Block if closing => "\n```".to_owned(),
            Style::Block => "```\n".to_owned(),
            Style::Link(url) => match (self.links, closing) {
                (true, false) => "[".to_owned(),
                (true, true) => format!("]({url})"),
                (false, false) => String::new(),
                (false, true) => format!(" ({url})"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn formats_are_those_of_the_network() {
        let rich = parse("a **b** *c* ~~d~~ `e*` [f](https://g.test) 1*2");
        assert_eq!(markdown(&rich), "a **b** *c* ~~d~~ `e*` [f](https://g.test) 1\\*2");
        assert_eq!(whatsapp(&rich), "a *b* _c_ ~d~ `e*` f (https://g.test) 1*2");
    }
}
