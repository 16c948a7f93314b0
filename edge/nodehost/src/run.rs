//! One program: started in a group of its own, read as it writes, ended with all its descendants.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use verso_kit::CancellationToken;

use crate::Error;

/// How much of a program's output is kept, in bytes of each stream.
const OUTPUT_BYTES_MAX: usize = 200_000;

/// How much output goes out at a time, in bytes.
const CHUNK_BYTES_MAX: usize = 8_192;

/// How much output may wait to go out. More is kept, and not sent while the program runs.
const CHUNKS_WAITING_MAX: usize = 64;

/// How long output is waited for after the program has ended: a descendant may hold it open.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// What is to be run. Everything is decided: nothing here asks anybody.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// What the program is told that it is called, and its arguments.
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) limit: Option<Duration>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    exit_code: Option<i32>,
    timed_out: bool,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// As callers read it.
    pub(crate) fn payload(&self) -> Value {
        let error = match (self.timed_out, self.exit_code) {
            (true, _) => Some("command timed out"),
            (false, None) => Some("command was ended by a signal"),
            (false, Some(_)) => None,
        };
        json!({
            "exitCode": self.exit_code, "timedOut": self.timed_out, "success": self.exit_code == Some(0) && !self.timed_out,
            "stdout": self.stdout, "stderr": self.stderr, "error": error,
        })
    }

    /// As the gateway is told when it is over.
    pub(crate) fn report(&self) -> Value {
        let output = [self.stdout.trim_end(), self.stderr.trim_end()].join("\n");
        json!({"exitCode": self.exit_code, "timedOut": self.timed_out, "success": self.exit_code == Some(0), "output": output.trim()})
    }
}

impl Program {
    /// Runs the program to its end, or to the end of its time. What it writes goes to `chunks` as well. `cancel` ends it at once.
    pub(crate) async fn run(self, chunks: mpsc::Sender<String>, cancel: CancellationToken) -> Result<Ended, Error> {
        let limit = self.limit;
        let mut child = self.start()?;
        let group = Group::of(&child);
        let outputs = (child.stdout.take(), child.stderr.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut reading = Box::pin(async {
            tokio::join!(read(outputs.0, &mut stdout, &chunks), read(outputs.1, &mut stderr, &chunks));
        });
        let mut drained = false;
        let status = loop {
            tokio::select! {
                status = wait(&mut child, deadline) => break status,
                () = cancel.cancelled() => {
                    group.kill();
                    drop(child.wait().await);
                    return Err(Error::Cancelled);
                }
                () = &mut reading, if !drained => drained = true,
            }
        };
        let timed_out = status.is_none();
        // Whatever the program has left behind ends with it.
        group.kill();
        let status = match status {
            Some(status) => Some(status),
            None => child.wait().await.ok(),
        };
        if !drained {
            drop(timeout_at(Instant::now() + LAST_OUTPUT, reading.as_mut()).await);
        }
        drop(reading);
        let exit_code = if timed_out { None } else { status.and_then(|status| status.code()) };
        Ok(Ended { exit_code, timed_out, stdout: text(&stdout), stderr: text(&stderr) })
    }

    fn start(self) -> Result<Child, Error> {
        let mut command = Command::new(&self.path);
        command.args(self.argv.iter().skip(1)).current_dir(&self.cwd).env_clear().envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        if let Some(name) = self.argv.first() {
            command.arg0(name);
        }
        command.spawn().map_err(|source| Error::Start { program: self.path, source })
    }
}

/// A program and all that it starts.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // There may be nobody left.
            let _gone = kill_process_group(group, Signal::KILL).is_err();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the end of a program; none when its time is over first.
async fn wait(child: &mut Child, deadline: Option<Instant>) -> Option<ExitStatus> {
    match deadline {
        None => child.wait().await.ok(),
        Some(deadline) => timeout_at(deadline, child.wait()).await.ok()?.ok(),
    }
}

/// Reads to the end; keeps the first part and passes pieces on while there is room.
async fn read(source: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, chunks: &mpsc::Sender<String>) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    while let Ok(count) = source.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
        if room > 0 {
            // Output while it runs is a courtesy; all that is kept comes with the answer.
            drop(chunks.try_send(String::from_utf8_lossy(&buffer[..room]).into_owned()));
        }
    }
}

/// A way for output to go out while a program runs.
pub(crate) fn chunks() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
    mpsc::channel(CHUNKS_WAITING_MAX)
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if bytes.len() >= OUTPUT_BYTES_MAX {
        text.push_str("\n… (truncated)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Program {
        Program {
            path: "/bin/sh".into(),
            argv: ["sh", "-c", line].map(str::to_owned).to_vec(),
            cwd: "/".into(),
            environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            limit: Some(Duration::from_secs(30)),
        }
    }

    async fn run(program: Program) -> Ended {
        program.run(chunks().0, CancellationToken::new()).await.unwrap()
    }

    #[tokio::test]
    async fn says_how_a_program_ended() {
        let ended = run(shell("echo out; echo err >&2; exit 3")).await;
        assert_eq!(ended, Ended { exit_code: Some(3), timed_out: false, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() });
        assert_eq!(ended.payload()["success"], false);
        let ended = run(shell("kill -9 $$")).await;
        assert_eq!(ended.payload()["error"], "command was ended by a signal");
    }

    #[tokio::test]
    async fn output_has_a_limit_and_the_program_does_not_notice() {
        let ended = run(shell("head -c 1000000 /dev/zero | tr '\\0' x; echo done >&2")).await;
        assert!(ended.stdout.starts_with("xxx") && ended.stdout.len() < OUTPUT_BYTES_MAX + 100);
        assert_eq!((ended.exit_code, ended.stderr.as_str()), (Some(0), "done\n"));
    }

    #[tokio::test]
    async fn a_program_ends_with_its_time_and_takes_its_descendants_along() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("(sleep 600 & echo $! > {}/pid; wait) & wait", folder.path().display());
        let program = Program { limit: Some(Duration::from_millis(300)), ..shell(&line) };
        let ended = run(program).await;
        assert_eq!((ended.timed_out, ended.exit_code), (true, None));
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        gone(pid).await;
    }

    #[tokio::test]
    async fn a_cancelled_program_ends_at_once() {
        let (sender, mut output) = chunks();
        let cancel = CancellationToken::new();
        let running = shell("echo $$; exec sleep 600").run(sender, cancel.clone());
        let cancelling = async {
            let pid = output.recv().await.unwrap();
            cancel.cancel();
            Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
        };
        let (ended, pid) = tokio::join!(running, cancelling);
        assert!(matches!(ended, Err(Error::Cancelled)));
        gone(pid).await;
    }

    #[tokio::test]
    async fn what_holds_the_output_open_is_not_waited_for() {
        let ended = run(shell("sleep 600 & echo done")).await;
        assert_eq!((ended.exit_code, ended.stdout.as_str()), (Some(0), "done\n"));
    }

    /// A process that was ended is a zombie until its parent looks at it, which is not ours to do.
    async fn gone(pid: Pid) {
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let state = || std::fs::read_to_string(&stat).ok().and_then(|text| Some(text.rsplit_once(") ")?.1.chars().next()?.to_owned()));
        for _ in 0..3_000 {
            if matches!(state(), None | Some('Z' | 'X')) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("process {pid:?} is still there");
    }
}
