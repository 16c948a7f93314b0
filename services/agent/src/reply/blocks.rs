//! An answer in blocks while it is written: as long as they may be, broken where a reader would pause, code never torn open.

use serde::Deserialize;

/// The shortest block that is not the last, unless configured, in characters.
const MIN_CHARS: usize = 800;

/// The longest, unless configured, in characters.
const MAX_CHARS: usize = 1_200;

/// Where a block prefers to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Break {
    #[default]
    Paragraph,
    Newline,
    Sentence,
}

/// The section `agents.defaults.blockStreamingChunk`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    /// In characters. Default: 800.
    min_chars: Option<usize>,
    /// In characters. Default: 1200.
    max_chars: Option<usize>,
    /// `paragraph`, `newline` or `sentence`. Default: `paragraph`.
    break_preference: Break,
}

/// Cuts a text that grows.
#[derive(Debug)]
pub(crate) struct Chunker {
    min: usize,
    max: usize,
    preference: Break,
    buffer: Vec<char>,
}

/// A piece of code between its marks: where its first line begins and ends, and where its last line ends.
#[derive(Debug, Clone, Copy)]
struct Fence {
    start: usize,
    opened: usize,
    end: usize,
}

impl Chunker {
    /// Makes one for blocks as configured.
    pub(crate) fn new(section: Section) -> Self {
        let max = section.max_chars.unwrap_or(MAX_CHARS).max(1);
        Self { min: section.min_chars.unwrap_or(MIN_CHARS).clamp(1, max), max, preference: section.break_preference, buffer: Vec::new() }
    }

    /// Adds what was written, a character at a time: what comes of it does not depend on how it came.
    pub(crate) fn write(&mut self, text: &str) -> Vec<String> {
        let mut blocks = Vec::new();
        for c in text.chars() {
            if !(self.buffer.is_empty() && c == '\n') {
                self.buffer.push(c);
            }
            if self.buffer.len() >= self.min {
                blocks.extend(self.drain(false));
            }
        }
        blocks
    }

    /// Returns what waits for its end.
    pub(crate) fn rest(&self) -> String {
        self.buffer.iter().collect()
    }

    /// Returns what can go; with `force`, all of it.
    pub(crate) fn drain(&mut self, force: bool) -> Vec<String> {
        let mut blocks = Vec::new();
        loop {
            let length = self.buffer.len();
            if length == 0 || (!force && length < self.min) {
                break;
            }
            if force && length <= self.max {
                push(&mut blocks, std::mem::take(&mut self.buffer).into_iter().collect());
                break;
            }
            if !self.cut(force, &mut blocks) || (!force && self.buffer.len() < self.max) {
                break;
            }
        }
        blocks
    }

    /// Takes one block. Returns false if it is better to wait.
    fn cut(&mut self, force: bool, blocks: &mut Vec<String>) -> bool {
        let fences = fences(&self.buffer);
        if let Some(at) = self.place(force, &fences) {
            push(blocks, self.buffer[..at].iter().collect());
            self.keep_from(at);
            return true;
        }
        if self.buffer.len() < self.max {
            return false;
        }
        if let Some(fence) = fences.iter().find(|fence| fence.holds(self.max)) {
            self.cut_code(*fence, blocks);
        } else {
            push(blocks, self.buffer[..self.max].iter().collect());
            self.keep_from(self.max);
        }
        true
    }

    /// Returns the last place in the window at which a reader would pause.
    fn place(&self, force: bool, fences: &[Fence]) -> Option<usize> {
        let buffer = &self.buffer;
        let first = if force { 1 } else { self.min };
        let end = buffer.len().min(self.max);
        let outside = |at: &usize| !fences.iter().any(|fence| fence.holds(*at));
        let last = |is: &dyn Fn(usize) -> bool| (first..end).rev().filter(|at| is(*at)).find(|at| outside(at));
        let newline = |at: usize| buffer[at] == '\n';
        let paragraph = || {
            let pairs = (first..end).rev().filter(|at| newline(*at) && buffer.get(at + 1) == Some(&'\n') && at + 1 < end);
            pairs.flat_map(|at| [at, at + 1]).find(|at| outside(at))
        };
        let sentence = || {
            let ends = |at: usize| at > 0 && matches!(buffer[at - 1], '.' | '!' | '?');
            let followed = |at: usize| buffer.get(at).map_or(force, |c| c.is_whitespace());
            (first..=end).rev().filter(|at| ends(*at) && followed(*at)).find(|at| outside(at))
        };
        let found = match self.preference {
            Break::Paragraph => paragraph().or_else(|| last(&newline)).or_else(sentence),
            Break::Newline => last(&newline),
            Break::Sentence => sentence(),
        };
        // A word's end is no place to pause as long as a better one may come.
        if found.is_none() && buffer.len() < self.max && !force {
            return None;
        }
        found.or_else(|| last(&|at| buffer[at].is_whitespace()))
    }

