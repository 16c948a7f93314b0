//! Reads a command line the way a shell would, or says that it cannot be sure. It knows words, quotes, pipes and chains, and nothing of
//! all the rest: whatever could mean more than it says is not read at all.

use std::fmt;

/// A longer command is not read, in bytes.
const COMMAND_BYTES_MAX: usize = 16 << 10;

/// Programs in one command line that are read at most.
const STEPS_MAX: usize = 32;

/// Beside letters and digits, what stands for itself outside quotes.
const PLAIN: &str = "_-./:,@%+=";

/// Words that begin a construct of the shell when they stand where a program's name does.
const RESERVED: [&str; 22] = [
    "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in", "function", "select", "time",
    "coproc", "[[", "]]", "{", "}", "!",
];

/// A command line that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The programs with their arguments; none is empty.
    pub steps: Vec<Vec<String>>,
    /// What stands between them.
    pub joints: Vec<Joint>,
}

/// What stands between two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// `|`
    Pipe,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `;`
    Then,
}

/// Why a command line is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncertain {
    /// It has a sign that a shell may read in more than one way.
    #[error("it has {0:?}, which a shell may expand")]
    Sign(char),
    /// A quote is not closed.
    #[error("a quote is not closed")]
    OpenQuote,
    /// A program is missing between two joints.
    #[error("a program is missing")]
    MissingProgram,
    /// A word of the shell's own language stands in the place of a program.
    #[error("it is more than a list of programs")]
    Construct,
    /// It sets variables.
    #[error("it sets a variable")]
    Assignment,
    /// It is too long to be read.
    #[error("it is too long")]
    TooLong,
}

impl Script {
    /// Reads a command line.
    pub fn parse(text: &str) -> Result<Self, Uncertain> {
        if text.len() > COMMAND_BYTES_MAX {
            return Err(Uncertain::TooLong);
        }
        let mut reader = Reader::default();
        let mut signs = text.chars().peekable();
        while let Some(sign) = signs.next() {
            match sign {
                ' ' | '\t' => reader.end_word(),
                '\'' | '"' => reader.quoted(sign, &mut signs)?,
                ';' => reader.end_step(Joint::Then)?,
                '|' if signs.next_if_eq(&'|').is_some() => reader.end_step(Joint::Or)?,
                '|' => reader.end_step(Joint::Pipe)?,
                '&' if signs.next_if_eq(&'&').is_some() => reader.end_step(Joint::And)?,
                _ if sign.is_ascii_alphanumeric() || PLAIN.contains(sign) => reader.push(sign),
                _ => return Err(Uncertain::Sign(sign)),
            }
        }
        reader.finish()
    }

    /// Returns the command line with every word in quotes, so that a shell can read it in one way only. `programs` replace the first
    /// words.
    pub fn render(&self, programs: &[String]) -> String {
        let mut text = String::new();
        for (place, step) in self.steps.iter().enumerate() {
            let program = programs.get(place).or(step.first()).map(String::as_str).unwrap_or_default();
            let words: Vec<String> = std::iter::once(program).chain(step.iter().skip(1).map(String::as_str)).map(quote).collect();
            text.push_str(&words.join(" "));
            if let Some(joint) = self.joints.get(place) {
                text.push_str(&format_joint(*joint));
            }
        }
        text
    }
}

impl fmt::Display for Joint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pipe => "|",
            Self::And => "&&",
            Self::Or => "||",
            Self::Then => ";",
        })
    }
}

fn format_joint(joint: Joint) -> String {
    format!(" {joint} ")
}

/// Puts a word into quotes, so that a shell reads it as it is.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reader {
    steps: Vec<Vec<String>>,
    joints: Vec<Joint>,
    step: Vec<String>,
    /// None between words: an empty pair of quotes is a word too.
    word: Option<String>,
    /// Whether a part of the word was in quotes: then it is nothing but a word.
    was_quoted: bool,
    /// Set when the first word of a step means something to the shell.
    fault: Option<Uncertain>,
}

impl Reader {
    fn push(&mut self, sign: char) {
        self.word.get_or_insert_default().push(sign);
    }

    fn quoted(&mut self, quote: char, signs: &mut impl Iterator<Item = char>) -> Result<(), Uncertain> {
        let word = self.word.get_or_insert_default();
        self.was_quoted = true;
        for sign in signs {
            match sign {
                _ if sign == quote => return Ok(()),
                '$' | '`' | '\\' | '!' if quote == '"' => return Err(Uncertain::Sign(sign)),
                '\n' | '\r' | '\0' => return Err(Uncertain::Sign(sign)),
                _ => word.push(sign),
            }
        }
        Err(Uncertain::OpenQuote)
    }

    fn end_word(&mut self) {
        let quoted = std::mem::take(&mut self.was_quoted);
        let Some(word) = self.word.take() else { return };
        if self.step.is_empty() {
            if !quoted && RESERVED.contains(&word.as_str()) {
                self.fault = Some(Uncertain::Construct);
            }
            // With quotes it may be one all the same: `A='b c' program`.
            if word.contains('=') {
                self.fault = Some(Uncertain::Assignment);
            }
        }
        self.step.push(word);
    }

    fn end_step(&mut self, joint: Joint) -> Result<(), Uncertain> {
        self.end_word();
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.step.first().is_none_or(String::is_empty) {
            return Err(Uncertain::MissingProgram);
        }
        self.steps.push(std::mem::take(&mut self.step));
        self.joints.push(joint);
        if self.steps.len() >= STEPS_MAX { Err(Uncertain::TooLong) } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Script, Uncertain> {
        self.end_word();
        if self.step.is_empty() && self.joints.last() == Some(&Joint::Then) {
            self.joints.pop();
            return Ok(Script { steps: self.steps, joints: self.joints });
        }
        self.end_step(Joint::Then)?;
        self.joints.pop();
        Ok(Script { steps: self.steps, joints: self.joints })
    }
}

#[cfg(test)]
mod tests;
