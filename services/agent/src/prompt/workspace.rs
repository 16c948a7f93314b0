//! The files in an agent's folder that are part of its prompt: made once, read for every turn, cut where they are too long.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use verso_kit::CancellationToken;
use verso_kit::config::{self, Env, File};
use verso_tools::exec::child::{self, Limits, Plan};
use verso_tools::exec::environment;
use verso_tools::files::Place;
use verso_tools::skills::find_program;

/// Characters of one file that are shown, unless configured.
const FILE_CHARS: usize = 20_000;

/// A larger file is not shown at all, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Of what is shown of a long file, the beginning and the end, in percent; a mark stands for the rest.
const HEAD_PERCENT: usize = 70;
const TAIL_PERCENT: usize = 20;

/// How long the version control may take to begin.
const GIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The files in their order. Those of a new folder come with a text; the last two are shown only if they are there.
const FILES: [(&str, &str); 9] = [
    ("AGENTS.md", include_str!("workspace/AGENTS.md")),
    ("SOUL.md", include_str!("workspace/SOUL.md")),
    ("TOOLS.md", include_str!("workspace/TOOLS.md")),
    ("IDENTITY.md", include_str!("workspace/IDENTITY.md")),
    ("USER.md", include_str!("workspace/USER.md")),
    ("HEARTBEAT.md", include_str!("workspace/HEARTBEAT.md")),
    ("BOOTSTRAP.md", include_str!("workspace/BOOTSTRAP.md")),
    ("MEMORY.md", ""),
    ("memory.md", ""),
];

/// What a subagent is shown.
const FOR_SUBAGENTS: [&str; 2] = ["AGENTS.md", "TOOLS.md"];

/// The file that only a new folder gets.
const BOOTSTRAP: &str = "BOOTSTRAP.md";

/// What the configuration says about the files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Settings {
    skip_bootstrap: bool,
    bootstrap_max_chars: Option<usize>,
}

/// Looks after the folders of all agents.
#[derive(Debug)]
pub(crate) struct Workspaces {
    settings: Settings,
    env: Env,
    /// Folders that were looked at since the start.
    prepared: Mutex<BTreeSet<PathBuf>>,
}

/// A file of the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextFile {
    pub(crate) name: &'static str,
    /// None: it is not there.
    pub(crate) text: Option<String>,
}

/// What is in an agent's folder.
#[derive(Debug)]
pub(crate) struct Found {
    files: Vec<ContextFile>,
    /// Whether it was made just now.
    brand_new: bool,
}

impl Workspaces {
    /// Reads `agents.defaults`.
    pub(crate) fn open(file: &File, env: &Env) -> Result<Self, config::Error> {
        Ok(Self { settings: file.section("agents.defaults")?, env: env.clone(), prepared: Mutex::default() })
    }

    /// Returns what reads the files of an agent's folder, on a thread that may wait for the disk. It makes the folder, and what belongs into a
    /// new one, when it is first asked for.
    pub(crate) fn reader(&self, workspace: &Path, subagent: bool) -> impl FnOnce() -> Found + Send + 'static {
        let new = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace.to_owned());
        let (folder, settings) = (workspace.to_owned(), self.settings.clone());
        move || {
            let brand_new = new && prepare(&folder, !settings.skip_bootstrap);
            Found { files: read(&folder, settings.bootstrap_max_chars.unwrap_or(FILE_CHARS), subagent), brand_new }
        }
    }

    /// Returns the files that were found.
    pub(crate) async fn files(&self, workspace: &Path, found: Found) -> Vec<ContextFile> {
        if found.brand_new {
            self.keep_versions(workspace).await;
        }
        found.files
    }

    /// Puts a new folder under version control, if there is one on this host.
    async fn keep_versions(&self, workspace: &Path) {
        let Some(program) = find_program("git", &self.env) else { return };
        let plan = Plan {
            program,
            arguments: vec!["init".to_owned(), "--quiet".to_owned()],
            folder: workspace.to_owned(),
            variables: environment::inherited(&self.env, &[]),
            sandbox: None,
            cleanup: None,
        };
        let limits = Limits { timeout: Some(GIT_TIMEOUT), output_bytes_max: 4 << 10 };
        if let Err(error) = child::run(plan, limits, &CancellationToken::new()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the workspace is not under version control");
        }
    }
}

