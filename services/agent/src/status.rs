//! How a session and this gateway are doing, in words.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::models::Model;
use crate::store::SessionRecord;

/// What is known.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) now_ms: i64,
    /// When the service started.
    pub(crate) up_since_ms: i64,
    pub(crate) zone: &'a TimeZone,
    pub(crate) model: &'a Model,
    pub(crate) session_key: &'a str,
    pub(crate) session: Option<&'a SessionRecord>,
    pub(crate) sessions: i64,
    /// Runs that are running, and that wait.
    pub(crate) load: (usize, usize),
}

/// Returns the status, one fact a line.
pub(crate) fn text(known: &Known<'_>) -> String {
    let now = Timestamp::from_millisecond(known.now_ms).unwrap_or_default().to_zoned(known.zone.clone());
    let tokens = known.session.map(|session| session.tokens.clone()).unwrap_or_default();
    let window = known.model.context_window;
    let used = tokens.total.and_then(|total| u64::try_from(total).ok()).unwrap_or(0);
    let updated = known
        .session
        .map_or_else(|| "new".to_owned(), |session| format!("updated {} ago", span((known.now_ms - session.updated_at_ms).max(0))));
    let hint = if known.model.offline() { " (no language model is configured)" } else { "" };
    [
        format!("Verso {} · up {}", env!("CARGO_PKG_VERSION"), span(known.now_ms - known.up_since_ms)),
        format!("Time: {}", now.strftime("%A %Y-%m-%d %H:%M %Z")),
        format!("Model: {}{hint}", known.model.full_name()),
        format!("Tokens: {} in / {} out", tokens.input.unwrap_or(0), tokens.output.unwrap_or(0)),
        format!("Context: {used}/{window} ({}%)", used * 100 / window.max(1)),
        format!("Session: {} · {updated}", known.session_key),
        format!("Sessions: {} · runs: {} active, {} waiting", known.sessions, known.load.0, known.load.1),
    ]
    .join("\n")
}

fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;

    #[test]
    fn tells_model_time_and_load() {
        let model = models::offline();
        let text = text(&Known {
            now_ms: 1_795_342_933_000,
            up_since_ms: 1_795_342_933_000 - 3_700_000,
            zone: &TimeZone::UTC,
            model: &model,
            session_key: "agent:main:main",
            session: None,
            sessions: 2,
            load: (1, 3),
        });
        for part in [
            "up 1 h 1 min",
            "Sunday 2026-11-22 10:22 UTC",
            "verso/offline (no language",
            "agent:main:main · new",
            "Sessions: 2 · runs: 1 active, 3 waiting",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
