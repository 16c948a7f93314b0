//! The file of rules of this machine's owner: what may be run, and when people are asked.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use verso_kit::files;
use verso_proto::node::v1::{ExecAllowed, ExecApprovalsFile};

use crate::Error;

/// The agent whose rules hold for all.
const EVERYBODY: &str = "*";

/// How many programs may be on one agent's list.
const ALLOWED_MAX: usize = 1_024;

/// How much may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Security {
    Deny,
    Allowlist,
    Full,
}

/// When people are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    Off,
    OnMiss,
    Always,
}

/// What counts for one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) security: Security,
    pub(crate) ask: Ask,
    /// What counts when nobody decides in time.
    pub(crate) fallback: Security,
    patterns: Vec<String>,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Policy {
    path: PathBuf,
    /// What `~` stands for.
    home: PathBuf,
    writing: Mutex<()>,
}

impl Policy {
    pub(crate) fn new(path: PathBuf, home: PathBuf) -> Self {
        Self { path, home, writing: Mutex::new(()) }
    }

    /// Returns what counts for an agent now.
    pub(crate) fn rules(&self, agent: Option<&str>) -> Result<Rules, Error> {
        let (file, _) = self.load()?;
        Ok(Rules::of(&file, agent))
    }

    /// Whether a file is on an agent's list.
    pub(crate) fn lists(&self, rules: &Rules, file: &Path) -> bool {
        rules.patterns.iter().any(|pattern| matches(pattern, file, &self.home))
    }

    /// Puts programs on an agent's list.
    pub(crate) async fn allow(&self, agent: Option<&str>, programs: &[PathBuf]) -> Result<(), Error> {
        let _writing = self.writing.lock().await;
        let (mut file, _) = self.load()?;
        let list = &mut file.agents.entry(agent.unwrap_or(EVERYBODY).to_owned()).or_default().allowlist;
        for program in programs {
            let pattern = program.display().to_string();
            if list.len() < ALLOWED_MAX && list.iter().all(|known| known.pattern != pattern) {
                list.push(ExecAllowed { id: Some(uuid::Uuid::new_v4().to_string()), pattern, ..ExecAllowed::default() });
            }
        }
        self.save(&file).map(|_| ())
    }

    /// Shows the file, without the socket's secret.
    pub(crate) fn show(&self) -> Result<Value, Error> {
        let (file, bytes) = self.load()?;
        Ok(self.shown(file, bytes.as_deref()))
    }

    /// Replaces the file, if it is still the one with that hash.
    pub(crate) async fn replace(&self, mut file: ExecApprovalsFile, base_hash: Option<&str>) -> Result<Value, Error> {
        let _writing = self.writing.lock().await;
        let (known, bytes) = self.load()?;
        match base_hash.map(str::trim).filter(|hash| !hash.is_empty()) {
            None if bytes.is_some() => {
                return Err(Error::Invalid("exec approvals base hash required; reload and retry".to_owned()));
            }
            Some(hash) if hash != hash_of(bytes.as_deref()) => {
                return Err(Error::Invalid("exec approvals changed; reload and retry".to_owned()));
            }
            None | Some(_) => {}
        }
        if let Some(known) = known.socket {
            let socket = file.socket.get_or_insert_default();
            socket.path = socket.path.take().or(known.path);
            socket.token = socket.token.take().or(known.token);
        }
        let bytes = self.save(&file)?;
        Ok(self.shown(file, Some(&bytes)))
    }

    fn shown(&self, mut file: ExecApprovalsFile, bytes: Option<&[u8]>) -> Value {
        if let Some(socket) = &mut file.socket {
            socket.token = None;
        }
        json!({"path": self.path, "exists": bytes.is_some(), "hash": hash_of(bytes), "file": file})
    }