/// Makes the folder and what belongs into a new one. Returns whether it was new. Nothing that is there is touched.
fn prepare(folder: &Path, bootstrap: bool) -> bool {
    if let Err(error) = std::fs::create_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), error = &error as &dyn std::error::Error, "the workspace cannot be made");
        return false;
    }
    let templates = || FILES.iter().filter(|(_, text)| !text.is_empty());
    if !bootstrap {
        return false;
    }
    let brand_new = templates().all(|(name, _)| !folder.join(name).exists());
    for (name, text) in templates().filter(|(name, _)| brand_new || *name != BOOTSTRAP) {
        let path = folder.join(name);
        let made = std::fs::File::create_new(&path).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                tracing::warn!(file = %path.display(), error = &error as &dyn std::error::Error, "a file of the workspace cannot be made");
            }
            _ => {}
        }
    }
    brand_new
}

fn read(folder: &Path, chars_max: usize, subagent: bool) -> Vec<ContextFile> {
    let place = Place::new(folder);
    let mut files: Vec<ContextFile> = Vec::new();
    for (name, template) in FILES {
        if subagent && !FOR_SUBAGENTS.contains(&name) {
            continue;
        }
        let text = place.read(name, FILE_BYTES_MAX).ok().map(|bytes| shortened(String::from_utf8_lossy(&bytes).trim_end(), chars_max));
        // On some disks two names are one file.
        let alike = |other: &ContextFile| text.is_some() && other.text == text && other.name.eq_ignore_ascii_case(name);
        let twice = files.iter().any(|other| alike(other) && same_file(&folder.join(name), &folder.join(other.name)));
        let expected = !template.is_empty() && name != BOOTSTRAP;
        if !twice && (text.is_some() || expected) {
            files.push(ContextFile { name, text });
        }
    }
    files
}

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// Keeps the beginning and the end of a long text.
fn shortened(text: &str, chars_max: usize) -> String {
    let count = text.chars().count();
    if count <= chars_max {
        return text.to_owned();
    }
    let (head, tail) = (chars_max * HEAD_PERCENT / 100, chars_max * TAIL_PERCENT / 100);
    let beginning: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{beginning}\n\n[… {} characters are left out here; read the file for all of it …]\n\n{end}", count - head - tail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspaces(defaults: &serde_json::Value) -> Workspaces {
        Workspaces::open(&File::from_value(json!({"agents": {"defaults": defaults}})), &Env::default()).unwrap()
    }

    async fn files_of(workspaces: &Workspaces, folder: &Path, subagent: bool) -> Vec<ContextFile> {
        let found = workspaces.reader(folder, subagent)();
        workspaces.files(folder, found).await
    }

    fn names(files: &[ContextFile]) -> Vec<&str> {
        files.iter().map(|file| file.name).collect()
    }

    #[tokio::test]
    async fn a_new_folder_gets_its_files_once_and_nothing_is_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("workspace");
        let files = files_of(&workspaces(&json!({})), &folder, false).await;
        assert_eq!(names(&files), ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md"]);
        assert!(files.iter().all(|file| file.text.is_some()));
        std::fs::write(folder.join("SOUL.md"), "mine").unwrap();
        std::fs::remove_file(folder.join("BOOTSTRAP.md")).unwrap();
        std::fs::remove_file(folder.join("USER.md")).unwrap();
        std::fs::write(folder.join("MEMORY.md"), "remembered").unwrap();
        let files = files_of(&workspaces(&json!({})), &folder, false).await;
        assert_eq!(names(&files), ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "MEMORY.md"]);
        assert_eq!(files[1].text.as_deref(), Some("mine"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_shown_as_missing() {
        let home = tempfile::tempdir().unwrap();
        let files = files_of(&workspaces(&json!({"skipBootstrap": true})), home.path(), false).await;
        assert!(files.len() == 6 && files.iter().all(|file| file.text.is_none()));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        let files = files_of(&workspaces(&json!({"skipBootstrap": true})), home.path(), true).await;
        assert_eq!(names(&files), ["AGENTS.md", "TOOLS.md"]);
    }

    #[tokio::test]
    async fn sec_50_a_file_of_the_prompt_cannot_be_one_from_elsewhere() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("secret"), "hidden").unwrap();
        let folder = home.path().join("workspace");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("SOUL.md")).unwrap();
        let files = files_of(&workspaces(&json!({})), &folder, false).await;
        assert_eq!(files.iter().find(|file| file.name == "SOUL.md").unwrap().text, None);
    }

    #[test]
    fn a_long_file_keeps_its_ends() {
        let text = shortened(&format!("{}{}", "a".repeat(100), "z".repeat(100)), 100);
        assert!(text.starts_with(&"a".repeat(70)) && text.ends_with(&"z".repeat(20)) && text.contains("110 characters"), "{text}");
        assert_eq!(shortened("short", 100), "short");
    }
}
