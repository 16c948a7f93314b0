//! The tool `exec`: reads the command, decides whether it may be run, asks if need be, and runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_kit::config::Env;

use super::approval::{Approver, Binding, Decision, Question, visible};
use super::binary::Binary;
use super::child::{Ended, Plan};
use super::job::{Job, Order};
use super::jobs::Jobs;
use super::parse::Script;
use super::safety::{self, Ask, Rules, Security, Verdict};
use super::{environment, filters};
use crate::sandbox::Sandbox;
use crate::sandbox::wrapper::Wrapper;
use crate::tool::{Answer, Refused, Scene, Spec, Tool, arguments};

/// How long a command is waited for, in milliseconds, before it goes on in the background.
const YIELD_MS: u64 = 10_000;

/// The longest that a command is waited for, in milliseconds.
const YIELD_MS_MAX: u64 = 120_000;

/// How long a command may take, in seconds.
const TIMEOUT_SECONDS: u64 = 1_800;

/// The longest that a command may take, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 86_400;

/// The longest command, in bytes: people must be able to read what they approve.
const COMMAND_BYTES_MAX: usize = 16 << 10;

/// Characters of output in an answer.
const AGGREGATED_CHARS: usize = 30_000;

/// Characters of output in the answer of a command that goes on.
const TAIL_CHARS: usize = 2_000;

/// The section `tools.exec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// `deny`, `allowlist` or `full`. Default: `allowlist`, and `full` in a sandbox.
    pub security: Option<String>,
    /// `off`, `on-miss` or `always`. Default: `on-miss`.
    pub ask: Option<String>,
    /// `sandbox`, `gateway` or `node`. Default: `sandbox`, which is the gateway's host where there is none.
    pub host: Option<String>,
    /// The device of `node`. Default: the only one that runs programs.
    pub node: Option<String>,
    /// Folders before the search path.
    pub path_prepend: Vec<String>,
    /// Programs that count as filters.
    pub safe_bins: Option<Vec<String>>,
    /// When a command goes on in the background, in milliseconds. Default: 10,000.
    pub background_ms: Option<u64>,
    /// How long a command may take, in seconds. Default: 1,800.
    pub timeout_sec: Option<u64>,
    /// How long ended commands are remembered, in milliseconds. Default: 30 minutes.
    pub cleanup_ms: Option<u64>,
    /// The tool `apply_patch`.
    pub apply_patch: ApplyPatch,
}

/// The section `tools.exec.applyPatch`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ApplyPatch {
    /// Whether it is offered. Default: no.
    pub enabled: bool,
    /// To which models. Default: all.
    pub allow_models: Vec<String>,
}

/// The tool `exec`.
#[derive(Debug)]
pub struct Exec {
    /// Where programs are kept.
    pub jobs: Jobs,
    /// Who is asked.
    pub approver: Arc<dyn Approver>,
    /// The sections `tools.exec` of all agents and of this one.
    pub config: Config,
    /// The gateway's own environment.
    pub env: Env,
    /// What programs may touch; none: whatever the gateway may.
    pub sandbox: Option<Sandbox>,
    /// What programs are wrapped in instead.
    pub wrapper: Option<Wrapper>,
    /// Why nothing may be run at all: the sandbox that is configured would be none.
    pub unusable: Option<String>,
    /// Why there is no sandbox although there should be one.
    pub warning: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    command: String,
    workdir: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    yield_ms: Option<u64>,
    #[serde(default)]
    background: bool,
    timeout: Option<u64>,
    #[serde(default)]
    pty: bool,
}

/// A command that was looked at.
struct Read {
    /// None: it is not understood, or a program of it is not there.
    script: Option<(Script, Vec<Binary>)>,
    /// Whether all of it is on the list.
    listed: bool,
}

impl Tool for Exec {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "command": {"type": "string", "description": "The command line"},
                "workdir": {"type": "string", "description": "Folder to begin in. Default: the workspace"},
                "env": {"type": "object", "additionalProperties": {"type": "string"}},
                "yieldMs": {"type": "number", "description": "Wait so long, then let it go on in the background (default 10000)"},
                "background": {"type": "boolean", "description": "Let it go on in the background at once"},
                "timeout": {"type": "number", "description": "Seconds after which it is killed (default 1800)"},
                "pty": {"type": "boolean", "description": "Give it a terminal"},
            });
            Spec::new(
                "exec",
                "Runs a command on the gateway's host. Long ones go on in the background; see process.",
                properties,
                &["command"],
            )
            .into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            let folder = folder(&wanted, scene)?;
            let variables = self.variables(&wanted, scene)?;
            let plan = self.permitted(&wanted, scene, &folder, variables).await?;
            self.run(plan, &wanted, scene).await
        }
        .boxed()
    }
}

