//! The connection to the gateway, and the commands that come over it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};
use verso_client::{Options, Reconnecting, Update};
use verso_kit::CancellationToken;
use verso_kit::config::Env;
use verso_kit::tasks::Tasks;
use verso_proto::node::v1::ExecApprovalsFile;

use crate::Error;
use crate::ask::Questions;
use crate::binary::which;
use crate::notify;
use crate::policy::Policy;
use crate::repeats::{Begun, Outcome, Repeats};
use crate::run::chunks;
use crate::system_run::{Runner, Wanted};

/// How many commands are carried out at a time.
const COMMANDS_MAX: usize = 32;

/// Between two reports of this machine's load.
const STATS_PAUSE: Duration = Duration::from_mins(1);

/// How many programs are looked for at a time.
const BINS_MAX: usize = 256;

/// How much of a command's output goes out at a time, in characters: the gateway takes 16,384.
const PROGRESS_CHARS_MAX: usize = 8_192;

/// What this node offers.
const COMMANDS: [&str; 5] = ["system.run", "system.which", "system.notify", "system.execApprovals.get", "system.execApprovals.set"];

/// How to be a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach the gateway, and as which device. Role, capabilities and commands are filled in here.
    pub options: Options,
    /// Holds the file of rules.
    pub folder: PathBuf,
    /// This process's environment.
    pub env: Env,
}

/// One command of the gateway's.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    id: String,
    node_id: String,
    command: String,
    #[serde(rename = "paramsJSON")]
    params_json: Option<String>,
    idempotency_key: Option<String>,
}

impl Invocation {
    /// What the command is called by its caller; one without a name is its own.
    fn name(&self) -> String {
        self.idempotency_key
            .as_ref()
            .map_or_else(|| self.id.clone(), |key| format!("{}\n{key}\n{}", self.command, self.params_json.as_deref().unwrap_or_default()))
    }
}

/// The node.
struct Host {
    gateway: Reconnecting,
    runner: Runner,
    tasks: Tasks,
    repeats: Mutex<Repeats>,
    /// What ends a command, by its name.
    cancels: Mutex<BTreeMap<String, CancellationToken>>,
}

/// Is a node of the gateway until the shutdown, or until the gateway will not have it.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let Config { mut options, folder, env } = config;
    "node".clone_into(&mut options.role);
    options.scopes = Some(Vec::new());
    options.caps = vec!["system".to_owned()];
    options.commands = COMMANDS.map(str::to_owned).to_vec();
    let home = env.get("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let policy = Policy::new(folder.join("exec-approvals.json"), home);
    let gateway = Reconnecting::start(options);
    let mut updates = gateway.updates();
    let tasks = Tasks::new(shutdown.child_token());
    let host = Arc::new(Host {
        gateway,
        runner: Runner { env, policy, questions: Questions::default() },
        tasks: tasks.clone(),
        repeats: Mutex::default(),
        cancels: Mutex::default(),
    });
    let reporting = Arc::clone(&host);
    tasks.spawn("load", async move { reporting.report_load().await });
    let ended = loop {
        let update = tokio::select! {
            update = updates.next() => update,
            () = tasks.shutdown().cancelled() => break Ok(()),
        };
        match update {
            Some(Update::GaveUp(error)) => break Err(Error::Refused(error)),
            Some(update) => Host::take(&host, update),
            None => break Ok(()),
        }
    };
    tasks.shutdown().cancel();
    host.cancel_all();
    drop(host);
    tasks.join().await;
    ended
}

impl Host {
    fn take(host: &Arc<Self>, update: Update) {
        match update {
            Update::Connected(hello) => {
                info!(conn = hello.conn_id, "connected to the gateway");
                let greeting = Arc::clone(host);
                host.tasks.spawn("load", async move { greeting.tell_load().await });
            }
            Update::Event(event) => match event.name.as_str() {
                "node.invoke.request" => Self::invoked(host, &event.payload),
                "node.invoke.cancel" => host.cancelled(event.payload["invokeId"].as_str().unwrap_or_default()),
                "exec.approval.resolved" => host.runner.questions.decided(&event.payload),
                _ => {}
            },
            Update::Missed(count) => warn!(count, "events of the gateway were missed"),
            Update::Disconnected { reason, retry_in_ms } => info!(reason, retry_in_ms, "not connected to the gateway"),
            Update::PairingRequired(request) => {
                info!(request = request.request_id, "waiting for this node's approval: verso devices approve");
            }
            Update::GaveUp(_) => {}
        }
    }

