//! `system.run`: from what a caller wants to a program that its owner lets run, or to the reason why not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use verso_client::Reconnecting;
use verso_kit::CancellationToken;
use verso_kit::config::Env;

use crate::Error;
use crate::ask::{Decision, Questions};
use crate::binary::Binary;
use crate::command_line::{Words, is_carrier, is_filter, programs};
use crate::environment;
use crate::policy::{Ask, Policy, Rules, Security};
use crate::run::{Ended, Program};

/// How many words a command may have, and how long they may be together, in bytes.
const WORDS_MAX: usize = 1_024;
const WORDS_BYTES_MAX: usize = 128 << 10;

/// Shells whose command line is read.
const SHELLS: [&str; 4] = ["/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash"];

/// Folders whose filters are those of the system.
const SYSTEM_FOLDERS: [&str; 2] = ["/bin", "/usr/bin"];

/// What a caller wants.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Wanted {
    command: Vec<String>,
    raw_command: Option<String>,
    cwd: Option<PathBuf>,
    env: BTreeMap<String, String>,
    timeout_ms: Option<u64>,
    needs_screen_recording: bool,
    agent_id: Option<String>,
    session_key: Option<String>,
    run_id: Option<String>,
    /// Said by the gateway when people have allowed exactly this.
    approved: bool,
    approval_decision: Option<String>,
}

/// What will be run, as it was when it was looked at. A decision is about all of this.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    argv: Vec<String>,
    cwd: PathBuf,
    environment: BTreeMap<String, String>,
    /// What is started.
    binary: Binary,
    /// The programs of a shell's line; none when the line cannot be read with certainty.
    parts: Option<Vec<(Words, Binary)>>,
}

/// What a run needs of its node.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) env: Env,
    pub(crate) policy: Policy,
    pub(crate) questions: Questions,
}

impl Wanted {
    /// Reads and checks the parameters.
    pub(crate) fn parse(params: Value) -> Result<Self, Error> {
        let wanted: Self = serde_json::from_value(params).map_err(|error| Error::Invalid(format!("unreadable params: {error}")))?;
        let size_bytes: usize = wanted.command.iter().map(String::len).sum();
        if wanted.command.first().is_none_or(|name| name.trim().is_empty()) {
            return Err(Error::Invalid("command required".to_owned()));
        }
        if wanted.command.len() > WORDS_MAX || size_bytes > WORDS_BYTES_MAX {
            return Err(Error::Invalid("command too long".to_owned()));
        }
        if wanted.command.iter().any(|word| word.contains('\0')) || wanted.cwd.as_ref().is_some_and(|cwd| !cwd.is_absolute()) {
            return Err(Error::Invalid("command without NUL and an absolute cwd required".to_owned()));
        }
        if wanted.needs_screen_recording {
            return Err(Error::Denied("PERMISSION_MISSING: screenRecording".to_owned()));
        }
        Ok(wanted)
    }

    /// What people are shown of it. The whole command, whatever the caller calls it.
    fn text(&self) -> String {
        match (&self.raw_command, self.command.as_slice()) {
            (Some(raw), [shell, flag, line]) if line == raw && is_shell(shell, flag) => raw.clone(),
            (_, words) => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        }
    }

    /// What the gateway is told of the run.
    pub(crate) fn report(&self, facts: Value) -> Value {
        let mut report = json!({"host": "node", "command": self.text(), "runId": self.run_id, "sessionKey": self.session_key});
        if let (Value::Object(report), Value::Object(facts)) = (&mut report, facts) {
            report.extend(facts);
        }
        report
    }
}

impl Runner {
    /// Decides whether the run may happen, asking people where the rules say so, and prepares it.
    pub(crate) async fn admit(&self, wanted: &Wanted, gateway: &Reconnecting) -> Result<Program, Error> {
        let rules = self.policy.rules(wanted.agent_id.as_deref())?;
        if rules.security == Security::Deny {
            return Err(Error::Denied("SYSTEM_RUN_DISABLED: security=deny".to_owned()));
        }
        let plan = self.plan(wanted).await?;
        let listed = self.is_listed(&rules, &plan);
        let asks = rules.ask == Ask::Always || (rules.ask == Ask::OnMiss && rules.security == Security::Allowlist && !listed);
        if asks {
            let decision =
                if wanted.approved { Some(wanted.decision()) } else { self.questions.ask(gateway, question(wanted, &rules, &plan)).await };
            self.obey(decision, wanted, &rules, &plan).await?;
        } else if rules.security == Security::Allowlist && !listed {
            return Err(Error::Denied("SYSTEM_RUN_DENIED: allowlist miss".to_owned()));
        }
        // Whatever was decided was decided about this very plan.
        if self.plan(wanted).await? != plan {
            return Err(Error::Denied("SYSTEM_RUN_DENIED: the program changed after the decision".to_owned()));
        }
        let Plan { argv, cwd, environment, binary, .. } = plan;
        Ok(Program { path: binary.path, argv, cwd, environment, limit: wanted.timeout_ms.map(Duration::from_millis) })
    }

