//! Taking over the sessions and jobs of an OpenClaw state folder: `agents/<id>/sessions/sessions.json` and the transcripts beside it, or the
//! database that newer versions keep them in, and `cron/jobs.json`.
//!
//! Nothing is changed there. What is taken stands in this gateway's database as if it had been said here; what is not is counted by kind, so
//! that nothing disappears silently. A session or job that is there already is left alone, so a repeat takes only what is new.

mod database;
mod jobs;
mod lines;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::store::{self, Imported};
pub(crate) use lines::Transcript;

/// What was taken over, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether it was only looked at.
    pub dry_run: bool,
    /// Sessions that were taken.
    pub sessions: Vec<Taken>,
    /// Sessions that were not, and why.
    pub left: Vec<Left>,
    /// Lines of transcripts that were not taken, by kind.
    pub dropped_lines: BTreeMap<String, u64>,
    /// Lines that cannot be read.
    pub unreadable_lines: u64,
    /// Jobs that were taken, by their ids.
    pub jobs: Vec<String>,
    /// Credentials that were copied.
    pub credentials: Vec<String>,
    /// What else is there, and what to do about it.
    pub elsewhere: Vec<Left>,
}

/// A session that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Its key.
    pub key: String,
    /// Messages of its transcript.
    pub messages: u64,
}

/// Something that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Its key, or its place.
    pub what: String,
    /// Why, or what to do.
    pub why: String,
}

/// Takes over what is in `source` into the state folder `state_dir`, which no gateway may be using. `progress` is told of each session.
pub fn import(state_dir: &Path, source: &Path, dry_run: bool, progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let mut report = Report { dry_run, ..Report::default() };
    let agents = source.join("agents");
    let mut folders = folders(&agents).map_err(|source| Error::Import { path: agents.clone(), source })?;
    folders.sort();
    let database = state_dir.join(store::DATABASE);
    let target = if dry_run { store::Import::look(&database)? } else { store::Import::open(&database)? };
    for folder in folders {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let agent = AgentId::normalize(&name);
        let mut taking = Taking { target: &target, agent: &agent, report: &mut report, progress: &mut *progress };
        // What is in both was copied from the files into the database, and went on there.
        taking.database(&folder.join("agent").join(database::NAME))?;
        taking.files(&folder.join("sessions"))?;
        credentials(state_dir, &agent, &folder, &mut report)?;
    }
    jobs::take(&target, &source.join("cron/jobs.json"), &mut report)?;
    elsewhere(source, &mut report);
    Ok(report)
}

/// The sessions of one agent while they are taken.
struct Taking<'a> {
    target: &'a store::Import,
    agent: &'a AgentId,
    report: &'a mut Report,
    progress: &'a mut dyn FnMut(&str),
}

