//! `system.notify`: shows a message on this machine's screen, where there is a program for that.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use verso_kit::CancellationToken;
use verso_kit::config::Env;

use crate::Error;
use crate::binary::which;
use crate::environment;
use crate::run::{Program, chunks};

/// How long showing a message may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a title and a text may be, in characters.
const TITLE_CHARS_MAX: usize = 200;
const BODY_CHARS_MAX: usize = 2_000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    title: Option<String>,
    body: Option<String>,
    priority: Option<String>,
}

/// Shows a message.
pub(crate) async fn show(params: Value, env: &Env, cancel: CancellationToken) -> Result<Value, Error> {
    let message: Message = serde_json::from_value(params).map_err(|error| Error::Invalid(format!("unreadable params: {error}")))?;
    let words = |text: Option<String>, max: usize| {
        text.unwrap_or_default().trim().chars().filter(|letter| !letter.is_control()).take(max).collect::<String>()
    };
    let (title, body) = (words(message.title, TITLE_CHARS_MAX), words(message.body, BODY_CHARS_MAX));
    if title.is_empty() && body.is_empty() {
        return Err(Error::Invalid("title or body required".to_owned()));
    }
    let path = env.get("PATH").unwrap_or(environment::PATH);
    let unavailable = || Error::Denied("NOTIFY_UNAVAILABLE: this machine has no program that shows messages".to_owned());
    let (program, arguments) = if cfg!(target_os = "macos") {
        let script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run";
        (which("osascript", path).ok_or_else(unavailable)?, ["-e", script, &title, &body].map(str::to_owned).to_vec())
    } else {
        let urgency = match message.priority.as_deref() {
            Some("timeSensitive" | "critical") => "critical",
            Some("passive") => "low",
            _ => "normal",
        };
        (which("notify-send", path).ok_or_else(unavailable)?, ["-u", urgency, "--", &title, &body].map(str::to_owned).to_vec())
    };
    let argv = [vec![program.display().to_string()], arguments].concat();
    let environment = environment::complete(env, &std::collections::BTreeMap::new())?;
    let program = Program { path: program, argv, cwd: Path::new("/").to_owned(), environment, limit: Some(LIMIT) };
    let ended = program.run(chunks().0, cancel).await?.payload();
    if ended["success"] == true {
        Ok(json!({"ok": true}))
    } else {
        Err(Error::Denied(format!("NOTIFY_FAILED: {}", ended["stderr"].as_str().unwrap_or_default().trim())))
    }
}