    /// Runs what was admitted.
    pub(crate) async fn run(&self, program: Program, chunks: mpsc::Sender<String>, cancel: CancellationToken) -> Result<Ended, Error> {
        program.run(chunks, cancel).await
    }

    async fn obey(&self, decision: Option<Decision>, wanted: &Wanted, rules: &Rules, plan: &Plan) -> Result<(), Error> {
        let listed = self.is_listed(rules, plan);
        match decision {
            Some(Decision::Once) => Ok(()),
            Some(Decision::Always) => {
                let programs: Vec<_> = plan.lasting().into_iter().map(|binary| binary.path.clone()).collect();
                if programs.is_empty() { Ok(()) } else { self.policy.allow(wanted.agent_id.as_deref(), &programs).await }
            }
            Some(Decision::Deny) => Err(Error::Denied("SYSTEM_RUN_DENIED: denied by a person".to_owned())),
            None if rules.fallback == Security::Full || (rules.fallback == Security::Allowlist && listed) => Ok(()),
            None => Err(Error::Denied("SYSTEM_RUN_DENIED: approval required".to_owned())),
        }
    }

    /// Looks at everything that a decision is about.
    async fn plan(&self, wanted: &Wanted) -> Result<Plan, Error> {
        let environment = environment::complete(&self.env, &wanted.env)?;
        let home = || self.env.get("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let (argv, cwd) = (wanted.command.clone(), wanted.cwd.clone().unwrap_or_else(home));
        let looking = move || Plan::look(argv, cwd, environment);
        match spawn_blocking(looking).await {
            Ok(plan) => plan,
            Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
        }
    }

    /// Whether everything that would be run is on the list of the agent, or harmless.
    fn is_listed(&self, rules: &Rules, plan: &Plan) -> bool {
        let Some(parts) = &plan.parts else { return false };
        parts.iter().all(|(words, binary)| {
            let (folder, name) = (binary.path.parent(), file_name(&binary.path));
            // A name in the command may be a link to something else, and the something may be called anything.
            if is_carrier(&name) || words.first().is_some_and(|word| is_carrier(&file_name(Path::new(word)))) {
                return false;
            }
            let of_system = folder.is_some_and(|folder| SYSTEM_FOLDERS.iter().any(|known| folder == Path::new(known)));
            self.policy.lists(rules, &binary.path) || (of_system && is_filter(&name, &words[1..]))
        })
    }
}

impl Wanted {
    fn decision(&self) -> Decision {
        match self.approval_decision.as_deref() {
            None | Some("allow-once") => Decision::Once,
            Some("allow-always") => Decision::Always,
            Some(_) => Decision::Deny,
        }
    }
}

impl Plan {
    fn look(argv: Vec<String>, cwd: PathBuf, environment: BTreeMap<String, String>) -> Result<Self, Error> {
        if !cwd.is_dir() {
            return Err(Error::Invalid(format!("cwd is not a folder: {}", cwd.display())));
        }
        let path = environment.get("PATH").cloned().unwrap_or_default();
        let find = |name: &str| Binary::find(name, &path, &cwd);
        let name = argv.first().map(String::as_str).unwrap_or_default();
        let binary = find(name).map_err(|source| Error::Start { program: name.into(), source })?;
        let read = match argv.as_slice() {
            [shell, flag, line] if is_shell(shell, flag) => programs(line),
            words => Some(vec![words.to_vec()]),
        };
        // A part that is not there is nothing that could be on a list.
        let parts = read
            .and_then(|parts| parts.into_iter().map(|words| Some((words.clone(), find(words.first()?).ok()?))).collect::<Option<Vec<_>>>());
        Ok(Self { argv, cwd, environment, binary, parts })
    }

    /// The programs that a lasting permission is for: none of those that run what they are told.
    fn lasting(&self) -> Vec<&Binary> {
        let parts = self.parts.as_deref().unwrap_or_default();
        parts.iter().map(|(_, binary)| binary).filter(|binary| !is_carrier(&file_name(&binary.path))).collect()
    }
}

fn question(wanted: &Wanted, rules: &Rules, plan: &Plan) -> Value {
    json!({
        "command": wanted.text(), "commandArgv": plan.argv, "cwd": plan.cwd, "envKeys": wanted.env.keys().collect::<Vec<_>>(),
        "resolvedPath": plan.binary.path, "agentId": wanted.agent_id, "sessionKey": wanted.session_key,
        "security": if rules.security == Security::Full { "full" } else { "allowlist" },
        "ask": if rules.ask == Ask::Always { "always" } else { "on-miss" },
    })
}

fn is_shell(shell: &str, flag: &str) -> bool {
    SHELLS.contains(&shell) && ["-c", "-lc"].contains(&flag)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A word as it would be typed.
fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./:,@%+=".contains(letter));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(folder: &Path, rules: &Value) -> Runner {
        let path = folder.join("rules.json");
        std::fs::write(&path, rules.to_string()).unwrap();
        let env = Env::from_pairs([("PATH", "/usr/bin:/bin"), ("HOME", "/")]);
        Runner { env, policy: Policy::new(path, folder.to_owned()), questions: Questions::default() }
    }

