//! The tools of a turn: which there are, which of them its session may use, and what stands behind them.

mod approvals;
mod canvas;
mod config;
mod cron;
mod devices;
mod gateway;
mod image;
mod invoke;
mod message;
mod nodes;
mod remote_exec;
mod sandboxes;
mod sessions;
mod spawn;
mod status;
mod vectors;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use verso_kit::config::Env;
use verso_kit::peer::Peer;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_tools::exec::{Exec, Jobs, Process};
use verso_tools::files::{ApplyPatch, Edit, Read, Write};
use verso_tools::mcp::Servers;
use verso_tools::memory::{Embed, MemoryGet, MemorySearch};
use verso_tools::policy::Situation;
use verso_tools::skills::{Shelf, Skill};
use verso_tools::tool::Tool;
use verso_tools::toolset::Toolset;
use verso_tools::web::{WebFetch, WebSearch};

use crate::cron::Cron;
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::models::Model;
use crate::provider::ToolSpec;
use crate::roster::Profile;
use crate::runs::{Origin, Runs};
use approvals::Approvals;
use config::Config;
pub(crate) use invoke::{Single, invoke, single};
use sandboxes::Confinement;

/// The folder, in the service's own, that holds notes of running programs.
const PROCESSES: &str = "processes";

/// The folder, in the service's own, that programs of MCP servers begin in.
const MCP: &str = "mcp";

/// The folder, in the service's own, that holds vectors of what is in memories.
const MEMORY: &str = "memory";

/// Names that a caller's own tools cannot have. With any other name of ours, the caller's tool is the one that is offered.
pub(crate) const RESERVED: [&str; 4] = ["session_status", "exec", "process", "message"];

/// What stands behind the tools of all turns.
#[derive(Debug)]
pub(crate) struct Toolbox {
    config: Config,
    env: Env,
    jobs: Jobs,
    approvals: Arc<Approvals>,
    node: Peer,
    channel: Peer,
    edge: Peer,
    supervisor: Peer,
    /// Lent, not given: whoever keeps the jobs also keeps this.
    cron: OnceLock<Weak<Cron>>,
    mcp: Servers,
    canvas: Peer,
    strength: tokio::sync::OnceCell<verso_tools::sandbox::Strength>,
    /// Found once, when they are first wanted.
    bubblewrap: tokio::sync::OnceCell<Option<PathBuf>>,
    docker: tokio::sync::OnceCell<Option<PathBuf>>,
    state_dir: PathBuf,
    /// Where vectors of what is in memories are kept.
    memory: PathBuf,
    /// Tools that are the same for every turn.
    shared: Vec<Arc<dyn Tool>>,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) runs: &'a Runs,
    pub(crate) key: &'a SessionKey,
    pub(crate) profile: &'a Profile,
    /// Those that may answer, the preferred first; never empty.
    pub(crate) models: &'a [Arc<Model>],
    pub(crate) skills: &'a [Skill],
    /// Where the message comes from, if it is from a chat network.
    pub(crate) origin: Option<&'a Origin>,
    /// The account of that network, or of the session's last message, if there is one.
    pub(crate) account: Option<&'a str>,
    /// How programs are to be run in this session.
    pub(crate) exec: ExecWishes,
}

/// What a session, or one message, says about programs.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecWishes {
    /// `deny`, `allowlist` or `full`.
    pub(crate) security: Option<String>,
    /// `off`, `on-miss` or `always`.
    pub(crate) ask: Option<String>,
    /// `sandbox`, `gateway` or `node`.
    pub(crate) host: Option<String>,
    /// The device of `node`.
    pub(crate) node: Option<String>,
    /// `off`, `on`, `ask` or `full`.
    pub(crate) elevated: Option<String>,
    /// The network that the message comes from, and its sender's id there.
    pub(crate) sender: Option<(String, String)>,
    /// Whether the message that is answered has the owner's authority: nobody else leads programs out of a sandbox.
    pub(crate) by_owner: bool,
}

/// What a turn is equipped with.
#[derive(Debug, Default)]
pub(crate) struct Equipment {
    pub(crate) set: Toolset,
    /// The same for a model.
    pub(crate) specs: Vec<ToolSpec>,
    /// What skills bring to programs.
    pub(crate) variables: Vec<(String, String)>,
}

impl Toolbox {
    /// Reads the configuration, and ends what programs an earlier incarnation has left behind.
    pub(crate) fn open(context: &Context, tasks: &Tasks) -> Result<Self, Error> {
        let config = Config::read(&context.config)?;
        let node = context.peer("node");
        Ok(Self {
            jobs: Jobs::open(tasks.clone(), context.folder()?.join(PROCESSES), config.tools.exec.cleanup_ms),
            approvals: Arc::new(Approvals::new(node.clone())),
            shared: shared(&config, &context.env),
            memory: memory_folder(context)?,
            env: context.env.clone(),
            channel: context.peer("channel"),
            edge: context.peer("edge"),
            supervisor: context.peer("supervisor"),
            cron: OnceLock::new(),
            mcp: Servers::open(context.config.section("mcp.servers")?, tasks.clone(), context.env.clone(), mcp_folder(context)?),
            config,
            canvas: context.peer("canvas"),
            node,
            strength: tokio::sync::OnceCell::new(),
            bubblewrap: tokio::sync::OnceCell::new(),
            docker: tokio::sync::OnceCell::new(),
            state_dir: context.state_dir.clone(),
        })
    }

