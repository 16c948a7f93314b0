//! Installs what a skill asks for: one known program with arguments, never a shell.

use std::path::PathBuf;
use std::time::Duration;

use verso_kit::CancellationToken;
use verso_kit::config::Env;

use super::manifest::InstallOption;
use super::needs::find_program;
use crate::exec::child::{self, Ended, Plan};

/// Bytes of each of the two outputs that are kept.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// What an installer may see of the environment: where programs, homes and caches are.
const VARIABLES: [&str; 8] = ["PATH", "HOME", "USER", "LANG", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "GOPATH"];

/// Why nothing was installed. The words are for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The kind is one that is not carried out here.
    #[error("installs of the kind \"{0}\" are not supported; install it by hand")]
    Kind(String),
    /// The skill does not say what to install.
    #[error("the install option names nothing to install")]
    Nothing,
    /// What is to be installed could be read as an option, or as more than one thing.
    #[error("\"{0}\" is not the name of a package")]
    Name(String),
    /// The installing program is not there.
    #[error("{0} is not installed on the gateway host")]
    NoInstaller(&'static str),
    /// The installing program could not be started.
    #[error("could not start {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It took too long and was stopped.
    #[error("{program} did not end within {seconds} s and was stopped")]
    TimedOut {
        /// The program.
        program: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// It ended badly.
    #[error("{program} ended with {}: {}", .outcome.code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}")), last_line(.outcome))]
    Failed {
        /// The program.
        program: &'static str,
        /// What it said.
        outcome: Installed,
    },
}

/// What an installer has said.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    /// None when a signal ended it.
    pub code: Option<i32>,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its error output.
    pub stderr: String,
}

/// Carries an install option out.
pub async fn install(option: &InstallOption, env: &Env, timeout: Duration) -> Result<Installed, InstallError> {
    let (program, arguments) = command(option)?;
    let path = find_program(program, env).ok_or(InstallError::NoInstaller(program))?;
    let variables = VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), env.get(name)?.to_owned()))).collect();
    let plan = Plan { program: path, arguments, folder: PathBuf::from("/"), variables, sandbox: None, cleanup: None };
    let limits = child::Limits { timeout: Some(timeout), output_bytes_max: OUTPUT_BYTES_MAX };
    let start = |source| InstallError::Start { program, source };
    let outcome = child::run(plan, limits, &CancellationToken::new()).await.map_err(start)?;
    let installed = Installed { code: outcome.ended.code(), stdout: outcome.stdout, stderr: outcome.stderr };
    match outcome.ended {
        Ended::Exited(0) => Ok(installed),
        Ended::TimedOut => Err(InstallError::TimedOut { program, seconds: timeout.as_secs() }),
        _ => Err(InstallError::Failed { program, outcome: installed }),
    }
}

fn command(option: &InstallOption) -> Result<(&'static str, Vec<String>), InstallError> {
    let (program, words, subject): (_, &[&str], _) = match option.kind.as_str() {
        "brew" => ("brew", &["install"], &option.formula),
        // A package's own scripts would run before anybody has looked at them.
        "node" => ("npm", &["install", "--global", "--ignore-scripts"], &option.package),
        "go" => ("go", &["install"], &option.module),
        "uv" => ("uv", &["tool", "install"], &option.package),
        other => return Err(InstallError::Kind(other.to_owned())),
    };
    let subject = subject.as_deref().map(str::trim).filter(|subject| !subject.is_empty()).ok_or(InstallError::Nothing)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "@/._-+~^=[],".contains(c);
    if subject.starts_with('-') || !subject.chars().all(plain) {
        return Err(InstallError::Name(subject.to_owned()));
    }
    Ok((program, words.iter().map(|word| (*word).to_owned()).chain([subject.to_owned()]).collect()))
}

fn last_line(outcome: &Installed) -> &str {
    let lines = outcome.stderr.lines().chain(outcome.stdout.lines());
    lines.map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(kind: &str, subject: &str) -> InstallOption {
        let subject = Some(subject.to_owned());
        InstallOption {
            kind: kind.to_owned(),
            formula: subject.clone(),
            package: subject.clone(),
            module: subject,
            ..InstallOption::default()
        }
    }

    #[test]
    fn a_package_is_one_argument_and_never_an_option() {
        assert_eq!(command(&option("uv", "ruff==0.1")).unwrap().1, ["tool", "install", "ruff==0.1"]);
        for hostile in ["--registry=http://x", "a b", "a;b", "$(id)", "a\nb"] {
            assert!(matches!(command(&option("node", hostile)), Err(InstallError::Name(_))), "{hostile}");
        }
        assert!(matches!(command(&option("download", "x")), Err(InstallError::Kind(_))));
    }

    #[tokio::test]
    async fn an_installer_that_is_not_there_is_named() {
        let env = Env::from_pairs([("PATH", "/nonexistent")]);
        let error = install(&option("brew", "jq"), &env, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "brew is not installed on the gateway host");
    }
}
