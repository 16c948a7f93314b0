use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use verso_kit::CancellationToken;
use verso_kit::config::Env;
use verso_kit::tasks::Tasks;

use super::approval::{Approver, Decision, FileRules, Question};
use super::*;
use crate::tool::{Answer, Progress, Refused, Scene, Tool as _};

/// Answers as the test says, and remembers what it was asked.
#[derive(Debug)]
struct People {
    rules: FileRules,
    decision: Decision,
    asked: Mutex<Vec<Question>>,
    /// What happens between the question and the answer.
    meanwhile: Option<Meanwhile>,
}

struct Meanwhile(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Meanwhile")
    }
}

impl Approver for People {
    fn rules<'a>(&'a self, _agent: &'a str) -> BoxFuture<'a, Result<FileRules, Refused>> {
        async { Ok(self.rules.clone()) }.boxed()
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Decision, Refused>> {
        self.asked.lock().unwrap().push(question);
        if let Some(Meanwhile(meanwhile)) = &self.meanwhile {
            meanwhile();
        }
        async { Ok(self.decision) }.boxed()
    }
}

struct Desk {
    folder: tempfile::TempDir,
    people: Arc<People>,
    exec: Exec,
    process: Process,
    shutdown: CancellationToken,
    run: CancellationToken,
}

impl Desk {
    fn new(config: Value, decision: Decision) -> Self {
        Self::with(config, FileRules::default(), decision, None)
    }

    fn with(config: Value, rules: FileRules, decision: Decision, meanwhile: Option<Meanwhile>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let jobs = Jobs::open(Tasks::new(shutdown.clone()), folder.path().join("notes"), None);
        let people = Arc::new(People { rules, decision, asked: Mutex::default(), meanwhile });
        let exec = Exec {
            jobs: jobs.clone(),
            approver: people.clone(),
            config: serde_json::from_value(config).unwrap(),
            env: Env::from_pairs([("PATH", "/usr/bin:/bin"), ("SECRET_KEY", "hidden")]),
            sandbox: None,
            wrapper: None,
            unusable: None,
            warning: None,
        };
        Self { folder, people, exec, process: Process { jobs }, shutdown, run: CancellationToken::new() }
    }

    fn scene(&self) -> Scene {
        Scene {
            agent: "main".to_owned(),
            session: "agent:main:main".to_owned(),
            run: "r".to_owned(),
            call: "c".to_owned(),
            workspace: self.folder.path().to_owned(),
            variables: vec![("FROM_SKILL".to_owned(), "yes".to_owned())],
            cancelled: self.run.clone(),
            progress: Progress::silent(),
        }
    }

    async fn exec(&self, arguments: Value) -> Result<Answer, Refused> {
        self.exec.call(&self.scene(), arguments).await
    }

    async fn process(&self, arguments: Value) -> Result<Answer, Refused> {
        self.process.call(&self.scene(), arguments).await
    }