    /// Lends the jobs to the tool for them.
    pub(crate) fn lend(&self, cron: &Arc<Cron>) {
        // Set once, when the toolbox is made.
        drop(self.cron.set(Arc::downgrade(cron)));
    }

    /// Has the MCP servers follow another configuration. All toolboxes share them.
    pub(crate) fn use_servers(&self, section: std::collections::BTreeMap<String, serde_json::Value>) {
        self.mcp.apply(section);
    }

    /// Returns the edge, for what only it can change.
    pub(crate) fn edge(&self) -> &Peer {
        &self.edge
    }

    /// Says how the MCP servers are doing.
    pub(crate) fn servers(&self) -> Vec<verso_tools::mcp::Status> {
        self.mcp.status()
    }

    /// The same under another configuration. Programs that run, and what was allowed for good, are shared.
    pub(crate) fn renewed(&self, context: &Context) -> Result<Self, Error> {
        let config = Config::read(&context.config)?;
        Ok(Self {
            jobs: self.jobs.clone(),
            approvals: Arc::clone(&self.approvals),
            shared: shared(&config, &context.env),
            env: context.env.clone(),
            config,
            canvas: self.canvas.clone(),
            node: self.node.clone(),
            channel: self.channel.clone(),
            edge: self.edge.clone(),
            supervisor: self.supervisor.clone(),
            cron: OnceLock::new(),
            mcp: self.mcp.clone(),
            strength: self.strength.clone(),
            bubblewrap: self.bubblewrap.clone(),
            docker: self.docker.clone(),
            state_dir: self.state_dir.clone(),
            memory: self.memory.clone(),
        })
    }

    /// Whether programs of an agent may leave the sandbox for somebody with the owner's authority, on a network or not.
    pub(crate) fn may_elevate(&self, agent: &AgentId, sender: Option<(&str, &str)>) -> bool {
        self.config.may_elevate(agent.as_str(), sender)
    }

    /// Equips a turn.
    pub(crate) async fn equip(&self, turn: &Turn<'_>, skill_shelf: &Shelf) -> Equipment {
        let confinement = self.confinement(turn).await;
        let sandboxed = confinement.wanted;
        let mut tools: Vec<Arc<dyn Tool>> = vec![
            Arc::new(Read { also: skill_folders(turn.skills) }),
            Arc::new(Process { jobs: self.jobs.clone() }),
            Arc::new(nodes::Nodes::new(self.node.clone())),
            Arc::new(canvas::Canvas::new(self.node.clone(), self.canvas.clone())),
            Arc::new(status::SessionStatus { runs: turn.runs.clone(), model: Arc::clone(&turn.models[0]) }),
            Arc::new(status::AgentsList { runs: turn.runs.clone(), allowed: self.config.spawnable(turn.profile.id.as_str()) }),
        ];
        if confinement.writes {
            tools.push(Arc::new(Write));
            tools.push(Arc::new(Edit));
            if self.offers_patch(turn) {
                tools.push(Arc::new(ApplyPatch));
            }
        }
        tools.push(self.exec(turn, confinement));
        tools.extend(sessions::tools(turn, &self.config, sandboxed));
        tools.extend(self.reaching_out(turn));
        tools.extend(self.mcp.tools().await);
        tools.extend(self.shared.iter().cloned());
        let mut set = Toolset::new(tools, &self.situation(turn, &turn.models[0], sandboxed));
        // Whoever stands in for a model is held to its own rules, too.
        for model in &turn.models[1..] {
            set.narrow(&self.situation(turn, model, sandboxed));
        }
        let specs = set.specs().map(|spec| ToolSpec(Arc::clone(spec))).collect();
        Equipment { specs, set, variables: skill_shelf.variables(turn.skills).into_iter().collect() }
    }

