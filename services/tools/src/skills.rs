//! Skills: folders with a `SKILL.md` that an agent reads when a task asks for them. Where they are, which of them can be used here, and
//! what the others lack.

mod installer;
mod manifest;
mod needs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use verso_kit::config::{Env, File, Secret};

pub use installer::{InstallError, Installed, install};
pub use manifest::{InstallOption, Manifest, Needs};
pub(crate) use needs::executable;
pub use needs::{Check, find_program};

/// A folder of skills holds at most so many: more are a mistake in the configuration.
const SKILLS_PER_FOLDER_MAX: usize = 512;

/// The file that makes a folder a skill.
const MANIFEST: &str = "SKILL.md";

/// The section `skills`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// Bundled skills that may be used. Default: all.
    pub allow_bundled: Option<Vec<String>>,
    /// Where else skills are.
    pub load: Load,
    /// By skill key.
    pub entries: BTreeMap<String, Entry>,
}

/// The section `skills.load`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Load {
    /// Folders that are searched last.
    pub extra_dirs: Vec<String>,
}

/// One of `skills.entries`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Entry {
    /// Default: true.
    pub enabled: Option<bool>,
    /// The value of the skill's `primaryEnv`.
    pub api_key: Option<Secret<String>>,
    /// Variables for the programs that run in a turn.
    pub env: BTreeMap<String, Secret<String>>,
}

/// Where a skill comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The agent's own workspace.
    Workspace,
    /// The gateway's state folder.
    Managed,
    /// What is delivered with the program.
    Bundled,
    /// A folder that the configuration names.
    Extra,
}

impl Source {
    /// Returns the word that clients know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "openclaw-workspace",
            Self::Managed => "openclaw-managed",
            Self::Bundled => "openclaw-bundled",
            Self::Extra => "openclaw-extra",
        }
    }
}

/// A skill, and whether it can be used.
#[derive(Debug, Clone)]
pub struct Skill {
    /// What its file says.
    pub manifest: Manifest,
    /// Where it comes from.
    pub source: Source,
    /// Its `SKILL.md`.
    pub file: PathBuf,
    /// The folder of the file.
    pub folder: PathBuf,
    /// Whether the configuration turns it off.
    pub disabled: bool,
    /// Whether the configuration allows other bundled skills only.
    pub blocked: bool,
    /// What it lacks.
    pub missing: Needs,
    /// The configuration keys that it asks for.
    pub checks: Vec<Check>,
}

impl Skill {
    /// Whether an agent can use it.
    pub fn eligible(&self) -> bool {
        !self.disabled && !self.blocked && (self.manifest.always || self.missing.is_empty())
    }

    /// Whether the model is told of it.
    pub fn offered(&self) -> bool {
        self.eligible() && self.manifest.model_invocation
    }
}

/// Where skills are, and what decides whether they can be used.
#[derive(Debug, Clone)]
pub struct Shelf {
    config: Config,
    file: Arc<File>,
    env: Env,
    managed: PathBuf,
    bundled: Option<PathBuf>,
}

impl Shelf {
    /// Reads the section `skills` of `file`. Managed skills are under `state_dir`.
    pub fn new(file: &Arc<File>, env: &Env, state_dir: &Path) -> Result<Self, verso_kit::config::Error> {
        Ok(Self {
            config: file.section("skills")?,
            file: Arc::clone(file),
            env: env.clone(),
            managed: state_dir.join("skills"),
            bundled: env.get("VERSO_BUNDLED_SKILLS_DIR").map(PathBuf::from),
        })
    }

    /// Returns the folder of managed skills.
    pub fn managed(&self) -> &Path {
        &self.managed
    }

    /// Returns the environment that skills are judged by.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Loads the skills that an agent at `workspace` sees, by name. Reads the disk.
    pub fn load(&self, workspace: &Path) -> Vec<Skill> {
        let mut found: BTreeMap<String, Skill> = BTreeMap::new();
        let own = workspace.join("skills");
        let mut places: Vec<(&Path, Source)> = vec![(&own, Source::Workspace), (&self.managed, Source::Managed)];
        places.extend(self.bundled.as_deref().map(|folder| (folder, Source::Bundled)));
        places.extend(self.config.load.extra_dirs.iter().map(|folder| (Path::new(folder), Source::Extra)));
        for (folder, source) in places {
            for skill in self.folder(folder, source) {
                found.entry(skill.manifest.name.clone()).or_insert(skill);
            }
        }
        found.into_values().collect()
    }