impl Taking<'_> {
    fn files(&mut self, folder: &Path) -> Result<(), Error> {
        let list = folder.join("sessions.json");
        let Ok(text) = fs::read_to_string(&list) else { return Ok(()) };
        let Ok(Value::Object(entries)) = verso_kit::config::parse(&text) else {
            self.leave(&list.display().to_string(), "the list of sessions cannot be read");
            return Ok(());
        };
        for (raw, entry) in entries {
            self.session(&raw, entry, |id, entry| {
                // Only files of this very folder: what an entry names elsewhere is not followed.
                let named = entry["sessionFile"].as_str().and_then(|path| Path::new(path).file_name()).map(|name| folder.join(name));
                let path = named.filter(|path| path.is_file()).unwrap_or_else(|| folder.join(format!("{id}.jsonl")));
                if !path.is_file() {
                    return Ok(Transcript::default());
                }
                Transcript::of_file(&path).map_err(|source| Error::Import { path, source })
            })?;
        }
        Ok(())
    }

    fn database(&mut self, path: &Path) -> Result<(), Error> {
        if !path.is_file() {
            return Ok(());
        }
        let place = path.display().to_string();
        if database::unfinished(path) {
            self.leave(&place, "its gateway has not closed it: start OpenClaw once more, stop it, and try again");
            return Ok(());
        }
        let opened = database::Database::open(path).and_then(|database| Ok((database.entries()?, database)));
        let (entries, database) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.leave(&place, &format!("it cannot be read: {error}"));
                return Ok(());
            }
        };
        for (raw, entry) in entries {
            self.session(&raw, entry, |id, _| Ok(database.transcript(id).map_err(store::Error::from)?))?;
        }
        Ok(())
    }

    /// Takes one session, unless there is one of its key.
    fn session(
        &mut self,
        raw: &str,
        entry: Value,
        transcript: impl FnOnce(&str, &Value) -> Result<Transcript, Error>,
    ) -> Result<(), Error> {
        (self.progress)(raw);
        let key = SessionKey::stored(&canonical(raw, self.agent));
        let Some(id) = entry["sessionId"].as_str().filter(|id| plain(id)).map(str::to_owned) else {
            self.leave(raw, "it has no usable session id");
            return Ok(());
        };
        if self.report.sessions.iter().any(|taken| taken.key == key.as_str()) {
            return Ok(());
        }
        if self.target.knows(&key)? {
            self.leave(raw, "a session with this key is here already");
            return Ok(());
        }
        let transcript = transcript(&id, &entry)?;
        for (kind, count) in &transcript.dropped {
            *self.report.dropped_lines.entry(kind.clone()).or_default() += count;
        }
        self.report.unreadable_lines += transcript.unreadable;
        let messages = u64::try_from(transcript.messages.len()).unwrap_or(u64::MAX);
        let session = Imported { key: key.clone(), agent: self.agent.clone(), session_id: id, entry, transcript };
        self.target.take(&session)?;
        self.report.sessions.push(Taken { key: key.to_string(), messages });
        Ok(())
    }

    fn leave(&mut self, what: &str, why: &str) {
        self.report.left.push(Left { what: what.to_owned(), why: why.to_owned() });
    }
}

/// Ids become names of files.
fn plain(id: &str) -> bool {
    !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn canonical(raw: &str, agent: &AgentId) -> String {
    let key = raw.trim().to_lowercase();
    let whole = key.starts_with("agent:") || matches!(key.as_str(), "global" | "unknown");
    if whole { key } else { format!("agent:{agent}:{key}") }
}

/// Copies credentials whose format is ours, too; never over others.
fn credentials(state_dir: &Path, agent: &AgentId, folder: &Path, report: &mut Report) -> Result<(), Error> {
    let from = folder.join("agent").join("auth-profiles.json");
    let to = state_dir.join("agents").join(agent.as_str()).join("agent").join("auth-profiles.json");
    if !from.is_file() {
        return Ok(());
    }
    if to.exists() {
        report.elsewhere.push(Left { what: from.display().to_string(), why: format!("{} is there already", to.display()) });
        return Ok(());
    }
    report.credentials.push(to.display().to_string());
    if report.dry_run {
        return Ok(());
    }
    let failed = |source| Error::Import { path: to.clone(), source };
    let bytes = fs::read(&from).map_err(|source| Error::Import { path: from.clone(), source })?;
    if let Some(folder) = to.parent() {
        verso_kit::files::create_private_dir(folder).map_err(failed)?;
    }
    verso_kit::files::write_atomic(&to, &bytes, 0o600).map_err(failed)
}

/// Says what to do about the rest.
fn elsewhere(source: &Path, report: &mut Report) {
    for (name, why) in [
        ("openclaw.json", "the keys are the same here: copy it to the state folder as verso.json, then run `verso doctor`"),
        ("cron/runs", "logs of jobs begin anew"),
        ("state/openclaw.sqlite", "what newer versions keep there is not read: jobs, pairings and devices are to be made again"),
        ("credentials", "link the accounts of chat networks again: `verso channels login`"),
        ("exec-approvals.json", "read by `verso approvals set --file`"),
        ("workspace", "point agents.defaults.workspace at it"),
        ("devices", "devices pair again"),
    ] {
        let path = source.join(name);
        if path.exists() {
            report.elsewhere.push(Left { what: path.display().to_string(), why: why.to_owned() });
        }
    }
}

fn folders(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.into_iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect())
}
