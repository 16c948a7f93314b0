//! Asking people: what is shown to them, what they can decide, and what is compared again before the program starts.

use std::fmt;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use super::binary::{self, Binary};
use super::safety::{Ask, Security};
use crate::tool::Refused;

/// What people are asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The whole command, with the variables that it brings, every sign visible.
    pub command: String,
    /// The folder that it begins in.
    pub folder: PathBuf,
    /// On whose behalf.
    pub agent: String,
    /// In which session.
    pub session: String,
    /// What counts for it.
    pub security: Security,
    /// What counts for it.
    pub ask: Ask,
    /// The program's file, if it is one program.
    pub resolved: Option<PathBuf>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// This once.
    Once,
    /// From now on.
    Always,
    /// No.
    Deny,
    /// Nobody has decided in time.
    Unanswered,
}

/// What the approvals file says about an agent.
#[derive(Debug, Clone, Default)]
pub struct FileRules {
    /// How much may be run.
    pub security: Option<Security>,
    /// When somebody is asked.
    pub ask: Option<Ask>,
    /// What counts when nobody answers.
    pub fallback: Option<Security>,
    /// Patterns of programs' files.
    pub allowlist: Vec<String>,
}

/// Who keeps the approvals file, and asks people.
pub trait Approver: fmt::Debug + Send + Sync {
    /// Returns what the file says about an agent.
    fn rules<'a>(&'a self, agent: &'a str) -> BoxFuture<'a, Result<FileRules, Refused>>;

    /// Asks, and waits for the decision.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Decision, Refused>>;
}

/// What an approval is for. Command, variables and arguments are in the plan that is run; this is the rest.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    binaries: Vec<Binary>,
    folder: PathBuf,
    identity: Option<[u64; 2]>,
}

impl Binding {
    pub(super) fn new(binaries: Vec<Binary>, folder: &Path) -> Self {
        Self { binaries, folder: folder.to_owned(), identity: place(folder) }
    }

    /// Whether everything is still what it was when somebody was asked.
    pub(super) fn holds(&self) -> bool {
        self.identity.is_some() && place(&self.folder) == self.identity && self.binaries.iter().all(Binary::unchanged)
    }
}

/// A folder's content may change; which folder it is may not.
fn place(folder: &Path) -> Option<[u64; 2]> {
    let [device, inode, ..] = binary::identity(folder)?;
    Some([device, inode])
}

/// Makes every sign of a text visible: what a terminal or a page would act on, hide or turn around is written as its number.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for sign in text.chars() {
        let hidden = sign.is_control()
            || matches!(u32::from(sign), 0xAD | 0x61C | 0x115F | 0x1160 | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF9..=0xFFFB | 0xE0000..=0xE0FFF);
        if hidden {
            shown.extend(sign.escape_unicode());
        } else {
            shown.push(sign);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_38_nothing_in_a_question_is_hidden_or_acted_on() {
        assert_eq!(visible("ls\u{1b}[2K\rrm\u{202e}x\u{200b}\n"), r"ls\u{1b}[2K\u{d}rm\u{202e}x\u{200b}\u{a}");
        assert_eq!(visible("größe 'ü' | 日本"), "größe 'ü' | 日本");
    }

    #[test]
    fn sec_46_an_approval_is_for_one_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("work");
        std::fs::create_dir(&folder).unwrap();
        let binding = Binding::new(Vec::new(), &folder);
        std::fs::write(folder.join("new"), "").unwrap();
        assert!(binding.holds(), "a folder's content is not the folder");
        std::fs::rename(&folder, home.path().join("old")).unwrap();
        std::fs::create_dir(&folder).unwrap();
        assert!(!binding.holds(), "another folder of the same name");
    }
}
