//! The configuration file as the command line sees it: read once, checked, and never a reason to guess.

mod sections;

use verso_config::Problem;
use verso_kit::config::{Env, Error, File};
use verso_supervisor::ServiceName;

use crate::instance::Instance;

pub(crate) use sections::{Gateway, Mode, canvas_port, enabled};

/// The configuration at the moment when it was read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Empty when the file cannot be used.
    pub(crate) file: File,
    /// The environment, with the variables that the file sets.
    pub(crate) env: Env,
    /// What is wrong with the file.
    pub(crate) problems: Vec<Problem>,
    /// Keys of older versions.
    pub(crate) legacy: Vec<Problem>,
    /// A variable that the file refers to and that is not set here. It may well be where the gateway runs.
    pub(crate) missing: Option<Problem>,
    /// The names of the variables that the file refers to.
    pub(crate) variables: Vec<String>,
}

impl Snapshot {
    /// Reads and checks the file. A file that does not exist is an empty configuration, and valid.
    pub(crate) fn read(instance: &Instance) -> Self {
        Self::checked(verso_config::Snapshot::read(&instance.config_path, &instance.env))
    }

    /// Takes over what was read, and has those who will read its parts look at it.
    pub(crate) fn checked(read: verso_config::Snapshot) -> Self {
        let variables = read.variables();
        let mut problems = read.problems;
        let env = read.file.env().clone();
        if problems.is_empty() {
            problems.extend(unreadable(&read.file, &variables));
        }
        Self { file: read.file, env, problems, legacy: read.legacy, missing: read.missing, variables }
    }

    /// A file that exists and sets nothing.
    #[cfg(test)]
    pub(crate) fn of(value: serde_json::Value, env: Env, variables: Vec<String>) -> Self {
        Self { file: File::from_value(value), env, problems: Vec::new(), legacy: Vec::new(), missing: None, variables }
    }

    /// Whether the file can be used as it is.
    pub(crate) fn is_valid(&self) -> bool {
        self.problems.is_empty() && self.legacy.is_empty()
    }

    /// Explains to the operator why it cannot.
    pub(crate) fn complaint(&self, instance: &Instance) -> String {
        let listed = |problem: &Problem| format!("  - {}: {}", problem.path, problem.message);
        let mut lines = vec!["Config invalid".to_owned(), format!("File: {}", instance.config_path.display())];
        let problems: Vec<String> = self.problems.iter().chain(&self.missing).map(listed).collect();
        if !problems.is_empty() {
            lines.push("Problem:".to_owned());
            lines.extend(problems);
        }
        if !self.legacy.is_empty() {
            lines.push("Legacy config keys detected:".to_owned());
            lines.extend(self.legacy.iter().map(listed));
        }
        lines.push(format!("\nEdit the file, then check it with: {}", instance.command("config validate")));
        lines.join("\n")
    }
}

/// What the readers of the sections cannot use although every key takes its value.
fn unreadable(file: &File, variables: &[String]) -> Option<Problem> {
    // Where every variable is set: what else is wrong does not depend on who looks.
    let env = file.env().clone().with_missing(variables.iter().map(|name| (name.clone(), "unset".to_owned())));
    let file = file.clone().with_env(env.clone());
    let services = ServiceName::ALL.into_iter().try_for_each(|name| sections::enabled(&file, name).map(drop));
    let error = services.and_then(|()| verso_gateway::Config::load(&file, &env).map(drop)).err()?;
    Some(match error {
        Error::Value { key, reason } => Problem::new(key, reason),
        other => Problem::new("<root>", other.to_string()),
    })
}
