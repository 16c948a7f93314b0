//! What is said, by whom, and what keys and events do to it. Nothing here reads a terminal or a socket.

mod events;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;
use verso_client::Update;

use super::Start;
use super::editor::Editor;
use super::picker::{Choice, Kind, Picker};
use super::remote::{Outcome, Question, run_id};
use super::slash::{self, HELP, Line};

/// Entries that are kept; older ones are in the gateway's history.
const ENTRIES_MAX: usize = 2_000;

/// The whole state of the screen.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) start: Start,
    /// The session's key; empty until the gateway has named its main one.
    pub(super) session: String,
    pub(super) entries: Vec<Entry>,
    pub(super) editor: Editor,
    pub(super) picker: Option<Picker>,
    /// What the connection does, in words.
    pub(super) link: String,
    pub(super) connected: bool,
    /// Runs that have not ended.
    pub(super) runs: Vec<String>,
    /// How far the reader has gone back, in lines from the end.
    pub(super) scroll: usize,
    pub(super) steps: usize,
    /// Ctrl+C was pressed once.
    leaving: bool,
}

/// One thing on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) who: Who,
    pub(super) text: String,
    /// The run that writes it; none once it is complete.
    pub(super) run: Option<String>,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    User,
    Agent,
    Tool,
    Notice,
    Error,
}

/// What the outside is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    History,
    Say { text: String, run: String },
    Abort,
    List(Kind),
    Patch { member: &'static str, value: String },
    Reset,
    Status,
    Quit,
}

impl Chat {
    pub(super) fn new(start: Start) -> Self {
        Self {
            session: start.session.clone().unwrap_or_default(),
            start,
            entries: Vec::new(),
            editor: Editor::default(),
            picker: None,
            link: "connecting".to_owned(),
            connected: false,
            runs: Vec::new(),
            scroll: 0,
            steps: 0,
            leaving: false,
        }
    }