    /// Returns the tool that runs programs: on a device, outside the sandbox, or wherever the configuration says.
    fn exec(&self, turn: &Turn<'_>, confinement: Confinement) -> Arc<dyn Tool> {
        let id = turn.profile.id.as_str();
        let config = self.config.exec_for(id, &turn.exec);
        let configured = self.config.exec(id).host;
        let elevated = self.config.elevation(id, &turn.exec).is_some();
        // The session's own word leads out of a sandbox only if the owner speaks.
        let counts = !confinement.wanted || turn.exec.by_owner || config.host == configured;
        let host = if counts { config.host.as_deref() } else { configured.as_deref() };
        if host == Some("node") && !elevated {
            return Arc::new(remote_exec::RemoteExec {
                node: self.node.clone(),
                device: config.node,
                denied: config.security.as_deref() == Some("deny"),
                timeout_seconds: config.timeout_sec,
            });
        }
        let Confinement { sandbox, wrapper, unusable, warning, .. } =
            if elevated || host == Some("gateway") { Confinement::default() } else { confinement };
        let (jobs, approver, env) = (self.jobs.clone(), self.approvals.clone(), self.env.clone());
        Arc::new(Exec { jobs, approver, config, env, sandbox, wrapper, unusable, warning })
    }

    /// Returns the tools that reach beyond the conversation: to chats, to jobs, to the gateway, to models that see.
    fn reaching_out(&self, turn: &Turn<'_>) -> Vec<Arc<dyn Tool>> {
        let mut tools: Vec<Arc<dyn Tool>> = vec![Arc::new(gateway::Gateway {
            edge: self.edge.clone(),
            supervisor: self.supervisor.clone(),
            runs: turn.runs.clone(),
            restarts: self.config.restarts,
        })];
        if let Some(cron) = self.cron.get() {
            tools.push(Arc::new(cron::CronTool { cron: cron.clone(), reach: sessions::Reach::of(turn, &self.config, false) }));
        }
        if !self.config.channels.is_empty() {
            let from =
                |origin: &Origin| message::Chat { channel: origin.channel.clone(), to: origin.to.clone(), thread: origin.thread.clone() };
            tools.push(Arc::new(message::Message {
                channel: self.channel.clone(),
                rules: self.config.tools.message.clone(),
                here: turn.origin.map(from).or_else(|| message::Chat::of(turn.key.as_str())),
                known: self.config.channels.clone(),
            }));
        }
        if self.config.memory.enabled != Some(false) {
            let embed = vectors::Embedder::of(turn.runs, turn.profile.id.as_str()).map(|embedder| Arc::new(embedder) as Arc<dyn Embed>);
            tools.push(Arc::new(MemorySearch { embed, folder: self.memory.clone(), query: self.config.memory.query.clone() }));
            tools.push(Arc::new(MemoryGet));
        }
        let seeing = turn.runs.parts.catalog.seeing(&turn.models[0]);
        if !seeing.is_empty() {
            tools.push(Arc::new(image::Image { runs: turn.runs.clone(), models: seeing }));
        }
        tools
    }

    fn situation<'a>(&self, turn: &Turn<'_>, model: &'a Model, sandboxed: bool) -> Situation<'a> {
        let agent = self.config.agent(turn.profile.id.as_str());
        Situation {
            provider: &model.provider,
            model: &model.id,
            global: self.config.tools.rules.clone(),
            agent: agent.map(|agent| agent.tools.rules.clone()).unwrap_or_default(),
            group: self.config.group_rules(turn.key, turn.account, turn.origin.map(|origin| origin.sender.as_str())),
            sandbox: sandboxed.then(|| self.config.sandbox_rules(turn.profile.id.as_str())),
            subagent: turn.key.is_subagent().then(|| self.config.tools.subagents.tools.clone()),
        }
    }

    /// Only models of one family were taught its format.
    fn offers_patch(&self, turn: &Turn<'_>) -> bool {
        let patch = &self.config.tools.exec.apply_patch;
        let model = &turn.models[0];
        let named = |name: &String| *name == model.id || *name == model.full_name();
        patch.enabled && model.provider.contains("openai") && (patch.allow_models.is_empty() || patch.allow_models.iter().any(named))
    }
}

fn mcp_folder(context: &Context) -> Result<PathBuf, Error> {
    let path = context.folder()?.join(MCP);
    verso_kit::files::create_private_dir(&path).map_err(|source| verso_kit::service::Error::Folder { path: path.clone(), source })?;
    Ok(path)
}

fn memory_folder(context: &Context) -> Result<PathBuf, Error> {
    let path = context.folder()?.join(MEMORY);
    verso_kit::files::create_private_dir(&path).map_err(|source| verso_kit::service::Error::Folder { path: path.clone(), source })?;
    Ok(path)
}

fn shared(config: &Config, env: &Env) -> Vec<Arc<dyn Tool>> {
    let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
    if config.tools.web.fetch.enabled != Some(false) {
        tools.push(Arc::new(WebFetch::new(config.tools.web.fetch.clone())));
    }
    tools.extend(WebSearch::new(config.tools.web.search.clone(), env).map(|tool| Arc::new(tool) as Arc<dyn Tool>));
    tools
}

fn skill_folders(skills: &[Skill]) -> Vec<PathBuf> {
    skills.iter().filter(|skill| skill.offered()).map(|skill| skill.folder.clone()).collect()
}
