//! The tool `process`: what an agent can do to commands that go on in the background.

use std::sync::{Arc, LazyLock};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::child::Ended;
use super::job::Job;
use super::jobs::Jobs;
use crate::tool::{Answer, Refused, Scene, Spec, Tool, arguments};

/// Characters of output in an answer.
const OUTPUT_CHARS: usize = 30_000;

/// Characters of a command in a list.
const COMMAND_CHARS: usize = 120;

/// The tool `process`.
#[derive(Debug)]
pub struct Process {
    /// Where programs are kept.
    pub jobs: Jobs,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    action: String,
    session_id: Option<String>,
    data: Option<String>,
    text: Option<String>,
    keys: Option<Vec<String>>,
    #[serde(default)]
    eof: bool,
    limit: Option<usize>,
}

impl Tool for Process {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let actions = ["list", "poll", "log", "write", "send-keys", "submit", "paste", "kill", "clear", "remove"];
            let properties = json!({
                "action": {"type": "string", "enum": actions},
                "sessionId": {"type": "string", "description": "The session that exec has named"},
                "data": {"type": "string", "description": "For write"},
                "text": {"type": "string", "description": "For paste"},
                "keys": {"type": "array", "items": {"type": "string"}, "description": "For send-keys: Enter, Tab, Escape, C-c, Up, or text"},
                "eof": {"type": "boolean", "description": "End the input after write"},
                "limit": {"type": "number", "description": "For log: characters"},
            });
            Spec::new("process", "Looks after commands that go on in the background.", properties, &["action"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move { self.act(scene, &arguments::<Arguments>(value)?) }.boxed()
    }
}

impl Process {
    fn act(&self, scene: &Scene, wanted: &Arguments) -> Result<Answer, Refused> {
        if wanted.action == "list" {
            return Ok(self.list(&scene.agent));
        }
        let id = wanted.session_id.as_deref().ok_or_else(|| Refused::Arguments("sessionId is required".to_owned()))?;
        let job = self.jobs.find(&scene.agent, id).ok_or_else(|| Refused::Arguments(format!("there is no session {id}")))?;
        match wanted.action.as_str() {
            "poll" => Ok(report(&job, &newest(&job.poll()))),
            "log" => Ok(report(&job, &job.tail(wanted.limit.unwrap_or(OUTPUT_CHARS).min(OUTPUT_CHARS)))),
            "write" => input(&job, wanted.data.clone().unwrap_or_default().into_bytes(), wanted.eof),
            "paste" => input(&job, wanted.text.clone().unwrap_or_default().into_bytes(), false),
            "submit" => input(&job, b"\r".to_vec(), false),
            "send-keys" => input(&job, wanted.keys.iter().flatten().flat_map(|key| bytes_of(key)).collect(), false),
            "kill" => {
                job.kill();
                Ok(Answer::text(format!("Killed session {id}.")).with_details(json!({"status": "killed", "sessionId": id})))
            }
            "clear" => {
                job.clear();
                Ok(Answer::text(format!("Cleared session {id}.")).with_details(json!({"status": "cleared", "sessionId": id})))
            }
            "remove" => {
                job.kill();
                self.jobs.remove(id);
                Ok(Answer::text(format!("Removed session {id}.")).with_details(json!({"status": "removed", "sessionId": id})))
            }
            other => Err(Refused::Arguments(format!("there is no action \"{other}\""))),
        }
    }

    fn list(&self, agent: &str) -> Answer {
        let jobs = self.jobs.list(agent);
        let line = |job: &std::sync::Arc<Job>| {
            let command: String = job.command.chars().take(COMMAND_CHARS).collect();
            format!("{} {} {}s :: {command}", job.id, status(job), job.age().as_secs())
        };
        let fact = |job: &std::sync::Arc<Job>| json!({"sessionId": job.id, "status": status(job), "pid": job.pid, "command": job.command, "cwd": job.folder});
        let text = jobs.iter().map(line).collect::<Vec<_>>().join("\n");
        let text = if text.is_empty() { "No running or recent sessions.".to_owned() } else { text };
        Answer::text(text).with_details(json!({"status": "completed", "sessions": jobs.iter().map(fact).collect::<Vec<_>>()}))
    }
}

fn status(job: &Job) -> &'static str {
    match job.ended() {
        None => "running",
        Some((Ended::Exited(0), _)) => "completed",
        Some((Ended::Cancelled, _)) => "killed",
        Some(_) => "failed",
    }
}

fn report(job: &Job, output: &str) -> Answer {
    let code = job.ended().and_then(|(ended, _)| ended.code());
    let end = match job.ended() {
        None => "Process still running.".to_owned(),
        Some((Ended::Exited(code), _)) => format!("Process exited with code {code}."),
        Some((Ended::Signalled(signal), _)) => format!("Process was ended by signal {signal}."),
        Some((Ended::TimedOut, _)) => "Process took too long and was killed.".to_owned(),
        Some((Ended::Cancelled, _)) => "Process was killed.".to_owned(),
    };
    let shown = if output.trim().is_empty() { "(no new output)" } else { output.trim_end() };
    let details = json!({"status": status(job), "sessionId": job.id, "exitCode": code, "aggregated": output});
    Answer::text(format!("{shown}\n\n{end}")).with_details(details)
}

fn newest(text: &str) -> String {
    let count = text.chars().count();
    text.chars().skip(count.saturating_sub(OUTPUT_CHARS)).collect()
}

fn input(job: &Job, bytes: Vec<u8>, end: bool) -> Result<Answer, Refused> {
    let count = bytes.len();
    let written = job.write(bytes) && (!end || job.close_input());
    if !written {
        return Err(Refused::Failed(format!("session {} takes no input", job.id)));
    }
    Ok(Answer::text(format!("Wrote {count} bytes to session {}.", job.id))
        .with_details(json!({"status": status(job), "sessionId": job.id})))
}

/// What a terminal sends for a key; any other word is text.
fn bytes_of(key: &str) -> Vec<u8> {
    if let Some(letter) = key.strip_prefix("C-").and_then(|rest| rest.bytes().next()).filter(u8::is_ascii_alphabetic) {
        return vec![letter.to_ascii_lowercase() - b'a' + 1];
    }
    match key.to_ascii_lowercase().as_str() {
        "enter" | "return" => b"\r".to_vec(),
        "tab" => b"\t".to_vec(),
        "escape" | "esc" => b"\x1b".to_vec(),
        "space" => b" ".to_vec(),
        "backspace" => b"\x7f".to_vec(),
        "up" => b"\x1b[A".to_vec(),
        "down" => b"\x1b[B".to_vec(),
        "right" => b"\x1b[C".to_vec(),
        "left" => b"\x1b[D".to_vec(),
        _ => key.as_bytes().to_vec(),
    }
}