impl Exec {
    fn variables(&self, wanted: &Arguments, scene: &Scene) -> Result<BTreeMap<String, String>, Refused> {
        if let Some(name) = wanted.env.keys().find(|name| !environment::may_bring(name)) {
            return Err(Refused::Forbidden(format!("the variable {name:?} may not be set")));
        }
        let mut variables = environment::inherited(&self.env, &self.config.path_prepend);
        let brought = scene.variables.iter().filter(|(name, _)| environment::may_bring(name));
        variables.extend(brought.cloned());
        variables.extend(wanted.env.clone());
        if self.sandbox.is_some() || self.wrapper.is_some() {
            variables.insert("TMPDIR".to_owned(), scene.workspace.display().to_string());
        }
        Ok(variables)
    }

    /// Returns what is to be run, if it may be.
    async fn permitted(
        &self,
        wanted: &Arguments,
        scene: &Scene,
        folder: &Path,
        variables: BTreeMap<String, String>,
    ) -> Result<Plan, Refused> {
        if let Some(reason) = &self.unusable {
            return Err(Refused::Forbidden(format!("exec denied: {reason}")));
        }
        if wanted.command.len() > COMMAND_BYTES_MAX {
            return Err(Refused::Arguments(format!("the command is longer than {COMMAND_BYTES_MAX} bytes; write a script")));
        }
        let rules = self.rules(scene).await?;
        let read = self.read(wanted, folder, &variables, &rules);
        let binaries = read.script.as_ref().map(|(_, binaries)| binaries.clone()).unwrap_or_default();
        let binding = Binding::new(binaries, folder);
        match rules.judge(read.listed) {
            Verdict::Run => {}
            Verdict::Deny => return Err(Refused::Forbidden(format!("exec denied: security={}", rules.security.as_str()))),
            Verdict::Ask => self.ask(wanted, scene, &rules, (&read, folder)).await?,
        }
        if !binding.holds() {
            return Err(Refused::Forbidden("exec denied: a program or the folder has changed since it was approved".to_owned()));
        }
        let (program, words) = match &read.script {
            // One program needs no shell.
            Some((script, binaries)) if script.joints.is_empty() => (binaries[0].found.clone(), script.steps[0][1..].to_vec()),
            Some((script, binaries)) => {
                let programs: Vec<String> = binaries.iter().map(|binary| binary.found.display().to_string()).collect();
                (PathBuf::from("/bin/sh"), vec!["-c".to_owned(), script.render(&programs)])
            }
            None => (PathBuf::from("/bin/sh"), vec!["-c".to_owned(), wanted.command.clone()]),
        };
        let plan = Plan { program, arguments: words, folder: folder.to_owned(), variables, sandbox: self.sandbox.clone(), cleanup: None };
        Ok(match &self.wrapper {
            Some(wrapper) => {
                let brought = scene.variables.iter().filter(|(name, _)| environment::may_bring(name)).cloned().chain(wanted.env.clone());
                let id = uuid::Uuid::new_v4().simple().to_string();
                wrapper.wrap(plan, &wanted.command, &brought.collect(), &format!("{}-{}", scene.agent, &id[..8]))
            }
            None => plan,
        })
    }

    async fn rules(&self, scene: &Scene) -> Result<Rules, Refused> {
        let file = self.approver.rules(&scene.agent).await?;
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let default =
            if self.sandbox.is_some() || self.wrapper.is_some() { (Security::Full, Ask::Off) } else { (Security::Allowlist, Ask::OnMiss) };
        let unknown = |key: &str, word: &str| Refused::Failed(format!("tools.exec.{key} has no value \"{word}\"; nothing is run"));
        let security = match self.config.security.as_deref() {
            Some(word) => Security::parse(word).ok_or_else(|| unknown("security", word))?,
            None => default.0,
        };
        let ask = match &self.config.ask {
            Some(_) => Ask::parse(&word(&self.config.ask)).ok_or_else(|| unknown("ask", &word(&self.config.ask)))?,
            None => default.1,
        };
        let fallback = file.fallback.unwrap_or(Security::Deny);
        Ok(Rules { security, ask, fallback, allowlist: file.allowlist }.tightened(file.security, file.ask))
    }

    fn read(&self, wanted: &Arguments, folder: &Path, variables: &BTreeMap<String, String>, rules: &Rules) -> Read {
        let Ok(script) = Script::parse(&wanted.command) else { return Read { script: None, listed: false } };
        let env = Env::from_pairs(variables.clone());
        let found: Option<Vec<Binary>> = script.steps.iter().map(|step| Binary::find(step.first()?, folder, &env)).collect();
        let Some(binaries) = found else { return Read { script: None, listed: false } };
        let safe = self.config.safe_bins.clone().unwrap_or_else(filters::names);
        let home = self.env.get("HOME").map(Path::new);
        let listed = |(argv, binary): (&Vec<String>, &Binary)| safety::listed(binary, argv, rules, &safe, home);
        // Variables of the call's own may change what a listed program does.
        let listed = wanted.env.is_empty() && script.steps.iter().zip(&binaries).all(listed);
        Read { script: Some((script, binaries)), listed }
    }

