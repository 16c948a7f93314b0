//! What this process and the adapters that it starts can open: of the gateway's state only what is theirs. Whoever takes one of them over
//! through its network finds no configuration, no other process's credentials, no conversation and no file of an agent.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use verso_kit::confine::{Outcome, Places, confine as enter};
use verso_kit::files;
use verso_kit::service::Context;

/// Folders of the state folder that this process uses: its own, what accounts are logged in with, where it writes its log, and programs
/// that the owner has put there.
const OWN: [&str; 4] = ["channel", "credentials", "logs", "adapters"];

/// Whether the process is confined, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It opens nothing of the gateway's but what is its own.
    Confined,
    /// It is not confined.
    Free(&'static str),
}

/// Confines this process. Call it before there are other threads.
pub fn confine(context: &Context) -> io::Result<Reach> {
    if context.env.get("VERSO_CONFIG_SNAPSHOT").is_none() {
        return Ok(Reach::Free("it reads the configuration file itself"));
    }
    let temporary = Path::new(context.env.get("TMPDIR").unwrap_or("/tmp"));
    if [&context.state_dir, &context.run_dir].iter().any(|folder| folder.starts_with(temporary)) {
        // Beside the way to a hidden place nothing new can be made, and adapters make temporary files.
        return Ok(Reach::Free("its state is among temporary files"));
    }
    Ok(match enter(&places(context)?)? {
        Outcome::Confined => Reach::Confined,
        Outcome::Unsupported => Reach::Free("this system has no Landlock"),
    })
}

fn places(context: &Context) -> io::Result<Places> {
    let mut shown: Vec<PathBuf> = OWN.iter().map(|name| context.state_dir.join(name)).collect();
    // Where its adapters listen.
    shown.push(context.run_dir.join("accounts"));
    for folder in &shown {
        files::create_private_dir(folder)?;
    }
    shown.push(context.run_dir.join("config").join(context.name));
    let mut hidden = vec![context.state_dir.clone(), context.run_dir.clone(), context.config.path().to_owned()];
    hidden.extend(workspaces(context.config.value(), context.env.get("HOME")));
    Ok(Places { hidden, shown })
}

/// Where the agents' files are, as far as the configuration says so; the usual places are in the state folder.
fn workspaces(config: &Value, home: Option<&str>) -> Vec<PathBuf> {
    let agents = config.pointer("/agents/list").and_then(Value::as_array).into_iter().flatten();
    let named = agents.chain(config.pointer("/agents/defaults")).filter_map(|agent| agent.get("workspace")?.as_str());
    named.map(|path| path.strip_prefix("~/").zip(home).map_or_else(|| path.into(), |(rest, home)| Path::new(home).join(rest))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_the_folders_of_agents() {
        let config = json!({"agents": {"defaults": {"workspace": "~/work"}, "list": [{"id": "a", "workspace": "/srv/a"}, {"id": "b"}]}});
        assert_eq!(workspaces(&config, Some("/home/kit")), [Path::new("/srv/a"), Path::new("/home/kit/work")]);
    }
}
