//! Messages that are not, or not only, for a model: stop words, commands that start with a slash, and directives between other words.
//!
//! What a sender may not do is words for the model. Who he is, the edge or a channel says (`Who`), never his text.

mod bash;
mod catalog;
mod compact;
mod configure;
mod debug;
mod directives;
mod hear;
mod kept;
mod manage;
mod options;
mod set;
mod show;
mod speech;
mod subagents;

pub(crate) use catalog::offered;
pub(crate) use hear::{Heard, Place, Spoken, afterwards, fresh, hear};
pub(crate) use kept::Kept;
pub(crate) use subagents::stop_all;

use serde::Deserialize;

use catalog::{Command, Does};

/// Messages that stop whatever the session is doing.
const STOP_WORDS: [&str; 7] = ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"];

/// Messages that begin a session afresh, unless configured.
const RESET_TRIGGERS: [&str; 2] = ["/new", "/reset"];

/// The section `commands`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    /// Whether `/config` is there, and `/allowlist` changes anything. Default: no.
    config: bool,
    /// Whether `/debug` is there. Default: no.
    debug: bool,
    /// Whether `/bash` is there. Default: no.
    bash: bool,
    /// How long its programs are waited for, in milliseconds. Default: 2,000.
    bash_foreground_ms: Option<u64>,
    /// Whether `/restart` is there. Default: no.
    restart: Option<bool>,
    /// Whether a slash at the beginning of a message means a command. Default: yes.
    text: Option<bool>,
    /// Who owns this gateway, with or without the network's name before the id. Default: whom a network's own list names.
    owner_allow_from: Vec<serde_json::Value>,
}

impl Section {
    /// Whether the configuration names the owners.
    fn names_owners(&self) -> bool {
        !self.owner_allow_from.is_empty()
    }

    /// Whether somebody on a chat network owns this gateway; `named`: the network's own list names him.
    pub(crate) fn owns(&self, channel: &str, sender: &str, named: bool) -> bool {
        let is = |entry: &serde_json::Value| {
            let entry = entry.as_str().map_or_else(|| entry.to_string(), |text| text.trim().to_owned());
            entry == sender || entry.split_once(':').is_some_and(|(network, id)| network.eq_ignore_ascii_case(channel) && id == sender)
        };
        if self.owner_allow_from.is_empty() { named } else { self.owner_allow_from.iter().any(is) }
    }
}

/// Who has written a message, as the edge or a channel vouches for it.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a right of its own")]
pub(crate) struct Who {
    /// May give commands.
    pub(crate) authorized: bool,
    /// May change sessions.
    pub(crate) manages: bool,
    /// Has the owner's authority.
    pub(crate) owns: bool,
    /// May allow programs to be run.
    pub(crate) approves: bool,
    /// As his network calls him.
    pub(crate) sender: Option<String>,
    pub(crate) name: Option<String>,
    /// The network.
    pub(crate) channel: Option<String>,
    /// The account of it that he writes to.
    pub(crate) account: Option<String>,
}

/// What a whole message is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Parsed {
    Stop,
    /// Begins the session afresh; the rest of the message, if any, is for the model.
    Reset {
        rest: String,
    },
    Command {
        command: &'static Command,
        arguments: String,
    },
    /// Words, maybe with directives between them.
    Words,
}

/// Reads commands.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    reset_triggers: Vec<String>,
    section: Section,
}

impl Commands {
    /// Knows the configured reset triggers, or the usual ones.
    pub(crate) fn new(reset_triggers: Option<Vec<String>>, section: Section) -> Self {
        let usual = || RESET_TRIGGERS.iter().map(|trigger| (*trigger).to_owned()).collect();
        let triggers: Vec<String> = reset_triggers.unwrap_or_else(usual);
        let triggers = triggers.iter().map(|trigger| trigger.trim().to_lowercase()).filter(|trigger| !trigger.is_empty());
        Self { reset_triggers: triggers.collect(), section }
    }

    /// Returns what is configured.
    pub(crate) fn section(&self) -> &Section {
        &self.section
    }

    /// Whether a command is there at all.
    fn enabled(&self, command: &Command) -> bool {
        match command.does {
            Does::Config => self.section.config,
            Does::Debug => self.section.debug,
            Does::Bash => self.section.bash,
            Does::Restart => self.section.restart.unwrap_or(false),
            _ => true,
        }
    }

