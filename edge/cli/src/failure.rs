//! How a command ends when it cannot do what it was asked.

use std::error::Error;
use std::process::ExitCode;

use verso_kit::config::Env;

/// A start that no repetition will mend; supervisors are told not to repeat it.
const PERMANENT: u8 = 78;

/// A failure whose words are for the operator as they are.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// An ordinary failure.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// A refusal to start that only the operator can mend.
    pub(crate) fn refusal(text: impl Into<String>, env: &Env) -> Self {
        let code = if env.get("VERSO_SERVICE_MARKER").is_some() { PERMANENT } else { 1 };
        Self { text: text.into(), code }
    }

    /// Ends with an exit code of somebody else, who has said what is wrong.
    pub(crate) fn exit(code: u8) -> Self {
        Self { text: String::new(), code }
    }

    /// The command has said on its own what is wrong.
    pub(crate) fn silent() -> Self {
        Self::new("")
    }

    /// Returns the words for the operator.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the process's exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// Words an error with its causes. Some messages hold their cause already; it is not said twice.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
