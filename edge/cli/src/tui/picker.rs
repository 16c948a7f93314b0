//! One of several: sessions, agents, models.

use crossterm::event::{KeyCode, KeyEvent};
use serde_json::Value;

use crate::output::plain;

/// What is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Session,
    Agent,
    Model,
}

/// A list to choose from; what is typed narrows it.
#[derive(Debug)]
pub(super) struct Picker {
    pub(super) kind: Kind,
    items: Vec<Item>,
    pub(super) query: String,
    pub(super) selected: usize,
}

/// One thing to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// What is passed on.
    pub(super) value: String,
    /// What is shown.
    pub(super) label: String,
}

/// What a key did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Open,
    Closed,
    Chosen(String),
}

impl Kind {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Session => "Sessions",
            Self::Agent => "Agents",
            Self::Model => "Models",
        }
    }

    /// The method that lists what there is.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Session => "sessions.list",
            Self::Agent => "agents.list",
            Self::Model => "models.list",
        }
    }
}

impl Picker {
    /// Reads the answer of the kind's method.
    pub(super) fn new(kind: Kind, payload: &Value) -> Self {
        let rows = |member: &str| payload[member].as_array().cloned().unwrap_or_default();
        let text = |row: &Value, member: &str| row[member].as_str().map(str::to_owned);
        let items = match kind {
            Kind::Session => rows("sessions")
                .iter()
                .filter_map(|row| {
                    let value = text(row, "key")?;
                    let name = text(row, "label").or_else(|| text(row, "displayName")).map(|name| format!("  {name}")).unwrap_or_default();
                    Some(Item { label: format!("{value}{name}"), value })
                })
                .collect(),
            Kind::Agent => rows("agents")
                .iter()
                .filter_map(|row| {
                    let value = text(row, "id")?;
                    let name = row.pointer("/identity/name").or_else(|| row.get("name")).map(plain).filter(|name| *name != value);
                    Some(Item { label: name.map_or_else(|| value.clone(), |name| format!("{value}  {name}")), value })
                })
                .collect(),
            Kind::Model => rows("models")
                .iter()
                .filter_map(|row| {
                    let id = text(row, "id")?;
                    let value = match text(row, "provider") {
                        Some(provider) if !id.starts_with(&format!("{provider}/")) => format!("{provider}/{id}"),
                        _ => id,
                    };
                    Some(Item { label: value.clone(), value })
                })
                .collect(),
        };
        Self { kind, items, query: String::new(), selected: 0 }
    }

    /// What fits the query.
    pub(super) fn shown(&self) -> Vec<&Item> {
        let query = self.query.to_lowercase();
        self.items.iter().filter(|item| item.label.to_lowercase().contains(&query)).collect()
    }

    pub(super) fn on_key(&mut self, key: KeyEvent) -> Choice {
        match key.code {
            KeyCode::Esc => return Choice::Closed,
            KeyCode::Enter => {
                return self.shown().get(self.selected).map_or(Choice::Closed, |item| Choice::Chosen(item.value.clone()));
            }
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(self.shown().len().saturating_sub(1)),
            KeyCode::Backspace => {
                self.query.pop();
                self.selected = 0;
            }
            KeyCode::Char(letter) => {
                self.query.push(letter);
                self.selected = 0;
            }
            _ => {}
        }
        Choice::Open
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyModifiers;
    use serde_json::json;

    use super::*;

    #[test]
    fn typing_narrows_the_list_and_enter_chooses() {
        let payload = json!({"models": [{"id": "big", "provider": "p"}, {"id": "p/small", "provider": "p"}]});
        let mut picker = Picker::new(Kind::Model, &payload);
        let mut press = |code| picker.on_key(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(press(KeyCode::Down), Choice::Open);
        assert_eq!(press(KeyCode::Enter), Choice::Chosen("p/small".to_owned()));
        press(KeyCode::Char('B'));
        assert_eq!(press(KeyCode::Enter), Choice::Chosen("p/big".to_owned()));
        press(KeyCode::Char('x'));
        assert_eq!((press(KeyCode::Enter), press(KeyCode::Esc)), (Choice::Closed, Choice::Closed));
    }
}
