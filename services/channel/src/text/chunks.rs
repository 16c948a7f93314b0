//! Long texts in pieces that a network takes.

use super::{Rich, Run, Style};

/// Cuts formatted text into messages of at most `units_max` UTF-16 units, which is what networks count: at the last line end outside
/// parentheses, else at the last white space there, else anywhere. What the cut stands on is dropped. 0 means no limit.
pub(crate) fn split(rich: Rich, units_max: usize) -> Vec<Rich> {
    let mut chunks = Vec::new();
    let mut rest = rich;
    while units_max > 0 && length(&rest) > units_max {
        let text: String = rest.iter().map(|run| run.text.as_str()).collect();
        let cut = cut_at(&text, units_max);
        let (head, tail) = split_at(rest, cut);
        push(&mut chunks, head);
        rest = trimmed_start(tail);
    }
    push(&mut chunks, rest);
    chunks
}

/// Cuts formatted text after every paragraph; blank lines within code end none.
pub(crate) fn paragraphs(rich: Rich) -> Vec<Rich> {
    let (mut chunks, mut paragraph) = (Vec::new(), Rich::new());
    for run in rich {
        if run.styles.contains(&Style::Block) {
            paragraph.push(run);
            continue;
        }
        for (number, piece) in run.text.split("\n\n").enumerate() {
            if number > 0 {
                push(&mut chunks, trimmed_start(std::mem::take(&mut paragraph)));
            }
            paragraph.push(Run { text: piece.to_owned(), styles: run.styles.clone() });
        }
    }
    push(&mut chunks, trimmed_start(paragraph));
    chunks
}

fn push(chunks: &mut Vec<Rich>, chunk: Rich) {
    if chunk.iter().any(|run| !run.text.trim().is_empty()) {
        chunks.push(chunk);
    }
}

fn length(rich: &Rich) -> usize {
    rich.iter().map(|run| run.text.encode_utf16().count()).sum()
}

/// Returns after how many characters to cut.
fn cut_at(text: &str, units_max: usize) -> usize {
    let (mut line, mut space, mut depth, mut units, mut fitting) = (0, 0, 0_usize, 0, 0);
    for (index, character) in text.chars().enumerate() {
        units += character.len_utf16();
        if units > units_max {
            break;
        }
        fitting = index + 1;
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '\n' if depth == 0 => line = index,
            character if depth == 0 && character.is_whitespace() => space = index,
            _ => {}
        }
    }
    // One character is sent, however little fits.
    [line, space].into_iter().find(|cut| *cut > 0).unwrap_or(fitting.max(1))
}

fn split_at(rich: Rich, chars: usize) -> (Rich, Rich) {
    let (mut head, mut tail, mut left) = (Rich::new(), Rich::new(), chars);
    for Run { text, styles } in rich {
        let at = text.char_indices().nth(left).map_or(text.len(), |(index, _)| index);
        left = left.saturating_sub(text.chars().count());
        let (before, after) = text.split_at(at);
        if !before.is_empty() {
            head.push(Run { text: before.to_owned(), styles: styles.clone() });
        }
        if !after.is_empty() {
            tail.push(Run { text: after.to_owned(), styles });
        }
    }
    (head, tail)
}

fn trimmed_start(mut rich: Rich) -> Rich {
    while let Some(first) = rich.first_mut() {
        let trimmed = first.text.trim_start().to_owned();
        if !trimmed.is_empty() {
            first.text = trimmed;
            break;
        }
        rich.remove(0);
    }
    rich
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{parse, telegram_html};

    fn pieces(text: &str, chars_max: usize) -> Vec<String> {
        let rich = vec![Run { text: text.to_owned(), styles: Vec::new() }];
        split(rich, chars_max).iter().map(crate::text::plain).collect()
    }

    #[test]
    fn breaks_at_lines_then_at_words_then_anywhere() {
        assert_eq!(pieces("aaa bbb ccc ddd", 7), ["aaa", "bbb", "ccc ddd"]);
        assert_eq!(pieces("aaa\nbbb ccc ddd", 9), ["aaa", "bbb ccc", "ddd"]);
        assert_eq!(pieces("see (aaa bbb ccc) ddd", 12), ["see", "(aaa bbb ccc", ") ddd"]);
        assert_eq!(pieces(&"a".repeat(45), 20), ["a".repeat(20), "a".repeat(20), "a".repeat(5)]);
        assert_eq!(pieces("a b", 0), ["a b"]);
        assert_eq!(pieces(" \n ", 10), [""; 0]);
        assert_eq!(pieces("😀😀😀", 4), ["😀😀", "😀"], "networks count UTF-16 units");
        assert_eq!(pieces("😀😀", 1), ["😀", "😀"]);
    }

    #[test]
    fn no_format_is_cut_in_two() {
        let chunks = split(parse("**bold words here**"), 10);
        let html: Vec<String> = chunks.iter().map(telegram_html).collect();
        assert_eq!(html, ["<b>bold</b>", "<b>words here</b>"]);
    }

    #[test]
    fn paragraphs_end_at_blank_lines_outside_code() {
        let chunks = paragraphs(parse("one\n\n**two**\n\n```\na\n\nb\n```\n\nthree"));
        let texts: Vec<String> = chunks.iter().map(crate::text::plain).collect();
        assert_eq!(texts, ["one", "two", "a\n\nb\n", "three"]);
    }
}