    async fn ask(&self, wanted: &Arguments, scene: &Scene, rules: &Rules, (read, folder): (&Read, &Path)) -> Result<(), Refused> {
        let set: String = wanted.env.iter().flat_map(|(name, value)| [name, "=", value, " "]).collect();
        let resolved = read.script.as_ref().filter(|(_, binaries)| binaries.len() == 1).map(|(_, binaries)| binaries[0].real.clone());
        let question = Question {
            command: visible(&format!("{set}{}", wanted.command)),
            folder: folder.to_owned(),
            agent: scene.agent.clone(),
            session: scene.session.clone(),
            security: rules.security,
            ask: rules.ask,
            resolved,
        };
        scene.progress.say("approval-pending");
        let decision = tokio::select! {
            decision = self.approver.ask(question) => decision?,
            () = scene.cancelled.cancelled() => return Err(Refused::Failed("the run ended".to_owned())),
        };
        match decision {
            Decision::Once | Decision::Always => Ok(()),
            Decision::Deny => Err(Refused::Forbidden("exec denied: user-denied".to_owned())),
            Decision::Unanswered if rules.judge_unanswered(read.listed) => Ok(()),
            Decision::Unanswered => Err(Refused::Forbidden("exec denied: approval-timeout".to_owned())),
        }
    }

    async fn run(&self, plan: Plan, wanted: &Arguments, scene: &Scene) -> Result<Answer, Refused> {
        let seconds = wanted.timeout.or(self.config.timeout_sec).unwrap_or(TIMEOUT_SECONDS).clamp(1, TIMEOUT_SECONDS_MAX);
        let order = Order {
            plan,
            agent: scene.agent.clone(),
            command: wanted.command.clone(),
            terminal: wanted.pty,
            timeout: Some(Duration::from_secs(seconds)),
        };
        let job = self.jobs.start(order).await.map_err(|error| Refused::failed("the command could not be started", error))?;
        let patience = wanted.yield_ms.or(self.config.background_ms).unwrap_or(YIELD_MS).min(YIELD_MS_MAX);
        let patience = if wanted.background { Duration::ZERO } else { Duration::from_millis(patience) };
        // Until the call has returned, the program belongs to the run, and ends with it.
        let guard = Leash(&job, true);
        let ended = tokio::select! {
            (ended, duration) = job.wait() => Some((ended, duration)),
            () = tokio::time::sleep(patience) => None,
            () = scene.cancelled.cancelled() => return Err(Refused::Failed("the run ended, and the command with it".to_owned())),
        };
        guard.release();
        let answer = match ended {
            Some((ended, duration)) => finished(&job, ended, duration),
            None => going_on(&job),
        };
        Ok(self.with_warning(answer))
    }

    fn with_warning(&self, mut answer: Answer) -> Answer {
        if let Some(warning) = &self.warning {
            answer.blocks.insert(0, crate::tool::Block::Text(format!("Warning: {warning}")));
            answer.details["warning"] = json!(warning);
        }
        answer
    }
}

/// Kills a program unless it was released: the call's future may simply be dropped.
struct Leash<'a>(&'a Job, bool);

impl Leash<'_> {
    fn release(mut self) {
        self.1 = false;
    }
}

impl Drop for Leash<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.kill();
        }
    }
}

fn folder(wanted: &Arguments, scene: &Scene) -> Result<PathBuf, Refused> {
    let folder = match wanted.workdir.as_deref().map(str::trim).filter(|folder| !folder.is_empty()) {
        Some(folder) => scene.workspace.join(folder),
        None => scene.workspace.clone(),
    };
    folder
        .canonicalize()
        .ok()
        .filter(|folder| folder.is_dir())
        .ok_or_else(|| Refused::Arguments(format!("there is no folder {}", folder.display())))
}

fn finished(job: &Job, ended: Ended, duration: Duration) -> Answer {
    let (words, code) = match ended {
        Ended::Exited(0) => (String::new(), Some(0)),
        Ended::Exited(code) => (format!("\n\nCommand exited with code {code}"), Some(code)),
        Ended::Signalled(signal) => (format!("\n\nCommand was ended by signal {signal}"), None),
        Ended::TimedOut => ("\n\nCommand took too long and was killed".to_owned(), None),
        Ended::Cancelled => ("\n\nCommand was killed".to_owned(), None),
    };
    let aggregated = job.tail(AGGREGATED_CHARS);
    let shown = if aggregated.trim().is_empty() { "(no output)" } else { aggregated.trim_end() };
    let failed = ended != Ended::Exited(0);
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let status = if failed { "failed" } else { "completed" };
    let details = json!({"status": status, "exitCode": code, "durationMs": milliseconds, "aggregated": aggregated, "cwd": job.folder});
    Answer { is_error: failed, ..Answer::text(format!("{shown}{words}")).with_details(details) }
}

fn going_on(job: &Job) -> Answer {
    let (id, pid, tail) = (&job.id, job.pid, job.tail(TAIL_CHARS));
    let text =
        format!("Command still running (session {id}, pid {pid}). Use process (list, poll, log, write, kill) for follow-up.\n\n{tail}");
    Answer::text(text).with_details(json!({"status": "running", "sessionId": id, "pid": pid, "tail": tail, "cwd": job.folder}))
}