    /// A gateway that nobody can reach: whoever asks gets no decision.
    fn nobody() -> Reconnecting {
        let mut options = verso_client::Options::new("ws://127.0.0.1:1");
        options.call_timeout_ms = 1;
        Reconnecting::start(options)
    }

    async fn admit(runner: &Runner, params: Value) -> Result<Program, String> {
        runner.admit(&Wanted::parse(params).map_err(|error| error.to_string())?, &nobody()).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn rules_decide_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let date = std::fs::canonicalize("/bin/date").unwrap();
        let listed = json!({"version": 1, "agents": {"main": {"security": "allowlist", "ask": "off", "allowlist": [{"pattern": date}]}}});
        let runner = runner(folder.path(), &listed);
        admit(&runner, json!({"command": ["date"], "agentId": "main"})).await.unwrap();
        admit(&runner, json!({"command": ["/bin/sh", "-c", "date | wc -l"], "agentId": "main"})).await.unwrap();
        for (params, refusal) in [
            (json!({"command": ["date"], "agentId": "other"}), "SYSTEM_RUN_DISABLED: security=deny"),
            (json!({"command": ["id"], "agentId": "main"}), "SYSTEM_RUN_DENIED: allowlist miss"),
            (json!({"command": ["/bin/sh", "-c", "date; id"], "agentId": "main"}), "SYSTEM_RUN_DENIED: allowlist miss"),
            (json!({"command": ["/bin/sh", "-c", "date $(id)"], "agentId": "main"}), "SYSTEM_RUN_DENIED: allowlist miss"),
            (json!({"command": ["env", "date"], "agentId": "main"}), "SYSTEM_RUN_DENIED: allowlist miss"),
            (json!({"command": ["date"], "agentId": "main", "env": {"LD_PRELOAD": "x"}}), "env variable not allowed: LD_PRELOAD"),
            (json!({"command": ["date"], "agentId": "main", "cwd": "here"}), "command without NUL and an absolute cwd required"),
            (json!({"command": []}), "command required"),
            (json!({"command": ["date"], "needsScreenRecording": true}), "PERMISSION_MISSING: screenRecording"),
        ] {
            assert_eq!(admit(&runner, params.clone()).await.unwrap_err(), refusal, "{params}");
        }
    }

    #[tokio::test]
    async fn what_needs_a_decision_does_not_run_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let runner = runner(folder.path(), &json!({"version": 1, "defaults": {"security": "allowlist"}}));
        assert_eq!(admit(&runner, json!({"command": ["date"]})).await.unwrap_err(), "SYSTEM_RUN_DENIED: approval required");
        admit(&runner, json!({"command": ["date"], "approved": true, "approvalDecision": "allow-once"})).await.unwrap();
        let denied = json!({"command": ["date"], "approved": true, "approvalDecision": "deny"});
        assert_eq!(admit(&runner, denied).await.unwrap_err(), "SYSTEM_RUN_DENIED: denied by a person");
        admit(&runner, json!({"command": ["date"], "approved": true, "approvalDecision": "allow-always"})).await.unwrap();
        admit(&runner, json!({"command": ["date"]})).await.expect("it is on the list now");
        let carrier = json!({"command": ["env", "date"], "approved": true, "approvalDecision": "allow-always"});
        admit(&runner, carrier).await.unwrap();
        assert_eq!(admit(&runner, json!({"command": ["env", "id"]})).await.unwrap_err(), "SYSTEM_RUN_DENIED: approval required");
    }

    #[test]
    fn sec_38_people_are_shown_what_is_run_and_not_what_it_is_called() {
        let text = |params: Value| Wanted::parse(params).unwrap().text();
        assert_eq!(text(json!({"command": ["/bin/sh", "-c", "id"], "rawCommand": "id"})), "id");
        assert_eq!(text(json!({"command": ["rm", "-rf", "/a b"], "rawCommand": "ls"})), "rm -rf '/a b'");
        assert_eq!(text(json!({"command": ["/bin/sh", "-c", "id"], "rawCommand": "ls"})), "/bin/sh -c id");
    }
}
