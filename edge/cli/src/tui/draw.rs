//! The screen: who talks to whom above, what is said, what is typed below.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, List, ListItem, ListState, Paragraph};

use super::chat::{Chat, Entry, Who};
use super::picker::Picker;

/// The sign that something is under way, step by step.
const SIGNS: [&str; 4] = ["·", "•", "●", "•"];
/// Lines of the typed text that are shown at once.
const TYPED_LINES_MAX: u16 = 6;

/// Draws everything.
pub(super) fn all(frame: &mut Frame<'_>, chat: &mut Chat) {
    let typed = u16::try_from(chat.editor.text().split('\n').count()).unwrap_or(u16::MAX).clamp(1, TYPED_LINES_MAX);
    let areas = Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1), Constraint::Length(typed + 2)]);
    let [head, body, status, input] = areas.areas(frame.area());
    let title = format!(" verso · {} ", chat.session);
    frame.render_widget(Paragraph::new(title).style(Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD)), head);
    said(frame, chat, body);
    frame.render_widget(Paragraph::new(status_line(chat)).style(Style::new().add_modifier(Modifier::DIM)), status);
    typing(frame, chat, input);
    if let Some(picker) = &chat.picker {
        choosing(frame, picker, body);
    }
}

fn status_line(chat: &Chat) -> String {
    let sign = if chat.is_busy() { SIGNS[chat.steps % SIGNS.len()] } else { " " };
    let what = if chat.is_leaving() {
        "press Ctrl+C again to leave".to_owned()
    } else if !chat.connected {
        chat.link.clone()
    } else if chat.runs.is_empty() {
        format!("{} · /help", chat.link)
    } else {
        "the agent is writing · Esc stops it".to_owned()
    };
    format!("{sign} {what}")
}

fn said(frame: &mut Frame<'_>, chat: &mut Chat, area: Rect) {
    let width = usize::from(area.width.max(1));
    let lines: Vec<Line<'_>> = chat.entries.iter().flat_map(|entry| of_entry(entry, width)).collect();
    let height = usize::from(area.height);
    // Nobody scrolls beyond the first line.
    let scroll = chat.scroll.min(lines.len().saturating_sub(height));
    let end = lines.len() - scroll;
    let shown: Vec<Line<'_>> = lines[end.saturating_sub(height)..end].to_vec();
    frame.render_widget(Paragraph::new(shown), area);
    chat.scroll = scroll;
}

fn of_entry(entry: &Entry, width: usize) -> Vec<Line<'static>> {
    let (mark, style) = match entry.who {
        Who::User => ("› ", Style::new().fg(Color::Cyan)),
        Who::Agent => ("", Style::new()),
        Who::Tool => ("⚙ ", Style::new().add_modifier(Modifier::DIM)),
        Who::Notice => ("", Style::new().add_modifier(Modifier::DIM)),
        Who::Error => ("! ", Style::new().fg(Color::Red)),
    };
    let text = format!("{mark}{}", entry.text);
    let mut lines: Vec<Line<'static>> =
        textwrap::wrap(&text, width).into_iter().map(|line| Line::styled(line.into_owned(), style)).collect();
    lines.push(Line::default());
    lines
}

fn typing(frame: &mut Frame<'_>, chat: &Chat, area: Rect) {
    let block = Block::new().borders(Borders::TOP | Borders::BOTTOM).border_style(Style::new().add_modifier(Modifier::DIM));
    let inner = block.inner(area);
    let before = chat.editor.before();
    let row = before.split('\n').count() - 1;
    let column = Span::raw(before.rsplit('\n').next().unwrap_or_default()).width();
    // The cursor is always within sight.
    let (down, right) =
        (row.saturating_sub(usize::from(inner.height.max(1)) - 1), column.saturating_sub(usize::from(inner.width.max(1)) - 1));
    let offset = (u16::try_from(down).unwrap_or(u16::MAX), u16::try_from(right).unwrap_or(u16::MAX));
    frame.render_widget(Paragraph::new(chat.editor.text()).block(block).scroll(offset), area);
    let (x, y) = (u16::try_from(column - right).unwrap_or(0), u16::try_from(row - down).unwrap_or(0));
    if chat.picker.is_none() {
        frame.set_cursor_position(Position::new(inner.x.saturating_add(x), inner.y.saturating_add(y)));
    }
}

fn choosing(frame: &mut Frame<'_>, picker: &Picker, area: Rect) {
    let title = format!(" {} — type to search, Enter to choose, Esc to close  {} ", picker.kind.title(), picker.query);
    let items: Vec<ListItem<'_>> = picker.shown().into_iter().map(|item| ListItem::new(super::chat::printable(&item.label))).collect();
    let list = List::new(items).block(Block::bordered().title(title)).highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = ListState::default().with_selected(Some(picker.selected));
    frame.render_widget(Clear, area);
    frame.render_stateful_widget(list, area, &mut state);
}