    /// Returns the programs that the skills of all `workspaces` ask for.
    pub fn programs<'a>(&self, workspaces: impl IntoIterator<Item = &'a Path>) -> BTreeSet<String> {
        let skills = workspaces.into_iter().flat_map(|workspace| self.load(workspace));
        skills
            .flat_map(|skill| {
                let installed = skill.manifest.install.into_iter().flat_map(|option| option.bins);
                skill.manifest.needs.bins.into_iter().chain(skill.manifest.needs.any_bins).chain(installed)
            })
            .filter(|program| !program.trim().is_empty())
            .collect()
    }

    /// Returns the variables that usable skills bring to the programs of a turn. None replaces one that is set already.
    pub fn variables(&self, skills: &[Skill]) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for skill in skills.iter().filter(|skill| skill.eligible()) {
            let Some(entry) = self.entry(&skill.manifest) else { continue };
            let own = entry.env.iter().map(|(name, value)| (name.clone(), value));
            let key = skill.manifest.primary_env.clone().zip(entry.api_key.as_ref());
            for (name, value) in own.chain(key).filter(|(name, _)| self.env.get(name).is_none()) {
                variables.entry(name).or_insert_with(|| value.expose().clone());
            }
        }
        variables
    }

    fn folder(&self, folder: &Path, source: Source) -> Vec<Skill> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.join(MANIFEST).is_file()).collect();
        folders.sort();
        if folders.len() > SKILLS_PER_FOLDER_MAX {
            tracing::warn!(folder = %folder.display(), max = SKILLS_PER_FOLDER_MAX, "too many skills in one folder; the rest is left out");
            folders.truncate(SKILLS_PER_FOLDER_MAX);
        }
        folders.into_iter().filter_map(|folder| self.skill(folder, source)).collect()
    }

    fn skill(&self, folder: PathBuf, source: Source) -> Option<Skill> {
        let file = folder.join(MANIFEST);
        let manifest = match Manifest::load(&file) {
            Ok(manifest) => manifest,
            Err(error) => {
                tracing::warn!(file = %file.display(), error = &error as &dyn std::error::Error, "not a skill");
                return None;
            }
        };
        let entry = self.entry(&manifest);
        let blocked = source == Source::Bundled
            && self
                .config
                .allow_bundled
                .as_ref()
                .is_some_and(|allowed| !allowed.contains(&manifest.key) && !allowed.contains(&manifest.name));
        let given = |variable: &str| {
            let from_key = manifest.primary_env.as_deref() == Some(variable) && entry.is_some_and(|entry| entry.api_key.is_some());
            from_key || self.env.get(variable).is_some() || entry.is_some_and(|entry| entry.env.contains_key(variable))
        };
        let (missing, checks) = needs::check(&manifest.needs, &self.env, self.file.value(), given);
        let disabled = entry.is_some_and(|entry| entry.enabled == Some(false));
        Some(Skill { manifest, source, file, folder, disabled, blocked, missing, checks })
    }

    fn entry(&self, manifest: &Manifest) -> Option<&Entry> {
        self.config.entries.get(&manifest.key).or_else(|| self.config.entries.get(&manifest.name))
    }
}

/// Returns the list of skills as a model reads it; none when there is nothing to list.
pub fn prompt(skills: &[Skill]) -> Option<String> {
    let offered: Vec<&Skill> = skills.iter().filter(|skill| skill.offered()).collect();
    if offered.is_empty() {
        return None;
    }
    let mut text = String::from("<available_skills>\n");
    for skill in offered {
        let (name, description) = (escape(&skill.manifest.name), escape(&skill.manifest.description));
        let location = escape(&skill.file.display().to_string());
        text.extend([
            "  <skill>\n    <name>",
            &name,
            "</name>\n    <description>",
            &description,
            "</description>\n    <location>",
            &location,
        ]);
        text.push_str("</location>\n  </skill>\n");
    }
    text.push_str("</available_skills>");
    Some(text)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the part of a configuration at a dotted path.
fn at<'a>(config: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(config, |value, name| value.get(name))
}

#[cfg(test)]
mod tests;