    /// Whether something is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.runs.is_empty() || !self.connected
    }

    pub(super) fn step(&mut self) {
        self.steps = self.steps.wrapping_add(1);
    }

    pub(super) fn on_key(&mut self, key: KeyEvent) -> Vec<Action> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let leaving = std::mem::take(&mut self.leaving);
        if control && key.code == KeyCode::Char('c') {
            if self.picker.take().is_some() {
                return Vec::new();
            }
            if leaving {
                return vec![Action::Quit];
            }
            self.editor.clear();
            self.leaving = true;
            return Vec::new();
        }
        if let Some(picker) = &mut self.picker {
            let (kind, choice) = (picker.kind, picker.on_key(key));
            if choice != Choice::Open {
                self.picker = None;
            }
            return if let Choice::Chosen(value) = choice { self.choose(kind, &value) } else { Vec::new() };
        }
        match key.code {
            KeyCode::Char('d') if control => vec![Action::Quit],
            KeyCode::Char('p') if control => vec![Action::List(Kind::Session)],
            KeyCode::Char('g') if control => vec![Action::List(Kind::Agent)],
            KeyCode::Char('l') if control => vec![Action::List(Kind::Model)],
            KeyCode::Esc if !self.runs.is_empty() => vec![Action::Abort],
            KeyCode::PageUp => self.scroll_by(10),
            KeyCode::PageDown => self.scroll_by(-10),
            KeyCode::Enter if !key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SHIFT) => self.enter(),
            _ => {
                self.editor.on_key(key);
                Vec::new()
            }
        }
    }

    /// Whether the next Ctrl+C leaves.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    fn scroll_by(&mut self, lines: isize) -> Vec<Action> {
        self.scroll = self.scroll.saturating_add_signed(lines);
        Vec::new()
    }

    fn enter(&mut self) -> Vec<Action> {
        let line = self.editor.take();
        if line.trim().is_empty() {
            return Vec::new();
        }
        self.scroll = 0;
        match slash::read(&line) {
            Line::Say(text) => self.say(text),
            Line::Help => {
                let lines: Vec<String> = HELP.iter().map(|(command, what)| format!("{command:<20} {what}")).collect();
                self.add(Who::Notice, &lines.join("\n"));
                Vec::new()
            }
            Line::Pick(kind) => vec![Action::List(kind)],
            Line::Choose(kind, value) => self.choose(kind, &value),
            Line::Patch(member, value) => vec![Action::Patch { member, value }],
            Line::Reset => vec![Action::Reset],
            Line::Abort => vec![Action::Abort],
            Line::Status => vec![Action::Status],
            Line::Quit => vec![Action::Quit],
        }
    }

    fn say(&mut self, text: String) -> Vec<Action> {
        let run = run_id();
        self.add(Who::User, &text);
        self.runs.push(run.clone());
        vec![Action::Say { text, run }]
    }

    fn choose(&mut self, kind: Kind, value: &str) -> Vec<Action> {
        match kind {
            Kind::Model => vec![Action::Patch { member: "model", value: value.to_owned() }],
            Kind::Session => self.turn_to(value.to_owned()),
            Kind::Agent => self.turn_to(format!("agent:{value}:main")),
        }
    }

    /// Talks in another session from now on.
    fn turn_to(&mut self, session: String) -> Vec<Action> {
        self.session = session;
        self.entries.clear();
        self.runs.clear();
        self.scroll = 0;
        vec![Action::History]
    }

    pub(super) fn on_update(&mut self, update: &Update) -> Vec<Action> {
        match update {
            Update::Connected(hello) => {
                self.connected = true;
                self.link = format!("connected to {}", hello.server_version);
                if self.session.is_empty() {
                    let main = hello.payload.pointer("/snapshot/sessionDefaults/mainSessionKey").and_then(Value::as_str);
                    main.unwrap_or("agent:main:main").clone_into(&mut self.session);
                }
                vec![Action::History]
            }
            Update::Event(event) => self.on_event(&event.name, &event.payload),
            // The history has what was missed.
            Update::Missed(_) => vec![Action::History],
            Update::Disconnected { reason, retry_in_ms } => {
                self.connected = false;
                self.link = format!("{reason}; next attempt in {:.0}s", std::time::Duration::from_millis(*retry_in_ms).as_secs_f32());
                Vec::new()
            }
            Update::PairingRequired(request) => {
                self.connected = false;
                self.link = format!("waiting for approval: verso devices approve {}", request.request_id);
                Vec::new()
            }
            Update::GaveUp(_) => vec![Action::Quit],
        }
    }

    pub(super) fn on_outcome(&mut self, outcome: Outcome) -> Vec<Action> {
        let Outcome { question, answer } = outcome;
        let payload = match answer {
            Ok(payload) => payload,
            Err(error) => {
                if let Question::Said { run } = &question {
                    self.ended(run);
                }
                self.add(Who::Error, &error);
                return Vec::new();
            }
        };
        match question {
            Question::History { session } if session == self.session => return self.on_history(&payload),
            // The gateway may know the run by another name.
            Question::Said { run } => {
                if let Some(other) = payload["runId"].as_str().filter(|other| *other != run) {
                    self.ended(&run);
                    self.runs.push(other.to_owned());
                }
                if payload["status"] == "ok" && payload.get("summary").is_some() {
                    self.ended(&run);
                }
            }
            Question::Aborted if payload["aborted"] == false => self.add(Who::Notice, "Nothing to stop."),
            Question::Aborted | Question::History { .. } => {}
            Question::Listed(kind) => self.picker = Some(Picker::new(kind, &payload)),
            Question::Changed(what) => self.add(Who::Notice, &what),
            Question::Reset => {
                self.entries.clear();
                self.add(Who::Notice, "The session begins anew.");
            }
            Question::Status => self.add(Who::Notice, &events::status(&payload)),
        }
        Vec::new()
    }

    pub(super) fn add(&mut self, who: Who, text: &str) {
        self.entries.push(Entry { who, text: printable(text), run: None });
        let excess = self.entries.len().saturating_sub(ENTRIES_MAX);
        self.entries.drain(..excess);
    }

    fn ended(&mut self, run: &str) {
        self.runs.retain(|one| one != run);
        for entry in self.entries.iter_mut().filter(|entry| entry.run.as_deref() == Some(run)) {
            entry.run = None;
        }
    }
}

/// A text that cannot move the cursor.
pub(super) fn printable(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\t', "    ").chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect()
}

#[cfg(test)]
mod tests;