    /// Returns the command that a message of `who` is, if it is one that he may give.
    fn parse(&self, message: &str, who: &Who) -> Parsed {
        let message = message.trim();
        let typed = exclaimed(message).filter(|_| self.section.bash);
        let message = typed.as_deref().unwrap_or(message);
        let lower = message.to_lowercase();
        if !who.authorized {
            return Parsed::Words;
        }
        if STOP_WORDS.contains(&lower.as_str()) {
            return Parsed::Stop;
        }
        let (word, rest) = message.split_once(char::is_whitespace).unwrap_or((message, ""));
        let word = word.to_lowercase();
        if self.reset_triggers.contains(&word) || self.reset_triggers.contains(&lower) {
            let rest = if self.reset_triggers.contains(&lower) { "" } else { rest };
            return if who.manages { Parsed::Reset { rest: rest.trim().to_owned() } } else { Parsed::Words };
        }
        if self.section.text == Some(false) {
            return Parsed::Words;
        }
        let Some(name) = word.strip_prefix('/') else { return Parsed::Words };
        let name = name.strip_suffix(':').unwrap_or(name);
        // Stopping and beginning afresh have words of their own, which may be others than usual.
        let found = catalog::find(name).filter(|command| !matches!(command.does, Does::Stop | Does::Reset));
        let found = found.filter(|command| self.enabled(command) && command.gate.lets(who));
        match found {
            // More words than it takes: somebody talks about it.
            Some(command) if command.argument.is_none() && !rest.trim().is_empty() => Parsed::Words,
            Some(command) => Parsed::Command { command, arguments: rest.trim().to_owned() },
            None => Parsed::Words,
        }
    }
}

/// Returns the command that an exclamation mark stands for: a program behind a space, or what `/bash` has words of its own for.
fn exclaimed(message: &str) -> Option<String> {
    let rest = message.strip_prefix('!')?;
    let word = rest.split_whitespace().next()?;
    let own = bash::WORDS.iter().any(|own| own.eq_ignore_ascii_case(word));
    (own || rest.starts_with(' ')).then(|| format!("/bash {}", rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Who {
        Who { authorized: true, manages: true, owns: true, approves: true, ..Who::default() }
    }

    fn shown(commands: &Commands, message: &str, who: &Who) -> String {
        match commands.parse(message, who) {
            Parsed::Stop => "stop".to_owned(),
            Parsed::Reset { rest } => format!("reset {rest}"),
            Parsed::Command { command, arguments } => format!("{} {arguments}", command.name),
            Parsed::Words => "words".to_owned(),
        }
    }

    #[test]
    fn reads_commands() {
        let usual = Commands::new(None, Section::default());
        for (message, expected) in [
            ("/stop", "stop"),
            (" STOP ", "stop"),
            ("stop it", "words"),
            ("/status", "status "),
            ("/Status:", "status "),
            ("/status now", "words"),
            ("/help", "help "),
            ("/id", "whoami "),
            ("/new", "reset "),
            ("/RESET  tell me", "reset tell me"),
            ("/newer", "words"),
            ("/compact keep the names", "compact keep the names"),
            ("/config show", "words"),
            ("hello", "words"),
            ("", "words"),
        ] {
            assert_eq!(shown(&usual, message, &owner()), expected, "{message:?}");
        }
        let all = Commands::new(None, Section { bash: true, debug: true, ..Section::default() });
        for (message, expected) in [
            ("! ls -l", "bash ls -l"),
            ("!poll", "bash poll"),
            ("!POLL 1f", "bash POLL 1f"),
            ("! stop", "bash stop"),
            ("!stop 1f", "bash stop 1f"),
            ("!stopped", "words"),
            ("!", "words"),
            ("!important", "words"),
            ("/debug set a=b", "debug set a=b"),
        ] {
            assert_eq!(shown(&all, message, &owner()), expected, "{message:?}");
            assert_eq!(shown(&usual, message, &owner()), "words", "{message:?} is not switched on");
            let writer = Who { authorized: true, manages: true, ..Who::default() };
            assert_eq!(shown(&all, message, &writer), "words", "{message:?} is the owner's");
        }
        let own = Commands::new(Some(vec!["fresh".to_owned(), "start over".to_owned()]), Section::default());
        let found = ["Fresh start", "Start over", "/new"].map(|message| shown(&own, message, &owner()));
        assert_eq!(found, ["reset start", "reset ", "words"]);
    }

    #[test]
    fn sec_20_who_may_not_manage_sessions_begins_none_afresh_by_whatever_word() {
        let writer = Who { authorized: true, ..Who::default() };
        let own = Commands::new(Some(vec!["fresh".to_owned(), "/new".to_owned()]), Section { config: true, ..Section::default() });
        for message in ["fresh", "FRESH start", "/new", "/new page", "/config set a b", "/send on", "/restart", "/approve 1 allow-once"] {
            assert_eq!(shown(&own, message, &writer), "words", "{message}");
            assert_eq!(shown(&own, message, &Who::default()), "words", "{message}");
        }
        assert_eq!(shown(&own, "/config set a b", &owner()), "config set a b");
        assert_eq!((shown(&own, "stop", &writer), shown(&own, "stop", &Who::default())), ("stop".to_owned(), "words".to_owned()));
    }

    #[test]
    fn an_owner_is_whom_the_configuration_names() {
        let listed: Section = serde_json::from_value(serde_json::json!({"ownerAllowFrom": ["telegram:42", 7]})).unwrap();
        let owns = |channel, sender| listed.owns(channel, sender, true);
        assert!(owns("telegram", "42") && owns("irc", "7"));
        assert!(!owns("irc", "42") && !owns("telegram", "8"));
        assert!(Section::default().owns("irc", "x", true) && !Section::default().owns("irc", "x", false));
    }
}
