//! Lines that begin with a slash. What is not known here is the agent's to understand.

use super::picker::Kind;

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Say it.
    Say(String),
    /// Explain the commands.
    Help,
    /// Show what there is to choose from.
    Pick(Kind),
    /// Choose without a list.
    Choose(Kind, String),
    /// Change a setting of the session.
    Patch(&'static str, String),
    /// Begin the session anew.
    Reset,
    /// Stop the agent.
    Abort,
    /// Ask how the gateway is.
    Status,
    /// Leave.
    Quit,
}

/// The commands and what they do.
pub(super) const HELP: [(&str, &str); 12] = [
    ("/help", "this list"),
    ("/status", "how the gateway is"),
    ("/session [key]", "talk in another session (Ctrl+P)"),
    ("/agent [id]", "talk to another agent (Ctrl+G)"),
    ("/model [id]", "use another model in this session (Ctrl+L)"),
    ("/think <level>", "off, minimal, low, medium, high"),
    ("/verbose <on|off>", "show what tools do"),
    ("/reasoning <on|off>", "show what the agent thinks"),
    ("/new", "begin the session anew"),
    ("/abort", "stop the agent (Esc)"),
    ("/quit", "leave (Ctrl+D)"),
    ("anything else", "is said to the agent"),
];

/// Reads a line.
pub(super) fn read(line: &str) -> Line {
    let line = line.trim();
    let (command, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(command, rest)| (command, rest.trim()));
    let choose = |kind: Kind| if rest.is_empty() { Line::Pick(kind) } else { Line::Choose(kind, rest.to_owned()) };
    let patch = |member: &'static str| if rest.is_empty() { Line::Help } else { Line::Patch(member, rest.to_owned()) };
    match command {
        "/help" | "/?" => Line::Help,
        "/status" | "/gateway-status" => Line::Status,
        "/session" | "/sessions" => choose(Kind::Session),
        "/agent" | "/agents" => choose(Kind::Agent),
        "/model" | "/models" => choose(Kind::Model),
        "/think" | "/thinking" => patch("thinkingLevel"),
        "/verbose" => patch("verboseLevel"),
        "/reasoning" => patch("reasoningLevel"),
        "/new" | "/reset" => Line::Reset,
        "/abort" | "/stop" => Line::Abort,
        "/quit" | "/exit" => Line::Quit,
        _ => Line::Say(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_is_a_command_only_where_it_is_known() {
        assert_eq!(read(" /model "), Line::Pick(Kind::Model));
        assert_eq!(read("/model p/m"), Line::Choose(Kind::Model, "p/m".to_owned()));
        assert_eq!(read("/think high"), Line::Patch("thinkingLevel", "high".to_owned()));
        assert_eq!((read("/think"), read("/exit")), (Line::Help, Line::Quit));
        assert_eq!(read("/compact now"), Line::Say("/compact now".to_owned()));
        assert_eq!(read("a /model"), Line::Say("a /model".to_owned()));
    }
}
