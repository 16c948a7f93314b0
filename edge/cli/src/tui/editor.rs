//! The line that is being typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Lines that can be called back.
const HISTORY_MAX: usize = 100;
/// What one message may hold, in characters; more is not taken.
const CHARS_MAX: usize = 100_000;

/// A text and a place in it, in characters.
#[derive(Debug, Default)]
pub(super) struct Editor {
    letters: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Which earlier line is shown; none when a new one is typed.
    recalled: Option<usize>,
}

impl Editor {
    pub(super) fn text(&self) -> String {
        self.letters.iter().collect()
    }

    /// The text before the cursor.
    pub(super) fn before(&self) -> String {
        self.letters[..self.cursor].iter().collect()
    }

    pub(super) fn clear(&mut self) {
        self.set("");
    }

    /// Takes the text out and remembers it.
    pub(super) fn take(&mut self) -> String {
        let text = self.text();
        if !text.trim().is_empty() && self.history.last() != Some(&text) {
            self.history.push(text.clone());
            if self.history.len() > HISTORY_MAX {
                self.history.remove(0);
            }
        }
        self.recalled = None;
        self.clear();
        text
    }

    pub(super) fn insert(&mut self, text: &str) {
        for letter in text.chars().filter(|letter| *letter == '\n' || !letter.is_control()) {
            if self.letters.len() < CHARS_MAX {
                self.letters.insert(self.cursor, letter);
                self.cursor += 1;
            }
        }
    }

    /// Edits; false if the key is none of an editor's.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('a') if control => self.cursor = 0,
            KeyCode::Char('e') if control => self.cursor = self.letters.len(),
            KeyCode::Char('u') if control => {
                self.letters.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char('k') if control => self.letters.truncate(self.cursor),
            KeyCode::Char('w') if control => self.erase_word(),
            KeyCode::Char(letter) if !control => self.insert(letter.encode_utf8(&mut [0; 4])),
            KeyCode::Enter if key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SHIFT) => self.insert("\n"),
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.letters.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.letters.len() => drop(self.letters.remove(self.cursor)),
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.letters.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.letters.len(),
            KeyCode::Up => self.recall(self.recalled.map_or(self.history.len().checked_sub(1), |at| at.checked_sub(1).or(Some(0)))),
            KeyCode::Down => self.recall(self.recalled.map(|at| at + 1)),
            _ => return false,
        }
        true
    }

    fn set(&mut self, text: &str) {
        self.letters = text.chars().collect();
        self.cursor = self.letters.len();
    }

    fn recall(&mut self, at: Option<usize>) {
        let Some(at) = at else { return };
        let line = self.history.get(at).cloned();
        self.recalled = line.is_some().then_some(at);
        self.set(&line.unwrap_or_default());
    }

    fn erase_word(&mut self) {
        let start = self.letters[..self.cursor].iter().rposition(|letter| !letter.is_whitespace());
        let start = start.and_then(|end| self.letters[..end].iter().rposition(|letter| letter.is_whitespace()).map(|at| at + 1));
        let start = start.unwrap_or(0);
        self.letters.drain(start..self.cursor);
        self.cursor = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(editor: &mut Editor, code: KeyCode) {
        assert!(editor.on_key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    #[test]
    fn edits_in_the_middle_and_forgets_words() {
        let mut editor = Editor::default();
        editor.insert("grüße welt\u{1b}");
        for _ in 0..4 {
            press(&mut editor, KeyCode::Left);
        }
        press(&mut editor, KeyCode::Backspace);
        editor.insert("-");
        assert_eq!((editor.text().as_str(), editor.before().as_str()), ("grüße-welt", "grüße-"));
        press(&mut editor, KeyCode::End);
        assert!(editor.on_key(KeyEvent::new(KeyCode::Char('w'), KeyModifiers::CONTROL)));
        assert!(editor.text().is_empty());
    }

    #[test]
    fn earlier_lines_come_back() {
        let mut editor = Editor::default();
        for line in ["one", "two", "two"] {
            editor.insert(line);
            assert_eq!(editor.take(), line);
        }
        press(&mut editor, KeyCode::Up);
        press(&mut editor, KeyCode::Up);
        press(&mut editor, KeyCode::Up);
        assert_eq!(editor.text(), "one");
        press(&mut editor, KeyCode::Down);
        press(&mut editor, KeyCode::Down);
        assert!(editor.text().is_empty());
    }
}
