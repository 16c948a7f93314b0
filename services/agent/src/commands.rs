//! Messages that are not for a model: stop words, and commands that start with a slash.

use verso_proto::agent::v1::{ChatCommand, CommandArgument};

/// Messages that stop whatever the session is doing.
const STOP_WORDS: [&str; 7] = ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"];

/// Messages that begin a session afresh, unless configured.
const RESET_TRIGGERS: [&str; 2] = ["/new", "/reset"];

/// The reply to `/help`.
pub(crate) const HELP: &str = "Commands:\n\
/status — model, tokens and session\n\
/new [message], /reset [message] — begin the session afresh\n\
/stop — stop the current answer\n\
/whoami — who is talking to whom\n\
/help — this list";

/// What a chat can offer: each command's name, what it does, its kind, and the argument that it takes.
const OFFERED: [(&str, &str, &str, Option<&str>); 6] = [
    ("help", "Show available commands.", "status", None),
    ("status", "Show model, tokens and session.", "status", None),
    ("whoami", "Show who is talking to whom.", "status", None),
    ("new", "Begin the session afresh.", "session", Some("message")),
    ("reset", "Begin the session afresh.", "session", Some("message")),
    ("stop", "Stop the current answer.", "session", None),
];

/// Lists the commands, with their arguments if they are asked for.
pub(crate) fn offered(with_arguments: bool) -> Vec<ChatCommand> {
    let argument = |name: &str| CommandArgument {
        name: name.to_owned(),
        description: "What the model is told then".to_owned(),
        r#type: "string".to_owned(),
        ..CommandArgument::default()
    };
    let command = |(name, description, category, takes): &(&str, &str, &str, Option<&str>)| ChatCommand {
        name: (*name).to_owned(),
        native_name: None,
        text_aliases: vec![format!("/{name}")],
        description: (*description).to_owned(),
        category: Some((*category).to_owned()),
        source: "native".to_owned(),
        scope: "text".to_owned(),
        accepts_args: takes.is_some(),
        args: takes.filter(|_| with_arguments).into_iter().map(argument).collect(),
    };
    OFFERED.iter().map(command).collect()
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Stop,
    Status,
    Help,
    WhoAmI,
    /// Begins the session afresh; the rest of the message, if any, is for the model.
    Reset {
        rest: String,
    },
}

/// Reads commands.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    reset_triggers: Vec<String>,
}

impl Commands {
    /// Knows the configured reset triggers, or the usual ones.
    pub(crate) fn new(reset_triggers: Option<Vec<String>>) -> Self {
        let usual = || RESET_TRIGGERS.iter().map(|trigger| (*trigger).to_owned()).collect();
        let triggers: Vec<String> = reset_triggers.unwrap_or_else(usual);
        let triggers = triggers.iter().map(|trigger| trigger.trim().to_lowercase()).filter(|trigger| !trigger.is_empty());
        Self { reset_triggers: triggers.collect() }
    }

    /// Returns the command that a message is, if it is one.
    pub(crate) fn parse(&self, message: &str) -> Option<Command> {
        let message = message.trim();
        let lower = message.to_lowercase();
        if STOP_WORDS.contains(&lower.as_str()) {
            return Some(Command::Stop);
        }
        let (word, rest) = message.split_once(char::is_whitespace).unwrap_or((message, ""));
        let word = word.to_lowercase();
        if self.reset_triggers.contains(&word) {
            return Some(Command::Reset { rest: rest.trim().to_owned() });
        }
        match lower.trim_end_matches(':') {
            "/status" => Some(Command::Status),
            "/help" | "/commands" => Some(Command::Help),
            "/whoami" | "/id" => Some(Command::WhoAmI),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_commands() {
        let reset = |rest: &str| Some(Command::Reset { rest: rest.to_owned() });
        for (message, command) in [
            ("/stop", Some(Command::Stop)),
            (" STOP ", Some(Command::Stop)),
            ("stop it", None),
            ("/status", Some(Command::Status)),
            ("/Status:", Some(Command::Status)),
            ("/status now", None),
            ("/help", Some(Command::Help)),
            ("/id", Some(Command::WhoAmI)),
            ("/new", reset("")),
            ("/RESET  tell me", reset("tell me")),
            ("/newer", None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(Commands::new(None).parse(message), command, "{message:?}");
        }
        let own = Commands::new(Some(vec!["fresh".to_owned()]));
        assert_eq!((own.parse("Fresh start"), own.parse("/new")), (reset("start"), None));
    }
}
