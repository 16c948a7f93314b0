//! The commands, as data.

use verso_proto::agent::v1::{ChatCommand, CommandArgument};

use super::Who;

/// Who may give a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Whoever may give commands.
    Sender,
    /// Whoever may change sessions.
    Manager,
    /// The owner.
    Owner,
    /// Whoever may allow programs to be run.
    Approver,
}

impl Gate {
    pub(super) fn lets(self, who: &Who) -> bool {
        who.authorized
            && match self {
                Self::Sender => true,
                Self::Manager => who.manages,
                Self::Owner => who.owns,
                Self::Approver => who.approves,
            }
    }
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Help,
    Status,
    WhoAmI,
    Context,
    Models,
    /// Carried out by its own word, before commands are looked for.
    Stop,
    Reset,
    Compact,
    Skill,
    Subagents,
    Usage,
    Send,
    Activation,
    Speech,
    Approve,
    Config,
    Bash,
    Debug,
    Allowlist,
    Restart,
    /// Found by its word among other words.
    Directive,
}

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    about: &'static str,
    category: &'static str,
    pub(super) gate: Gate,
    pub(super) argument: Option<&'static str>,
    pub(super) does: Does,
}

const fn command(name: &'static str, does: Does, gate: Gate, category: &'static str, about: &'static str) -> Command {
    Command { name, aliases: &[], about, category, gate, argument: None, does }
}

impl Command {
    const fn takes(self, argument: &'static str) -> Self {
        Self { argument: Some(argument), ..self }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    fn line(&self) -> String {
        let argument = self.argument.map(|argument| format!(" {argument}")).unwrap_or_default();
        format!("/{}{argument} — {}", self.name, self.about)
    }
}

const CATALOG: [Command; 28] = [
    command("help", Does::Help, Gate::Sender, "status", "Show available commands.").also(&["commands"]),
    command("status", Does::Status, Gate::Sender, "status", "Show model, tokens and session."),
    command("whoami", Does::WhoAmI, Gate::Sender, "status", "Show who is talking to whom.").also(&["id"]),
    command("context", Does::Context, Gate::Sender, "status", "Show what the model is shown besides the conversation.")
        .takes("[list|detail|json]"),
    command("models", Does::Models, Gate::Sender, "status", "List the models."),
    command("new", Does::Reset, Gate::Manager, "session", "Begin the session afresh.").takes("[message]"),
    command("reset", Does::Reset, Gate::Manager, "session", "Begin the session afresh.").takes("[message]"),
    command("stop", Does::Stop, Gate::Sender, "session", "Stop the current answer."),
    command("compact", Does::Compact, Gate::Manager, "session", "Replace the older part of the conversation by a summary.")
        .takes("[instructions]"),
    command("think", Does::Directive, Gate::Sender, "options", "How hard the model thinks.").also(&["thinking", "t"]).takes("[level]"),
    command("verbose", Does::Directive, Gate::Sender, "options", "Whether tool calls are shown.").also(&["v"]).takes("[on|full|off]"),
    command("reasoning", Does::Directive, Gate::Sender, "options", "Whether thoughts are shown.")
        .also(&["reason"])
        .takes("[on|stream|off]"),
    command("model", Does::Directive, Gate::Sender, "options", "Show or choose the model.").takes("[number|name|list|status]"),
    command("queue", Does::Directive, Gate::Sender, "options", "What becomes of messages during an answer.")
        .takes("[mode] [debounce:2s] [cap:20] [drop:old|new|summarize]"),
    command("elevated", Does::Directive, Gate::Owner, "options", "Whether programs may leave the sandbox.")
        .also(&["elev"])
        .takes("[on|ask|full|off]"),
    command("exec", Does::Directive, Gate::Owner, "options", "How programs are run.").takes("[host=…] [security=…] [ask=…] [node=…]"),
    command("usage", Does::Usage, Gate::Sender, "options", "What is told of tokens below an answer, or what was used.")
        .takes("off|tokens|full|cost"),
    command("skill", Does::Skill, Gate::Sender, "tools", "Have a skill used.").takes("name [input]"),
    command("subagents", Does::Subagents, Gate::Sender, "management", "The session's subagents.")
        .takes("list|info|log|send|stop [number|all] [message]"),
    command("tts", Does::Speech, Gate::Manager, "media", "Speech.").takes("[status|on|off|provider <name>]"),
    command("send", Does::Send, Gate::Owner, "management", "Whether the session takes messages.").takes("on|off|inherit"),
    command("activation", Does::Activation, Gate::Owner, "management", "When the agent answers in a group.").takes("mention|always"),
    command("approve", Does::Approve, Gate::Approver, "management", "Decide about a program.").takes("id allow-once|allow-always|deny"),
    command("allowlist", Does::Allowlist, Gate::Owner, "management", "Who may write.").takes("[list|add <id>|remove <id>]"),
    command("bash", Does::Bash, Gate::Owner, "management", "Run a program on the gateway's host.").takes("<command>|poll [id]|stop [id]"),
    command("config", Does::Config, Gate::Owner, "management", "The configuration.").takes("show|get <key>|set <key> <value>|unset <key>"),
    command("debug", Does::Debug, Gate::Owner, "management", "Settings that last until a restart.")
        .takes("show|set <key>=<value>|unset <key>|reset"),
    command("restart", Does::Restart, Gate::Owner, "management", "Start the agents' process again."),
];

/// Finds a command by its name or another of its names.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    CATALOG.iter().find(|command| command.name == name || command.aliases.contains(&name))
}

/// Returns the commands that somebody may give, a line each.
pub(super) fn help(enabled: impl Fn(&Command) -> bool, who: &Who) -> String {
    let lines = CATALOG.iter().filter(|command| enabled(command) && command.gate.lets(who)).map(Command::line);
    std::iter::once("Commands:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// Lists the commands, with their arguments if they are asked for.
pub(crate) fn offered(commands: &super::Commands, with_arguments: bool) -> Vec<ChatCommand> {
    let argument = |text: &&str| CommandArgument {
        name: "arguments".to_owned(),
        description: (*text).to_owned(),
        r#type: "string".to_owned(),
        ..CommandArgument::default()
    };
    let offer = |command: &Command| ChatCommand {
        name: command.name.to_owned(),
        native_name: None,
        text_aliases: std::iter::once(&command.name).chain(command.aliases).map(|name| format!("/{name}")).collect(),
        description: command.about.to_owned(),
        category: Some(command.category.to_owned()),
        source: "native".to_owned(),
        scope: "both".to_owned(),
        accepts_args: command.argument.is_some(),
        args: command.argument.iter().filter(|_| with_arguments).map(argument).collect(),
    };
    CATALOG.iter().filter(|command| commands.enabled(command)).map(offer).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_means_one_command_and_people_see_only_what_they_may_give() {
        let names: Vec<&str> = CATALOG.iter().flat_map(|command| command.aliases.iter().copied().chain([command.name])).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        let guest = help(|_| true, &Who { authorized: true, ..Who::default() });
        assert!(guest.contains("/status") && guest.contains("/think [level]") && !guest.contains("/config"), "{guest}");
        assert_eq!(help(|_| true, &Who::default()), "Commands:");
    }
}