    /// Ends a block within code, whose marks are closed, and opens them again for the rest.
    fn cut_code(&mut self, fence: Fence, blocks: &mut Vec<String>) {
        let at = (fence.opened + 1..self.max).rev().find(|at| self.buffer[*at] == '\n').unwrap_or(self.max);
        let opening: String = self.buffer[fence.start..fence.opened].iter().collect();
        let marks: String = opening.chars().take_while(|c| matches!(c, ' ' | '`' | '~')).collect();
        let text: String = self.buffer[..at].iter().collect();
        push(blocks, format!("{text}\n{}", marks.trim_end()));
        let rest = if self.buffer.get(at) == Some(&'\n') { at + 1 } else { at };
        let rest: Vec<char> = self.buffer[rest..].to_vec();
        self.buffer = opening.chars().chain(['\n']).chain(rest).collect();
    }

    fn keep_from(&mut self, at: usize) {
        let mut from = at;
        if self.buffer.get(from).is_some_and(|c| c.is_whitespace()) {
            from += 1;
        }
        while self.buffer.get(from) == Some(&'\n') {
            from += 1;
        }
        self.buffer.drain(..from);
    }
}

impl Fence {
    /// Whether a text that is cut there is cut within code.
    fn holds(&self, at: usize) -> bool {
        at > self.start && at < self.end
    }
}

fn push(blocks: &mut Vec<String>, block: String) {
    if !block.trim().is_empty() {
        blocks.push(block);
    }
}

/// Finds code: from a line that begins with three marks to one that begins with as many of the same, or to the end.
fn fences(text: &[char]) -> Vec<Fence> {
    let (mut found, mut open, mut start) = (Vec::new(), None::<(usize, usize, char, usize)>, 0);
    for line in text.split_inclusive(|c| *c == '\n') {
        let end = start + line.len() - usize::from(line.ends_with(&['\n']));
        let bare: Vec<char> = line.iter().copied().skip_while(|c| *c == ' ').collect();
        let mark = bare.first().copied().filter(|c| matches!(c, '`' | '~'));
        let count = mark.map_or(0, |mark| bare.iter().take_while(|c| **c == mark).count());
        match (open, mark) {
            (None, Some(mark)) if count >= 3 => open = Some((start, end, mark, count)),
            (Some((from, opened, opening, wanted)), Some(mark)) if mark == opening && count >= wanted => {
                found.push(Fence { start: from, opened, end });
                open = None;
            }
            _ => {}
        }
        start += line.len();
    }
    found.extend(open.map(|(from, opened, _, _)| Fence { start: from, opened, end: text.len() + 1 }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunker(max: usize, preference: Break) -> Chunker {
        Chunker::new(Section { min_chars: Some(10), max_chars: Some(max), break_preference: preference })
    }

    /// The blocks that come of one delta, and those of the end.
    fn blocks(max: usize, preference: Break, text: &str) -> (Vec<String>, Vec<String>) {
        let mut chunker = chunker(max, preference);
        chunker.buffer.extend(text.chars());
        (chunker.drain(false), chunker.drain(true))
    }

    #[test]
    fn blocks_end_where_a_reader_would_pause() {
        let fence = "```js\nline one;\nline two;\nline three;\n```\nAfter";
        let long = "a".repeat(45);
        let with_fence = format!("Intro text here.\n\n{fence}");
        for (max, preference, text, before, after) in [
            (
                40,
                Break::Paragraph,
                "Hello world one.\n\nSecond paragraph here.\n\nThird",
                vec!["Hello world one."],
                vec!["Second paragraph here.\n\nThird"],
            ),
            (40, Break::Newline, "Hello world one.\nSecond line here.\nThird", vec!["Hello world one.\nSecond line here."], vec!["Third"]),
            (
                40,
                Break::Sentence,
                "Hello world one. Second sentence here. Third bit",
                vec!["Hello world one. Second sentence here."],
                vec!["Third bit"],
            ),
            (20, Break::Paragraph, "abcdefghij klmnopqrst uvwxyz abc", vec!["abcdefghij", "klmnopqrst uvwxyz"], vec!["abc"]),
            (20, Break::Paragraph, &long, vec![&long[..20], &long[..20]], vec!["aaaaa"]),
            (
                36,
                Break::Paragraph,
                &with_fence,
                vec!["Intro text here.", "```js\nline one;\nline two;\n```"],
                vec!["```js\nline three;\n```\nAfter"],
            ),
            (40, Break::Paragraph, "Hi.\n\nyo", vec![], vec!["Hi.\n\nyo"]),
        ] {
            let (found, rest) = blocks(max, preference, text);
            assert_eq!(
                (found, rest),
                (before.iter().map(ToString::to_string).collect(), after.iter().map(ToString::to_string).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_comes_of_a_text_does_not_depend_on_how_it_came() {
        let text =
            "One sentence here. Another one, somewhat longer than that.\n\n```\ncode that is long enough\nto be cut\n```\nThe end of it.";
        let together = |parts: &[&str]| {
            let mut chunker = chunker(40, Break::Paragraph);
            let mut found: Vec<String> = parts.iter().flat_map(|part| chunker.write(part)).collect();
            found.extend(chunker.drain(true));
            found
        };
        let whole = together(&[text]);
        assert!(whole.len() > 3 && whole.iter().all(|block| block.chars().count() <= 44), "{whole:?}");
        let (one, other) = text.split_at(23);
        assert_eq!(together(&[one, other]), whole);
    }
}
