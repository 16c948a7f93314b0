//! The commands that people see when they type a slash.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tracing::{debug, warn};
use verso_kit::peer::{Caller, Peer};
use verso_proto::agent::v1::CommandsListRequest;

use super::Bot;
use crate::profile::CustomCommand;

/// Commands that the Bot API takes.
const COMMANDS_MAX: usize = 100;

/// Characters of a command, and of what it is said to do.
const NAME_CHARS_MAX: usize = 32;
const DESCRIPTION_CHARS_MAX: usize = 256;

/// How long the agent service may take to say which commands there are; it may be starting.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

impl Bot {
    /// Tells the Bot API which commands there are. A menu that is missing is no reason to be silent.
    pub(super) async fn announce_commands(&self) {
        let commands = if self.native_commands { offered(&self.agent).await } else { Some(Vec::new()) };
        // Without an agent service that says which there are, the menu stays as it is.
        let Some(commands) = commands else { return };
        let menu = menu(commands, &self.custom_commands);
        let named: Vec<_> = menu.iter().map(|(name, description)| json!({"command": name, "description": description})).collect();
        let (method, asked) =
            if named.is_empty() { ("deleteMyCommands", json!({})) } else { ("setMyCommands", json!({"commands": named})) };
        if let Err(error) = self.api.call::<serde_json::Value>(method, &asked).await {
            warn!(%error, "the commands could not be announced");
        }
    }
}

async fn offered(agent: &Peer) -> Option<Vec<(String, String)>> {
    let request = CommandsListRequest { scope: Some("both".to_owned()), ..CommandsListRequest::default() };
    match tokio::time::timeout(ASK_TIMEOUT, agent.call(request, &Caller::default())).await {
        Ok(Ok(list)) => {
            Some(list.commands.into_iter().map(|command| (command.native_name.unwrap_or(command.name), command.description)).collect())
        }
        Ok(Err(status)) => {
            debug!(error = %status.message(), "the agent service did not say which commands there are");
            None
        }
        Err(_) => None,
    }
}

/// Returns the menu: what is configured comes before what is offered under the same name.
fn menu(offered: Vec<(String, String)>, custom: &[CustomCommand]) -> Vec<(String, String)> {
    let custom = custom.iter().map(|command| (command.command.clone(), command.description.clone()));
    let mut menu = BTreeMap::new();
    for (name, description) in offered.into_iter().chain(custom) {
        let name = name.trim().trim_start_matches('/').to_lowercase().replace('-', "_");
        let known = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        let usable = !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(known);
        let description: String = description.trim().chars().take(DESCRIPTION_CHARS_MAX).collect();
        if usable && !description.is_empty() {
            menu.insert(name, description);
        } else {
            warn!(command = %name, "a command cannot be announced: names are of a-z, 0-9 and _, and need a description");
        }
    }
    menu.into_iter().take(COMMANDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_has_names_that_telegram_takes() {
        let offered = [("status", "Shows it."), ("do-it", "Does it."), ("über", "x"), ("none", " ")];
        let offered = offered.map(|(name, about)| (name.to_owned(), about.to_owned())).to_vec();
        let custom = [CustomCommand { command: "/Status".into(), description: "Mine.".into() }];
        let expected = [("do_it", "Does it."), ("status", "Mine.")].map(|(name, about)| (name.to_owned(), about.to_owned()));
        assert_eq!(menu(offered, &custom), expected);
    }
}
