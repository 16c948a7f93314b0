//! What to say when the arguments are not understood: one line, or the help that was asked for.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands of existing installations that scripts may call: they hear that it is no mistake of theirs.
const NOT_YET: [&str; 10] = ["memory", "hooks", "plugins", "sandbox", "directory", "browser", "webhooks", "dns", "acp", "docs"];

/// Why there is no command to run.
#[derive(Debug)]
pub(crate) enum Usage {
    /// Help was asked for; printing it is success.
    Help(String),
    /// The arguments are wrong; one line says how.
    Wrong(String),
}

impl Usage {
    /// Words the parser's error.
    pub(super) fn of(error: &clap::Error) -> Self {
        let named = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => texts.first().cloned(),
            _ => None,
        };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Self::Help(error.render().to_string())
            }
            ErrorKind::UnknownArgument => Self::Wrong(match named(ContextKind::InvalidArg) {
                Some(option) if option.starts_with('-') => format!("error: unknown option '{option}'"),
                Some(argument) => format!("error: unexpected argument '{argument}'"),
                None => first_line(error),
            }),
            ErrorKind::InvalidSubcommand => Self::Wrong(named(ContextKind::InvalidSubcommand).map_or_else(
                || first_line(error),
                |name| {
                    if NOT_YET.contains(&name.as_str()) {
                        return format!("error: '{name}' is not implemented in verso yet");
                    }
                    format!("error: unknown command '{name}'")
                },
            )),
            ErrorKind::MissingRequiredArgument => Self::Wrong(match named(ContextKind::InvalidArg) {
                Some(option) if option.starts_with('-') => format!("error: required option '{option}' not specified"),
                Some(argument) => format!("error: missing required argument '{}'", argument.trim_matches(['<', '>']).to_lowercase()),
                None => first_line(error),
            }),
            _ => Self::Wrong(first_line(error)),
        }
    }
}

fn first_line(error: &clap::Error) -> String {
    error.render().to_string().lines().next().unwrap_or("error: wrong arguments").to_owned()
}
