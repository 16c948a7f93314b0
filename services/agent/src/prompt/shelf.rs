//! What a prompt and its tools are made of: the files and the skills of an agent.

use verso_tools::skills::Skill;

use super::workspace::ContextFile;
use crate::keys::SessionKey;
use crate::parts::Parts;
use crate::roster::Profile;
use crate::skills;

/// The files and the skills of an agent.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) files: Vec<ContextFile>,
    pub(crate) skills: Result<Vec<Skill>, skills::Error>,
}

impl Shelf {
    /// Reads both in one go: to hand work to another thread costs more than most of it.
    pub(crate) async fn read(parts: &Parts, profile: &Profile, key: &SessionKey) -> Self {
        let look = parts.workspaces.reader(&profile.workspace, key.is_subagent());
        let load = skills::loader(parts, &profile.workspace);
        match tokio::task::spawn_blocking(|| (look(), load())).await {
            Ok((found, skills)) => {
                let files = parts.workspaces.files(&profile.workspace, found).await;
                Self { files, skills: Ok(skills::chosen(skills, profile)) }
            }
            Err(error) => Self { files: Vec::new(), skills: Err(skills::Error::Read(error)) },
        }
    }
}
