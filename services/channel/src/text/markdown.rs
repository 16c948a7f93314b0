//! Markdown to runs of formatted text, through an event parser.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::{Rich, Run, Style};

/// What an item of a list begins with.
const BULLET: &str = "• ";

/// Parses what a model has written.
pub(crate) fn parse(markdown: &str) -> Rich {
    let mut writer = Writer::default();
    for event in Parser::new_ext(markdown, Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES) {
        writer.take(event);
    }
    writer.finish()
}

#[derive(Debug, Default)]
struct Writer {
    runs: Rich,
    styles: Vec<Style>,
    /// The number of the next item of each list that is open; none for bullets.
    lists: Vec<Option<u64>>,
    /// What has to come between what was written and what comes next.
    gap: &'static str,
    table: Option<Table>,
    /// Deeper than zero within a picture, whose text stands for it.
    in_code_block: bool,
}

/// A table, row by row, until it is whole.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.in_code_block || self.table.is_some() => self.push(&text),
            Event::Text(text) => self.push_with_links(&text),
            Event::Code(text) => self.styled(Style::Code, &text),
            // A model's HTML is text: it may not become the network's.
            Event::Html(text) | Event::InlineHtml(text) => self.push(&text),
            Event::SoftBreak | Event::HardBreak => self.push("\n"),
            Event::TaskListMarker(done) => self.push(if done { "[x] " } else { "[ ] " }),
            Event::Rule | Event::InlineMath(_) | Event::DisplayMath(_) | Event::FootnoteReference(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Strong => self.styles.push(Style::Bold),
            Tag::Emphasis => self.styles.push(Style::Italic),
            Tag::Strikethrough => self.styles.push(Style::Strike),
            Tag::Link { dest_url, .. } => self.styles.push(Style::Link(dest_url.into_string())),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.in_code_block = true;
                self.styles.push(Style::Block);
            }
            Tag::List(first) => {
                if !self.lists.is_empty() {
                    self.gap = "\n";
                }
                self.lists.push(first);
            }
            Tag::Item => {
                let indent = "  ".repeat(self.lists.len().saturating_sub(1));
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let mark = format!("{number}. ");
                        *number += 1;
                        mark
                    }
                    _ => BULLET.to_owned(),
                };
                self.push(&format!("{indent}{mark}"));
            }
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::TableRow | Tag::TableHead => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::TableCell => {
                if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
                    row.push(String::new());
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong | TagEnd::Emphasis | TagEnd::Strikethrough | TagEnd::Link => {
                self.styles.pop();
            }
            TagEnd::CodeBlock => {
                self.in_code_block = false;
                self.styles.pop();
                self.gap = "\n\n";
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.gap = if self.lists.is_empty() { "\n\n" } else { "\n" };
            }
            TagEnd::Item => self.gap = "\n",
            TagEnd::Paragraph if !self.lists.is_empty() => self.gap = "\n",
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::BlockQuote(_) | TagEnd::HtmlBlock => self.gap = "\n\n",
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    self.styled(Style::Block, &table.text());
                    self.gap = "\n\n";
                }
            }
            _ => {}
        }
    }

    fn styled(&mut self, style: Style, text: &str) {
        self.styles.push(style);
        self.push(text);
        self.styles.pop();
    }

    /// Addresses in plain text become links, as people are used to.
    fn push_with_links(&mut self, text: &str) {
        let mut rest = text;
        while let Some(start) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
            let (before, after) = rest.split_at(start);
            let end = after.find(|character: char| character.is_whitespace() || "<>\"".contains(character)).unwrap_or(after.len());
            let address = after.get(..end).unwrap_or(after).trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'']);
            self.push(before);
            if self.styles.iter().any(|style| matches!(style, Style::Link(_))) {
                self.push(address);
            } else {
                self.styled(Style::Link(address.to_owned()), address);
            }
            rest = after.get(address.len()..).unwrap_or_default();
            if address.is_empty() {
                break;
            }
        }
        self.push(rest);
    }

    fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(cell) = self.table.as_mut().and_then(|table| table.rows.last_mut()).and_then(|row| row.last_mut()) {
            cell.push_str(text);
            return;
        }
        let gap = std::mem::take(&mut self.gap);
        if !gap.is_empty() && !self.runs.is_empty() {
            self.runs.push(Run { text: gap.to_owned(), styles: Vec::new() });
        }
        match self.runs.last_mut() {
            Some(last) if last.styles == self.styles => last.text.push_str(text),
            _ => self.runs.push(Run { text: text.to_owned(), styles: self.styles.clone() }),
        }
    }

    fn finish(self) -> Rich {
        self.runs
    }
}

impl Table {
    /// Returns the table with columns of equal width.
    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = widths.iter().enumerate().map(|(column, width)| format!("{:<width$}", row.get(column).map_or("", String::as_str)));
            text += &line(cells);
            if number == 0 {
                text += &line(widths.iter().map(|width| "-".repeat(*width)));
            }
        }
        text
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}