    /// Begins a command, unless it is one that was begun before.
    fn invoked(host: &Arc<Self>, payload: &Value) {
        let Ok(invocation) = serde_json::from_value::<Invocation>(payload.clone()) else {
            return warn!("a command that cannot be read");
        };
        let name = invocation.name();
        let (begun, count) = {
            let mut repeats = host.repeats();
            (repeats.begin(&name, &invocation.id), repeats.count())
        };
        let working = Arc::clone(host);
        match begun {
            Begun::UnderWay => {}
            Begun::Ended(outcome) => {
                host.tasks.spawn("answer", async move { working.answer(&invocation.node_id, &invocation.id, &outcome).await });
            }
            Begun::New if count > COMMANDS_MAX => host.tasks.spawn("answer", async move {
                let busy = Err(("UNAVAILABLE", format!("this node carries out {COMMANDS_MAX} commands already")));
                working.end(&invocation, &name, &busy, false).await;
            }),
            Begun::New => {
                let cancel = host.tasks.shutdown().child_token();
                host.cancels().insert(name.clone(), cancel.clone());
                host.tasks.spawn("command", async move {
                    let outcome = working.carry_out(&invocation, cancel.clone()).await;
                    working.cancels().remove(&name);
                    let keep = !matches!(outcome, Err(Error::Cancelled));
                    let outcome = outcome.map_err(|error| (error.code(), error.to_string()));
                    working.end(&invocation, &name, &outcome, keep).await;
                });
            }
        }
    }

    /// The gateway does not wait for a command any more.
    fn cancelled(&self, id: &str) {
        let name = self.repeats().leave(id);
        if let Some(cancel) = name.and_then(|name| self.cancels().get(&name).cloned()) {
            cancel.cancel();
        }
    }

    async fn carry_out(self: &Arc<Self>, invocation: &Invocation, cancel: CancellationToken) -> Result<Value, Error> {
        let params = match invocation.params_json.as_deref() {
            None => json!({}),
            Some(text) => serde_json::from_str(text).map_err(|error| Error::Invalid(format!("unreadable params: {error}")))?,
        };
        match invocation.command.as_str() {
            "system.run" => self.system_run(invocation, params, cancel).await,
            "system.which" => which_of(&params, &self.runner.env),
            "system.notify" => notify::show(params, &self.runner.env, cancel).await,
            "system.execApprovals.get" => self.runner.policy.show(),
            "system.execApprovals.set" => self.replace_rules(params).await,
            _ => Err(Error::Denied(format!("this node does not know {}", invocation.command))),
        }
    }

