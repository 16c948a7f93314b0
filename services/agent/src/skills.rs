//! Skills as clients see them: which there are, what they lack, and installing that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use verso_kit::error::{WireCode, WireError};
use verso_proto::Json;
use verso_proto::agent::v1::{
    SkillConfigCheck, SkillEntry, SkillInstallOption, SkillNeeds, SkillsBinsResponse, SkillsInstallRequest, SkillsInstallResponse,
    SkillsStatusRequest, SkillsStatusResponse,
};
use verso_tools::skills::{self, InstallError, Needs, Skill};

use crate::parts::Parts;
use crate::roster::Profile;
use crate::runs::Runs;

/// How long an installation may take unless the request says, in milliseconds.
const INSTALL_MS: i64 = 300_000;

/// The longest that an installation may take, in milliseconds.
const INSTALL_MS_MAX: i64 = 900_000;

/// Why something cannot be done to a skill.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such skill.
    #[error("Skill not found: {0}")]
    Unknown(String),
    /// The skill has no such way to install what it needs.
    #[error("Installer not found: {0}")]
    UnknownInstaller(String),
    /// Nothing was installed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A task that reads the disk has died.
    #[error("the skills could not be read")]
    Read(#[source] tokio::task::JoinError),
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::Unknown(_) | Self::UnknownInstaller(_) => WireCode::InvalidRequest,
            Self::Install(_) => WireCode::Unavailable,
            Self::Read(_) => WireCode::Fault,
        }
    }

    fn details(&self) -> Option<serde_json::Value> {
        let Self::Install(InstallError::Failed { outcome, .. }) = self else { return None };
        Some(serde_json::json!({"code": outcome.code, "stdout": outcome.stdout, "stderr": outcome.stderr}))
    }
}

/// Lists the skills that an agent sees.
pub(crate) async fn status(runs: &Runs, request: SkillsStatusRequest) -> Result<SkillsStatusResponse, crate::Error> {
    let parts = &runs.parts;
    let named = parts.roster.named("skills.status", request.agent_id.as_deref())?;
    let (agent, _) = parts.roster.session("skills.status", named.as_ref(), request.session_key.as_deref())?;
    let workspace = parts.roster.get(&agent).workspace;
    let found = load(parts, &workspace).await?;
    Ok(SkillsStatusResponse {
        workspace_dir: workspace.display().to_string(),
        managed_skills_dir: parts.skills.managed().display().to_string(),
        skills: found.into_iter().map(entry).collect(),
    })
}

/// Lists the programs that the skills of any agent ask for.
pub(crate) async fn bins(runs: &Runs) -> Result<SkillsBinsResponse, crate::Error> {
    let (shelf, workspaces) = (runs.parts.skills.clone(), workspaces(&runs.parts));
    let read = tokio::task::spawn_blocking(move || shelf.programs(workspaces.iter().map(PathBuf::as_path)));
    Ok(SkillsBinsResponse { bins: read.await.map_err(Error::Read)?.into_iter().collect() })
}

/// Installs what a skill asks for.
pub(crate) async fn install(runs: &Runs, request: SkillsInstallRequest) -> Result<SkillsInstallResponse, crate::Error> {
    let workspace = runs.parts.roster.get(&runs.parts.roster.naming.default_agent).workspace;
    let found = load(&runs.parts, &workspace).await?;
    let named = |skill: &&Skill| skill.manifest.name == request.name || skill.manifest.key == request.name;
    let skill = found.iter().find(named).ok_or(Error::Unknown(request.name.clone()))?;
    let option = skill.manifest.install.iter().find(|option| option.id == request.install_id);
    let option = option.ok_or(Error::UnknownInstaller(request.install_id.clone()))?;
    let wait_ms = request.timeout_ms.unwrap_or(INSTALL_MS).clamp(1, INSTALL_MS_MAX);
    let installed = skills::install(option, runs.parts.skills.env(), Duration::from_millis(wait_ms.unsigned_abs())).await;
    let installed = installed.map_err(Error::from)?;
    Ok(SkillsInstallResponse {
        ok: true,
        message: "Installed".to_owned(),
        stdout: installed.stdout,
        stderr: installed.stderr,
        code: installed.code.map(i64::from),
    })
}

/// Loads the skills that an agent uses.
pub(crate) async fn of_agent(parts: &Parts, profile: &Profile) -> Result<Vec<Skill>, Error> {
    Ok(chosen(load(parts, &profile.workspace).await?, profile))
}

/// Returns those of the skills that are there which an agent uses: all, unless it is limited to some.
pub(crate) fn chosen(mut found: Vec<Skill>, profile: &Profile) -> Vec<Skill> {
    if let Some(only) = &profile.skills {
        found.retain(|skill| only.iter().any(|name| *name == skill.manifest.name || *name == skill.manifest.key));
    }
    found
}

/// Returns what loads the skills that are there for an agent at `workspace`, on a thread that may wait for the disk.
pub(crate) fn loader(parts: &Parts, workspace: &Path) -> impl FnOnce() -> Vec<Skill> + Send + 'static {
    let (shelf, workspace) = (parts.skills.clone(), workspace.to_owned());
    move || shelf.load(&workspace)
}

async fn load(parts: &Parts, workspace: &Path) -> Result<Vec<Skill>, Error> {
    tokio::task::spawn_blocking(loader(parts, workspace)).await.map_err(Error::Read)
}

fn workspaces(parts: &Parts) -> Vec<PathBuf> {
    parts.roster.agents().iter().map(|agent| agent.workspace.clone()).collect()
}

fn entry(skill: Skill) -> SkillEntry {
    let eligible = skill.eligible();
    let checks = skill.checks.into_iter().map(|check| SkillConfigCheck {
        path: check.path,
        value: Some(Json { text: check.value.to_string() }),
        satisfied: check.satisfied,
    });
    let options = skill.manifest.install.into_iter();
    SkillEntry {
        name: skill.manifest.name,
        description: skill.manifest.description,
        source: skill.source.as_str().to_owned(),
        file_path: skill.file.display().to_string(),
        base_dir: skill.folder.display().to_string(),
        skill_key: skill.manifest.key,
        primary_env: skill.manifest.primary_env,
        emoji: skill.manifest.emoji,
        homepage: skill.manifest.homepage,
        always: skill.manifest.always,
        disabled: skill.disabled,
        blocked_by_allowlist: skill.blocked,
        eligible,
        requirements: Some(needs(skill.manifest.needs)),
        missing: Some(needs(skill.missing)),
        config_checks: checks.collect(),
        install: options
            .map(|option| SkillInstallOption { id: option.id, kind: option.kind, label: option.label, bins: option.bins })
            .collect(),
    }
}

fn needs(needs: Needs) -> SkillNeeds {
    SkillNeeds { bins: needs.bins, any_bins: needs.any_bins, env: needs.env, config: needs.config, os: needs.os }
}
