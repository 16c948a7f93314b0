//! Trying an adapter: each rule of the contract as one finding.

mod listening;
mod rules;

use std::time::Duration;

use serde::Serialize;
use verso_proto::adapter::v1::HelloResponse;

use crate::process::{Process, Program};

/// An adapter to be tried.
#[derive(Debug, Clone)]
pub struct Subject {
    /// How it is started.
    pub program: Program,
    /// The account's settings, as JSON.
    pub settings_json: String,
    /// A program that has the network deliver one new message; without it, what is about incoming messages is not tried.
    pub inbound: Option<Vec<String>>,
    /// Where a message may be sent; without it, what is about sending is not tried.
    pub to: Option<String>,
    /// How long anything may take.
    pub patience: Duration,
}

/// What was found out about one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// What it asks for.
    pub about: &'static str,
    /// Whether it is kept.
    pub verdict: Verdict,
    /// Why it is not, or why it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a rule is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not.
    Fail,
    /// It was not tried.
    Skip,
}

/// Why a rule is not kept, or not tried.
#[derive(Debug)]
enum Not {
    Kept(String),
    Tried(&'static str),
}

impl<E: std::error::Error> From<E> for Not {
    fn from(error: E) -> Self {
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            words = format!("{words}: {error}");
            cause = error.source();
        }
        Self::Kept(words)
    }
}

/// What a rule comes to.
type Outcome = Result<(), Not>;

/// Tries every rule in turn, and tells each finding as soon as it is there.
pub async fn run(subject: &Subject, mut tell: impl FnMut(&Finding)) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |rule, about, outcome: Outcome| {
        let (verdict, reason) = match outcome {
            Ok(()) => (Verdict::Pass, None),
            Err(Not::Kept(reason)) => (Verdict::Fail, Some(reason)),
            Err(Not::Tried(reason)) => (Verdict::Skip, Some(reason.to_owned())),
        };
        let finding = Finding { rule, about, verdict, reason };
        tell(&finding);
        findings.push(finding);
    };
    let begun = subject.program.start().await;
    let (rule, about) = ("start", "reads its handover, serves on the socket, and says hello with a name and a text format");
    let (mut process, hello) = match begun {
        Ok((process, hello)) => {
            add(rule, about, rules::introduced(&hello));
            (process, hello)
        }
        Err(error) => {
            add(rule, about, Err(error.into()));
            return findings;
        }
    };
    let trial = Trial { subject, hello: &hello };
    add("version", "refuses a version that it does not speak with FAILED_PRECONDITION", rules::version(&process).await);
    add("token", "lets nobody in without the token: UNAUTHENTICATED", rules::token(&process).await);
    add("progress", "says that the account is connected, and goes on saying that it is alive", trial.progress(&process).await);
    add("private", "listens on no address that another machine can reach", rules::private(&process));
    add("again", "runs an account again after its run was cancelled", trial.rerun(&process).await);
    add("send", "sends a message and returns what the network calls it", trial.send(&process).await);
    add("repeat", "sends a message with the same id once, also after it was killed", trial.repeat(&mut process).await);
    add("nonsense", "refuses what makes no sense and what it did not offer, and goes on", trial.nonsense(&process).await);
    add("inbound", "delivers a message with the ids that decide who is let in", trial.inbound(&process).await);
    add("redelivery", "delivers a message again after it was killed, until it is acknowledged", trial.redelivery(&mut process).await);
    add("forgets", "does not deliver again what was acknowledged", trial.forgets(&mut process).await);
    add("stop", "ends by itself when it is asked to", rules::stop(&mut process).await);
    add("orphan", "ends when its standard input does: whoever started it is gone", trial.orphan().await);
    findings
}

/// One adapter and what it said of itself.
#[derive(Debug)]
struct Trial<'a> {
    subject: &'a Subject,
    hello: &'a HelloResponse,
}

impl Trial<'_> {
    /// Kills the process and starts it anew.
    async fn restart(&self, process: &mut Process) -> Outcome {
        process.kill().await;
        (*process, _) = self.subject.program.start().await?;
        Ok(())
    }
}