    async fn replace_rules(&self, params: Value) -> Result<Value, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Replacement {
            file: ExecApprovalsFile,
            base_hash: Option<String>,
        }
        let read = serde_json::from_value::<Replacement>(params);
        let Replacement { file, base_hash } = read.map_err(|error| Error::Invalid(format!("exec approvals file is required: {error}")))?;
        self.runner.policy.replace(file, base_hash.as_deref()).await
    }

    async fn system_run(self: &Arc<Self>, invocation: &Invocation, params: Value, cancel: CancellationToken) -> Result<Value, Error> {
        let wanted = Wanted::parse(params)?;
        let admitted = tokio::select! {
            admitted = self.runner.admit(&wanted, &self.gateway) => admitted,
            () = cancel.cancelled() => Err(Error::Cancelled),
        };
        let program = match admitted {
            Ok(program) => program,
            Err(error) => {
                self.tell("exec.denied", wanted.report(json!({"reason": error.to_string()}))).await;
                return Err(error);
            }
        };
        self.tell("exec.started", wanted.report(json!({}))).await;
        let (sender, mut output) = chunks();
        let following = async {
            let mut seq = 0_u64;
            while let Some(chunk) = output.recv().await {
                for part in parts(&chunk) {
                    seq += 1;
                    let progress = json!({"invokeId": invocation.id, "nodeId": invocation.node_id, "seq": seq, "chunk": part});
                    // An older gateway does not know this, and the whole output comes with the answer.
                    drop(self.gateway.call("node.invoke.progress", progress).await);
                }
            }
        };
        let (ended, ()) = tokio::join!(self.runner.run(program, sender, cancel), following);
        let ended = ended?;
        self.tell("exec.finished", wanted.report(ended.report())).await;
        Ok(ended.payload())
    }

    async fn end(&self, invocation: &Invocation, name: &str, outcome: &Outcome, keep: bool) {
        let ids = self.repeats().end(name, outcome, keep);
        for id in ids {
            self.answer(&invocation.node_id, &id, outcome).await;
        }
    }

    /// Answers the gateway. When it does not hear, whoever asks again gets the answer that is kept.
    async fn answer(&self, node_id: &str, id: &str, outcome: &Outcome) {
        let mut result = json!({"id": id, "nodeId": node_id, "ok": outcome.is_ok()});
        match outcome {
            Ok(payload) => result["payloadJSON"] = payload.to_string().into(),
            Err((code, message)) => result["error"] = json!({"code": code, "message": message}),
        }
        if let Err(error) = self.gateway.call("node.invoke.result", result).await {
            warn!(error = &error as &dyn std::error::Error, "an answer was not delivered");
        }
    }

    async fn tell(&self, event: &str, payload: Value) {
        if let Err(error) = self.gateway.call("node.event", json!({"event": event, "payload": payload})).await {
            warn!(event, error = &error as &dyn std::error::Error, "the gateway was not told");
        }
    }

    async fn report_load(&self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(STATS_PAUSE) => self.tell_load().await,
                () = self.tasks.shutdown().cancelled() => return,
            }
        }
    }

    async fn tell_load(&self) {
        if let Some(load) = load() {
            self.tell("node.host.stats", load).await;
        }
    }

    fn cancel_all(&self) {
        for cancel in self.cancels().values() {
            cancel.cancel();
        }
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancels(&self) -> MutexGuard<'_, BTreeMap<String, CancellationToken>> {
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parts(chunk: &str) -> Vec<String> {
    let letters: Vec<char> = chunk.chars().collect();
    letters.chunks(PROGRESS_CHARS_MAX).map(|part| part.iter().collect()).collect()
}

/// Where programs are.
fn which_of(params: &Value, env: &Env) -> Result<Value, Error> {
    let bins = params["bins"].as_array().ok_or_else(|| Error::Invalid("bins required".to_owned()))?;
    let path = env.get("PATH").unwrap_or(crate::environment::PATH);
    let found = bins.iter().take(BINS_MAX).filter_map(Value::as_str);
    let found: BTreeMap<_, _> = found.filter_map(|bin| Some((bin.trim().to_owned(), which(bin.trim(), path)?))).collect();
    Ok(json!({"bins": found}))
}

/// The load of this machine; none where the system does not say.
#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_wraps, reason = "other systems do not say")]
fn load() -> Option<Value> {
    /// What the system's numbers of load are multiples of.
    const LOAD_UNIT: f64 = 65_536.0;
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    #[allow(clippy::cast_precision_loss, reason = "loads are small")]
    let averages = info.loads.map(|load| load as f64 / LOAD_UNIT);
    Some(json!({
        "cpuCount": cpus, "loadAverage": averages,
        "memoryTotalBytes": info.totalram * unit, "memoryFreeBytes": info.freeram * unit,
    }))
}

/// The load of this machine; none where the system does not say.
#[cfg(not(target_os = "linux"))]
fn load() -> Option<Value> {
    None
}
