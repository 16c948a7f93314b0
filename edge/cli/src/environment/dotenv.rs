//! `.env` files: `NAME=value` lines.

use std::fs;
use std::io::Read as _;
use std::path::Path;

/// A larger file is no list of variables, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Returns the variables of the file; none when it cannot be read.
pub(super) fn read(path: &Path) -> Vec<(String, String)> {
    let mut text = String::new();
    match fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => text.lines().filter_map(variable).collect(),
        Err(_) => Vec::new(),
    }
}

fn variable(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    is_name.then(|| (name.to_owned(), unquote(value)))
}

fn unquote(value: &str) -> String {
    match value.chars().next() {
        Some('\'') => value[1..].split('\'').next().unwrap_or_default().to_owned(),
        Some('"') => between_double_quotes(&value[1..]),
        // Only a `#` after a space starts a comment: `a#b` is a value.
        _ => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    }
}

fn between_double_quotes(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('n') => result.push('\n'),
                Some('r') => result.push('\r'),
                Some('t') => result.push('\t'),
                Some(other) => result.push(other),
                None => break,
            },
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_forms() {
        for (line, expected) in [
            ("A=1", Some(("A", "1"))),
            ("export A = x y # why", Some(("A", "x y"))),
            ("A='x # \"y\"' # why", Some(("A", "x # \"y\""))),
            ("A=\"x\\n\\\"y\\\"\" # why", Some(("A", "x\n\"y\""))),
            ("A=a#b", Some(("A", "a#b"))),
            ("A=", Some(("A", ""))),
            ("# A=1", None),
            ("A B=1", None),
            ("", None),
        ] {
            assert_eq!(variable(line), expected.map(|(name, value)| (name.to_owned(), value.to_owned())), "{line}");
        }
    }
}
