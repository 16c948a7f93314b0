//! Transforms: a program of the operator's that reads a call as JSON and writes what is to become of it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use verso_kit::config::Env;

use super::config::Transform;

/// How long a program may take unless configured.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that can be configured.
const TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// What is kept of what a program says of its troubles, in bytes.
const ERROR_BYTES_MAX: u64 = 2_000;

/// Programs at once: more calls wait, within their own time.
const PROGRAMS_MAX: usize = 4;

/// Variables that a program inherits. The gateway's secrets are not among them.
const VARIABLES: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Why a program has nothing to say.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("transform.module is a script, which this gateway cannot run; name a program in transform.command")]
    Module,
    #[error("transform.command is empty")]
    Empty,
    #[error("could not run {program}")]
    Run { program: String, source: std::io::Error },
    #[error("{program} did not answer within {} ms", .waited.as_millis())]
    TimedOut { program: String, waited: Duration },
    #[error("{program} ended with {status}: {said}")]
    Status { program: String, status: std::process::ExitStatus, said: String },
    #[error("{program} answers with more than {ANSWER_BYTES_MAX} bytes")]
    TooLong { program: String },
    #[error("{program} does not answer with JSON")]
    NoJson { program: String, source: serde_json::Error },
}

/// Places for programs.
#[derive(Debug)]
pub(crate) struct Places(Semaphore);

impl Default for Places {
    fn default() -> Self {
        Self(Semaphore::new(PROGRAMS_MAX))
    }
}

/// What is around a program.
#[derive(Debug)]
pub(super) struct Surroundings {
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Surroundings {
    /// A folder, and those variables of `env` that a program inherits.
    pub(super) fn new(folder: PathBuf, env: &Env) -> Self {
        let variables = VARIABLES.into_iter().filter_map(|name| env.get(name).map(|value| (name, value.to_owned()))).collect();
        Self { folder, variables }
    }
}

/// Runs a program. It gets the call on its standard input, and ends when its time is up.
pub(super) async fn run(places: &Places, transform: &Transform, around: &Surroundings, call: &Value) -> Result<Value, Error> {
    if transform.command.is_empty() && transform.module.is_some() {
        return Err(Error::Module);
    }
    let Some((program, arguments)) = transform.command.split_first() else { return Err(Error::Empty) };
    let limit = transform.timeout_ms.map_or(TIMEOUT, Duration::from_millis).min(TIMEOUT_MAX);
    let asking = async {
        let _place = places.0.acquire().await;
        ask(program, arguments, around, call.to_string()).await
    };
    timeout(limit, asking).await.unwrap_or_else(|_| Err(Error::TimedOut { program: program.clone(), waited: limit }))
}

async fn ask(program: &str, arguments: &[String], around: &Surroundings, call: String) -> Result<Value, Error> {
    let failed = |source| Error::Run { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&around.folder).env_clear().envs(around.variables.iter().cloned()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let tell = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not listen to the end may answer all the same.
            drop(stdin.write_all(call.as_bytes()).await);
        }
    };
    let (mut answer, mut said) = (Vec::new(), Vec::new());
    let hear = async {
        if let Some(stdout) = stdout {
            stdout.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await?;
        }
        std::io::Result::Ok(())
    };
    let complain = async {
        if let Some(stderr) = stderr {
            stderr.take(ERROR_BYTES_MAX).read_to_end(&mut said).await?;
        }
        std::io::Result::Ok(())
    };
    let ((), heard, complained) = tokio::join!(tell, hear, complain);
    heard.and(complained).map_err(failed)?;
    let program = program.to_owned();
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(Error::TooLong { program });
    }
    let status = child.wait().await.map_err(|source| Error::Run { program: program.clone(), source })?;
    if !status.success() {
        return Err(Error::Status { program, status, said: String::from_utf8_lossy(&said).trim().to_owned() });
    }
    serde_json::from_slice(&answer).map_err(|source| Error::NoJson { program, source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn asked(script: &str, timeout_ms: u64) -> Result<Value, Error> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let transform = Transform { command, module: None, timeout_ms: Some(timeout_ms) };
        let env = Env::from_pairs([("PATH", "/usr/bin:/bin"), ("VERSO_GATEWAY_TOKEN", "secret")]);
        run(&Places::default(), &transform, &Surroundings::new("/".into(), &env), &json!({"payload": {"n": 1}})).await
    }

    #[tokio::test]
    async fn a_program_reads_the_call_and_writes_what_becomes_of_it() {
        assert_eq!(asked("cat", 5_000).await.unwrap(), json!({"payload": {"n": 1}}));
        assert_eq!(asked("echo null", 5_000).await.unwrap(), Value::Null);
    }

    #[tokio::test]
    async fn a_program_has_limits_and_none_of_the_gateways_secrets() {
        assert!(matches!(asked("sleep 60", 50).await, Err(Error::TimedOut { .. })));
        assert!(matches!(asked("yes", 10_000).await, Err(Error::TooLong { .. })));
        assert!(matches!(asked("echo no; exit 3", 5_000).await, Err(Error::Status { .. })));
        assert!(matches!(asked("echo words", 5_000).await, Err(Error::NoJson { .. })));
        let variables = asked("env | sed 's/=.*//' | sort | sed 's/.*/\"&\"/' | paste -sd, | sed 's/.*/[&]/'", 5_000).await.unwrap();
        let names: Vec<&str> = variables.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        // The shell adds some of its own.
        let own = |name: &&&str| ["PWD", "OLDPWD", "SHLVL", "_"].contains(name);
        assert!(names.iter().filter(|name| !own(name)).all(|name| VARIABLES.contains(name)), "{names:?}");
    }
}