    fn asked(&self) -> Vec<String> {
        self.people.asked.lock().unwrap().iter().map(|question| question.command.clone()).collect()
    }
}

fn full() -> Value {
    json!({"security": "full", "ask": "off"})
}

fn alive(pid: &Value) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn until(condition: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_command_answers_with_its_output_and_its_end() {
    let desk = Desk::new(full(), Decision::Deny);
    let answer = desk.exec(json!({"command": "echo $((40 + 2)) $FROM_SKILL [$SECRET_KEY]; exit 3"})).await.unwrap();
    assert_eq!(answer.words(), "42 yes []\n\nCommand exited with code 3");
    assert!(answer.is_error && answer.details["status"] == "failed" && answer.details["exitCode"] == 3);
    assert!(desk.asked().is_empty());
}

#[tokio::test]
async fn sec_48_a_call_cannot_set_what_programs_load() {
    let desk = Desk::new(full(), Decision::Once);
    let error = desk.exec(json!({"command": "true", "env": {"LD_PRELOAD": "/x.so"}})).await.unwrap_err();
    assert_eq!(error.to_string(), "the variable \"LD_PRELOAD\" may not be set");
    let answer = desk.exec(json!({"command": "printenv MINE", "env": {"MINE": "x"}})).await.unwrap();
    assert_eq!(answer.words(), "x");
}

#[tokio::test]
async fn what_is_not_listed_asks_and_a_no_is_a_no() {
    let desk = Desk::new(json!({}), Decision::Deny);
    let error = desk.exec(json!({"command": "touch made"})).await.unwrap_err();
    assert_eq!(error.to_string(), "exec denied: user-denied");
    assert_eq!(desk.asked(), ["touch made"]);
    assert!(!desk.folder.path().join("made").exists());
    let quiet = Desk::new(json!({"ask": "off"}), Decision::Once);
    assert!(quiet.exec(json!({"command": "touch made"})).await.is_err() && quiet.asked().is_empty());
    let denied = Desk::new(json!({"security": "deny"}), Decision::Once);
    assert!(denied.exec(json!({"command": "true"})).await.is_err() && denied.asked().is_empty());
    let mistyped = Desk::new(json!({"security": "ful"}), Decision::Once);
    assert!(mistyped.exec(json!({"command": "true"})).await.is_err(), "a word that means nothing must not mean everything");
}

#[tokio::test]
async fn nobody_answering_is_a_no_unless_the_fallback_says_otherwise() {
    let desk = Desk::new(json!({}), Decision::Unanswered);
    assert_eq!(desk.exec(json!({"command": "touch made"})).await.unwrap_err().to_string(), "exec denied: approval-timeout");
}

#[tokio::test]
async fn what_is_listed_runs_without_asking_and_with_its_own_arguments() {
    let touch = std::fs::canonicalize("/usr/bin/touch").unwrap();
    let rules = FileRules { allowlist: vec![touch.display().to_string()], ..FileRules::default() };
    let desk = Desk::with(json!({}), rules, Decision::Deny, None);
    desk.exec(json!({"command": "touch 'a b' c && touch d"})).await.unwrap();
    assert!(["a b", "c", "d"].iter().all(|name| desk.folder.path().join(name).exists()));
    assert!(desk.asked().is_empty());
    assert!(desk.exec(json!({"command": "touch $(id)"})).await.is_err());
    assert!(desk.exec(json!({"command": "touch x", "env": {"MINE": "x"}})).await.is_err());
    assert_eq!(desk.asked(), ["touch $(id)", "MINE=x touch x"]);
}

#[tokio::test]
async fn sec_46_what_was_approved_is_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("tool");
    let write = |path: &Path, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write(&tool, "#!/bin/sh\necho good\n");
    let swapped = tool.clone();
    let meanwhile = Meanwhile(Box::new(move || write(&swapped, "#!/bin/sh\ntouch evil\n")));
    let desk = Desk::with(json!({}), FileRules::default(), Decision::Once, Some(meanwhile));
    let error = desk.exec(json!({"command": format!("{} x", tool.display())})).await.unwrap_err();
    assert_eq!(error.to_string(), "exec denied: a program or the folder has changed since it was approved");
    assert!(!desk.folder.path().join("evil").exists());
}

#[tokio::test]
async fn sec_38_a_question_shows_the_whole_command() {
    let desk = Desk::new(json!({}), Decision::Deny);
    let hidden = format!("echo {}\u{1b}[2K; rm -rf x", "a".repeat(8_000));
    assert!(desk.exec(json!({"command": hidden})).await.is_err());
    let shown = &desk.asked()[0];
    assert!(shown.ends_with("; rm -rf x") && shown.contains(r"\u{1b}") && !shown.contains('\u{1b}'));
    assert!(desk.exec(json!({"command": "a".repeat(20_000)})).await.is_err());
    assert_eq!(desk.asked().len(), 1, "what is too long to be read is not asked about");
}

#[tokio::test]
async fn a_long_command_goes_on_and_can_be_looked_after() {
    let desk = Desk::new(full(), Decision::Deny);
    let answer = desk.exec(json!({"command": "echo begun; read line; echo got $line; sleep 1000", "yieldMs": 50})).await.unwrap();
    assert_eq!(answer.details["status"], "running");
    let id = answer.details["sessionId"].clone();
    desk.process(json!({"action": "write", "sessionId": id, "data": "hello\n"})).await.unwrap();
    let job = desk.process.jobs.find("main", id.as_str().unwrap()).unwrap();
    until(|| job.tail(1_000).contains("got hello")).await;
    assert!(desk.process.jobs.find("other", id.as_str().unwrap()).is_none(), "another agent does not see it");
    let list = desk.process(json!({"action": "list"})).await.unwrap();
    assert!(list.words().contains("running"));
    desk.process(json!({"action": "kill", "sessionId": id})).await.unwrap();
    job.wait().await;
    assert!(!alive(&answer.details["pid"]));
    let polled = desk.process(json!({"action": "poll", "sessionId": id})).await.unwrap();
    assert!(polled.words().contains("got hello") && polled.words().ends_with("Process was killed."));
}

#[tokio::test]
async fn a_terminal_is_a_terminal() {
    let desk = Desk::new(full(), Decision::Deny);
    let answer = desk.exec(json!({"command": "test -t 0 && test -t 1 && stty size", "pty": true})).await.unwrap();
    assert_eq!(answer.words().trim(), "40 120", "{answer:?}");
}

#[tokio::test]
async fn a_command_ends_with_its_run_and_with_the_service() {
    let desk = Desk::new(full(), Decision::Deny);
    let call = desk.exec(json!({"command": "sleep 1000", "yieldMs": 60_000}));
    let stop = async {
        until(|| !desk.process.jobs.list("main").is_empty()).await;
        desk.run.cancel();
    };
    let (answer, ()) = tokio::join!(call, stop);
    assert!(answer.is_err());
    let job = desk.process.jobs.list("main").remove(0);
    job.wait().await;

    let desk = Desk::new(full(), Decision::Deny);
    // A run that is dropped is over, too.
    assert!(
        tokio::time::timeout(Duration::from_millis(200), desk.exec(json!({"command": "sleep 1000", "yieldMs": 60_000}))).await.is_err()
    );
    desk.process.jobs.list("main").remove(0).wait().await;

    let kept = desk.exec(json!({"command": "sleep 1000", "background": true})).await.unwrap();
    assert!(alive(&kept.details["pid"]));
    desk.shutdown.cancel();
    until(|| !alive(&kept.details["pid"])).await;
}
