//! A chat network of two folders, spoken by the reference adapter in Python.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peers;

/// Two folders for each account.
#[derive(Debug)]
pub struct FileDrop {
    folder: TempDir,
    python: PathBuf,
}

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Who it is for.
    pub to: String,
    /// What it says.
    pub text: String,
}

impl FileDrop {
    /// Makes the folders, or returns none when there is no Python for the adapter.
    pub fn new() -> Option<Self> {
        let python = peers::python()?;
        Some(Self { folder: tempfile::Builder::new().prefix("verso-drop-").tempdir().expect("a temporary folder"), python })
    }

    /// The adapter as it is meant to be.
    pub fn reference(&self) -> Vec<String> {
        let script = crate::package().parent().expect("the workspace").join("deploy/examples/file-drop/adapter.py");
        self.started(&script)
    }

    /// The same with faults.
    pub fn faulty(&self) -> Vec<String> {
        self.started(&peers::scripts().join("faulty_adapter.py"))
    }

    fn started(&self, script: &Path) -> Vec<String> {
        vec![self.python.display().to_string(), script.display().to_string()]
    }

    /// The settings of an account.
    pub fn account(&self, name: &str) -> Value {
        json!({"inbox": self.inbox(name), "outbox": self.folder.path().join(name).join("out")})
    }

    /// The configuration of a network `drop` with these accounts, where `ann` may write, and its adapter.
    pub fn config(&self, adapter: &Value, accounts: &[&str]) -> Value {
        let accounts: serde_json::Map<String, Value> = accounts.iter().map(|name| ((*name).to_owned(), self.account(name))).collect();
        json!({"adapters": {"drop": adapter}, "channels": {"drop": {"allowFrom": ["ann"], "accounts": accounts}}})
    }

    /// The folder where messages come in.
    pub fn inbox(&self, account: &str) -> PathBuf {
        let inbox = self.folder.path().join(account).join("in");
        fs::create_dir_all(&inbox).expect("a folder");
        inbox
    }

    /// Somebody puts a message there.
    pub fn put(&self, account: &str, sender: &str, name: &str, text: &str) {
        let draft = self.folder.path().join(format!("{account}-{name}.part"));
        fs::write(&draft, text).expect("a file");
        fs::rename(draft, self.inbox(account).join(format!("{sender}--{name}.txt"))).expect("a message");
    }

    /// Whether the gateway has acknowledged a message.
    pub fn is_done(&self, account: &str, sender: &str, name: &str) -> bool {
        self.inbox(account).join(format!(".done/{sender}--{name}.txt")).exists()
    }

    /// What was sent, by its text.
    pub fn sent(&self, account: &str) -> Vec<Dropped> {
        let out = self.folder.path().join(account).join("out");
        let files = fs::read_dir(out).into_iter().flatten().flatten().map(|entry| entry.path());
        let messages = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        let read = |path: PathBuf| serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok();
        let mut sent: Vec<Dropped> = messages
            .filter_map(read)
            .map(|message| Dropped {
                to: message["to"].as_str().unwrap_or_default().to_owned(),
                text: message["text"].as_str().unwrap_or_default().to_owned(),
            })
            .collect();
        sent.sort_by(|one, other| one.text.cmp(&other.text));
        sent
    }
}