    fn load(&self) -> Result<(ExecApprovalsFile, Option<Vec<u8>>), Error> {
        match fs::read(&self.path) {
            Ok(bytes) => {
                let damaged = |source| Error::DamagedPolicy { path: self.path.clone(), source };
                Ok((serde_json::from_slice(&bytes).map_err(damaged)?, Some(bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok((ExecApprovalsFile { version: 1, ..ExecApprovalsFile::default() }, None))
            }
            Err(source) => Err(Error::LoadPolicy { path: self.path.clone(), source }),
        }
    }

    fn save(&self, file: &ExecApprovalsFile) -> Result<Vec<u8>, Error> {
        let save = |source| Error::SavePolicy { path: self.path.clone(), source };
        let mut bytes = serde_json::to_vec_pretty(file).map_err(|error| save(error.into()))?;
        bytes.push(b'\n');
        files::create_private_dir(self.path.parent().unwrap_or(Path::new("/"))).map_err(save)?;
        files::write_atomic(&self.path, &bytes, 0o600).map_err(save)?;
        Ok(bytes)
    }
}

impl Rules {
    /// What is not set, or set to something unknown, is the strictest.
    fn of(file: &ExecApprovalsFile, agent: Option<&str>) -> Self {
        let own = agent.and_then(|agent| file.agents.get(agent));
        let shared = file.agents.get(EVERYBODY);
        let agents = || own.into_iter().chain(shared);
        let defaults = file.defaults.clone().unwrap_or_default();
        let security = agents().find_map(|rules| rules.security.clone()).or(defaults.security);
        let ask = agents().find_map(|rules| rules.ask.clone()).or(defaults.ask);
        let fallback = agents().find_map(|rules| rules.ask_fallback.clone()).or(defaults.ask_fallback);
        Self {
            security: Security::read(security.as_deref()),
            ask: match ask.as_deref() {
                Some("off") => Ask::Off,
                None | Some("on-miss") => Ask::OnMiss,
                Some(_) => Ask::Always,
            },
            fallback: Security::read(fallback.as_deref()),
            patterns: agents().flat_map(|rules| &rules.allowlist).map(|allowed| allowed.pattern.clone()).collect(),
        }
    }
}

impl Security {
    fn read(text: Option<&str>) -> Self {
        match text {
            Some("full") => Self::Full,
            Some("allowlist") => Self::Allowlist,
            None | Some(_) => Self::Deny,
        }
    }
}

fn hash_of(bytes: Option<&[u8]>) -> String {
    hex::encode(Sha256::digest(bytes.unwrap_or_default()))
}

/// Whether a pattern of paths means a file: `*` and `?` stay within a folder, `**` does not. A name without a folder means nothing.
fn matches(pattern: &str, file: &Path, home: &Path) -> bool {
    let pattern = pattern.trim();
    let pattern = pattern.strip_prefix("~/").map_or_else(|| pattern.to_owned(), |rest| home.join(rest).display().to_string());
    if !pattern.starts_with('/') {
        return false;
    }
    let lower = |text: &str| text.to_lowercase().into_bytes();
    glob(&lower(&pattern), &lower(&file.display().to_string()))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', b'*', rest @ ..], _) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        ([b'*', rest @ ..], _) => {
            let within = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=within).any(|skip| glob(rest, &text[skip..]))
        }
        ([b'?', rest @ ..], [letter, text @ ..]) => *letter != b'/' && glob(rest, text),
        ([wanted, rest @ ..], [letter, text @ ..]) => wanted == letter && glob(rest, text),
        ([_, ..], []) | ([], [_, ..]) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: Value, agent: Option<&str>) -> Rules {
        Rules::of(&serde_json::from_value(file).unwrap(), agent)
    }

    #[test]
    fn what_is_not_said_is_the_strictest() {
        let nothing = rules(json!({"version": 1}), None);
        assert_eq!((nothing.security, nothing.ask, nothing.fallback), (Security::Deny, Ask::OnMiss, Security::Deny));
        let typo = rules(json!({"version": 1, "defaults": {"security": "ful", "ask": "never"}}), None);
        assert_eq!((typo.security, typo.ask), (Security::Deny, Ask::Always));
        let file =
            json!({"version": 1, "defaults": {"security": "full"}, "agents": {"*": {"ask": "off"}, "main": {"security": "allowlist"}}});
        assert_eq!((rules(file.clone(), Some("main")).security, rules(file.clone(), Some("main")).ask), (Security::Allowlist, Ask::Off));
        assert_eq!(rules(file, Some("other")).security, Security::Full);
    }

    #[test]
    fn a_pattern_means_paths_and_never_bare_names() {
        let home = Path::new("/home/anna");
        for (pattern, file, means) in [
            ("/bin/ls", "/bin/ls", true),
            ("/bin/*", "/bin/ls", true),
            ("/bin/*", "/bin/sub/ls", false),
            ("/opt/**", "/opt/a/b", true),
            ("~/bin/tool?", "/home/anna/bin/tool1", true),
            ("ls", "/bin/ls", false),
            ("*/ls", "/bin/ls", false),
            ("/BIN/LS", "/bin/ls", true),
            ("/bin/l", "/bin/ls", false),
        ] {
            assert_eq!(matches(pattern, Path::new(file), home), means, "{pattern} {file}");
        }
    }

    #[tokio::test]
    async fn the_file_is_replaced_only_by_who_has_read_it() {
        let state = tempfile::tempdir().unwrap();
        let policy = Policy::new(state.path().join("deep/rules.json"), state.path().to_owned());
        let file = || ExecApprovalsFile { version: 1, ..ExecApprovalsFile::default() };
        let hash = |shown: &Value| shown["hash"].as_str().unwrap().to_owned();
        let missing = policy.show().unwrap();
        assert_eq!(missing["exists"], false);
        policy.replace(file(), Some("stale")).await.unwrap_err();
        let set = policy.replace(file(), Some(&hash(&missing))).await.unwrap();
        policy.replace(file(), None).await.unwrap_err();
        policy.allow(Some("main"), &[PathBuf::from("/bin/ls"), PathBuf::from("/bin/ls")]).await.unwrap();
        policy.replace(file(), Some(&hash(&set))).await.unwrap_err();
        let rules = policy.rules(Some("main")).unwrap();
        assert!(policy.lists(&rules, Path::new("/bin/ls")) && rules.patterns.len() == 1);
    }
}
