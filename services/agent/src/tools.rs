//! The tools of a turn: which there are, which of them its session may use, and what stands behind them.

mod approvals;
mod config;
mod invoke;
mod nodes;
mod sandboxes;
mod sessions;
mod spawn;
mod status;

use std::path::PathBuf;
use std::sync::Arc;

use verso_kit::config::Env;
use verso_kit::peer::Peer;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_tools::exec::{Exec, Jobs, Process};
use verso_tools::files::{ApplyPatch, Edit, Read, Write};
use verso_tools::memory::{MemoryGet, MemorySearch};
use verso_tools::policy::Situation;
use verso_tools::skills::{Shelf, Skill};
use verso_tools::tool::Tool;
use verso_tools::toolset::Toolset;
use verso_tools::web::{WebFetch, WebSearch};

use crate::error::Error;
use crate::keys::SessionKey;
use crate::models::Model;
use crate::provider::ToolSpec;
use crate::roster::Profile;
use crate::runs::Runs;
use approvals::Approvals;
use config::Config;
pub(crate) use invoke::invoke;

/// The folder, in the service's own, that holds notes of running programs.
const PROCESSES: &str = "processes";

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
    strength: tokio::sync::OnceCell<verso_tools::sandbox::Strength>,
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
            env: context.env.clone(),
            config,
            node,
            strength: tokio::sync::OnceCell::new(),
        })
    }

    /// Equips a turn.
    pub(crate) async fn equip(&self, turn: &Turn<'_>, skill_shelf: &Shelf) -> Equipment {
        let confinement = self.confinement(turn).await;
        let sandboxed = confinement.wanted;
        let mut tools: Vec<Arc<dyn Tool>> = vec![
            Arc::new(Read { also: skill_folders(turn.skills) }),
            Arc::new(Process { jobs: self.jobs.clone() }),
            Arc::new(nodes::Nodes::new(self.node.clone())),
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
        tools.push(Arc::new(Exec {
            jobs: self.jobs.clone(),
            approver: self.approvals.clone(),
            config: self.config.exec(turn.profile.id.as_str()),
            env: self.env.clone(),
            sandbox: confinement.sandbox,
            warning: confinement.warning,
        }));
        tools.extend(sessions::tools(turn, &self.config, sandboxed));
        tools.extend(self.shared.iter().cloned());
        let mut set = Toolset::new(tools, &self.situation(turn, &turn.models[0], sandboxed));
        // Whoever stands in for a model is held to its own rules, too.
        for model in &turn.models[1..] {
            set.narrow(&self.situation(turn, model, sandboxed));
        }
        let specs = set.specs().map(|spec| ToolSpec {
            name: spec.name.clone(),
            description: spec.description.clone(),
            parameters: spec.parameters.clone(),
        });
        Equipment { specs: specs.collect(), set, variables: skill_shelf.variables(turn.skills).into_iter().collect() }
    }

    fn situation<'a>(&self, turn: &Turn<'_>, model: &'a Model, sandboxed: bool) -> Situation<'a> {
        let agent = self.config.agent(turn.profile.id.as_str());
        Situation {
            provider: &model.provider,
            model: &model.id,
            global: self.config.tools.rules.clone(),
            agent: agent.map(|agent| agent.tools.rules.clone()).unwrap_or_default(),
            group: self.config.group_rules(turn.key),
            sandbox: sandboxed.then(|| self.config.tools.sandbox.tools.clone()),
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

fn shared(config: &Config, env: &Env) -> Vec<Arc<dyn Tool>> {
    let mut tools: Vec<Arc<dyn Tool>> = vec![Arc::new(MemorySearch), Arc::new(MemoryGet)];
    if config.tools.web.fetch.enabled != Some(false) {
        tools.push(Arc::new(WebFetch::new(config.tools.web.fetch.clone())));
    }
    tools.extend(WebSearch::new(config.tools.web.search.clone(), env).map(|tool| Arc::new(tool) as Arc<dyn Tool>));
    tools
}

fn skill_folders(skills: &[Skill]) -> Vec<PathBuf> {
    skills.iter().filter(|skill| skill.offered()).map(|skill| skill.folder.clone()).collect()
}
