//! Questions to a person at a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use crate::failure::Failure;

/// Whether somebody can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a text. Nothing typed means `usual`.
pub(crate) fn ask(question: &str, usual: &str) -> anyhow::Result<String> {
    let hint = if usual.is_empty() { String::new() } else { format!(" [{usual}]") };
    say(&format!("{question}{hint}: "))?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        return Err(Failure::new("Nobody answers; nothing was changed.").into());
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { usual.to_owned() } else { answer.to_owned() })
}

/// Asks for one of several words.
pub(crate) fn choose(question: &str, words: &[&str], usual: &str) -> anyhow::Result<String> {
    loop {
        let answer = ask(&format!("{question} ({})", words.join(", ")), usual)?;
        if words.contains(&answer.as_str()) {
            return Ok(answer);
        }
        say(&format!("Please answer one of: {}\n", words.join(", ")))?;
    }
}

/// Asks whether something is meant.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    Ok(matches!(ask(&format!("{question} (y/N)"), "")?.to_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a secret, which is not shown. Nothing typed means none.
pub(crate) fn secret(question: &str) -> anyhow::Result<Option<String>> {
    say(&format!("{question} (not shown; empty to skip): "))?;
    enable_raw_mode()?;
    let typed = hidden();
    disable_raw_mode()?;
    say("\n")?;
    Ok(Some(typed?.trim().to_owned()).filter(|typed| !typed.is_empty()))
}

fn hidden() -> anyhow::Result<String> {
    let mut typed = String::new();
    loop {
        let Event::Key(key) = read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match key.code {
            KeyCode::Enter => return Ok(typed),
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Err(Failure::new("Nobody answers; nothing was changed.").into());
            }
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(letter) => typed.push(letter),
            _ => {}
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()
}
