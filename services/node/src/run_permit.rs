//! What exactly a permission is for: the words, the folder, the variables, the node and on whose behalf.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use verso_proto::Json;
use verso_proto::node::v1::ExecQuestion;

/// Shells that are given a whole command line as one word.
const SHELLS: [&str; 4] = ["/bin/sh", "sh", "/bin/bash", "bash"];

/// A question, and what its permission would be bound to beyond what people are shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) question: ExecQuestion,
    pub(crate) env: BTreeMap<String, String>,
    /// The node that asked for itself, if one did.
    pub(crate) by_node: Option<String>,
}

/// One run of a program on a node, as its caller describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Run {
    #[serde(skip)]
    node_id: String,
    command: Vec<String>,
    raw_command: Option<String>,
    cwd: Option<String>,
    env: Option<BTreeMap<String, String>>,
    agent_id: Option<String>,
    session_key: Option<String>,
    #[serde(rename = "runId")]
    name: Option<String>,
}

impl Run {
    /// Reads the parameters of `system.run`; none when they are not what they should be.
    fn read(node_id: &str, params: &Map<String, Value>) -> Option<Self> {
        let run: Self = serde_json::from_value(Value::Object(params.clone())).ok()?;
        Some(Self { node_id: node_id.to_owned(), ..run })
    }
}

impl Asked {
    /// Whether a permission of this question is for exactly that run. What cannot be compared with certainty is not covered.
    pub(crate) fn covers(&self, run: &Run) -> bool {
        let question = &self.question;
        self.by_node.is_none()
            && self.covers_words(run)
            && same(question.cwd.as_ref(), run.cwd.as_ref())
            && same(question.agent_id.as_ref(), run.agent_id.as_ref())
            && same(question.session_key.as_ref(), run.session_key.as_ref())
            && question.node_id.as_ref().is_none_or(|node_id| *node_id == run.node_id)
            && self.env == run.env.clone().unwrap_or_default()
    }

    fn covers_words(&self, run: &Run) -> bool {
        let (text, argv) = (self.question.command.as_str(), run.command.as_slice());
        if !self.question.command_argv.is_empty() {
            return self.question.command_argv == argv;
        }
        match &run.raw_command {
            // A whole command line counts only where it is what the shell is given.
            Some(raw) => raw == text && is_line(argv, raw),
            // Words that would read differently when they are put together are not compared.
            None => argv.iter().all(|word| is_plain(word)) && argv.join(" ") == text,
        }
    }
}

fn is_line(argv: &[String], line: &str) -> bool {
    let [shell, option, given] = argv else { return false };
    SHELLS.contains(&shell.as_str()) && ["-c", "-lc"].contains(&option.as_str()) && given == line
}

fn same(asked: Option<&String>, wanted: Option<&String>) -> bool {
    let given = |value: Option<&String>| value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    given(asked) == given(wanted)
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./=:,@%+".contains(letter))
}

/// What a run is called and in whose conversation it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) run_id: String,
    pub(crate) session_key: Option<String>,
}

/// Rewrites the parameters of a run: what says that it is approved stays only when `permit` says so. Also names the run.
pub(crate) fn vetted(
    node_id: &str,
    params: Option<Json>,
    permit: impl FnOnce(&str, &Run) -> Option<String>,
) -> (Option<Json>, Option<Named>) {
    let Some(sent) = params else { return (None, None) };
    let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(&sent.text) else { return (Some(sent), None) };
    let run = Run::read(node_id, &members);
    let named = run.as_ref().and_then(|run| Some(Named { run_id: run.name.clone()?, session_key: run.session_key.clone() }));
    let claims = [members.shift_remove("approved"), members.shift_remove("approvalDecision")];
    if claims.iter().all(Option::is_none) {
        return (Some(sent), named);
    }
    let decision = run.as_ref().and_then(|run| permit(run.name.as_deref()?, run));
    if let Some(decision) = decision {
        members.insert("approved".to_owned(), Value::Bool(true));
        members.insert("approvalDecision".to_owned(), Value::String(decision));
    }
    (Some(Json { text: Value::Object(members).to_string() }), named)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked() -> Asked {
        let question = ExecQuestion {
            command: "ls -l".to_owned(),
            cwd: Some("/srv".to_owned()),
            agent_id: Some("main".to_owned()),
            ..ExecQuestion::default()
        };
        Asked { question, ..Asked::default() }
    }

    fn run(params: &Value) -> Run {
        Run::read("tv", params.as_object().unwrap()).unwrap()
    }

    #[test]
    fn sec_46_a_permission_is_for_the_very_same_run() {
        let same = json!({"command": ["ls", "-l"], "cwd": "/srv", "agentId": "main", "runId": "r"});
        assert!(asked().covers(&run(&same)));
        for (member, other) in [
            ("command", json!(["ls", "-l", "/"])),
            ("command", json!(["ls -l"])),
            ("command", json!(["sh", "-c", "ls -l"])),
            ("rawCommand", json!("ls -l")),
            ("cwd", json!("/")),
            ("cwd", Value::Null),
            ("agentId", json!("other")),
            ("sessionKey", json!("agent:main:main")),
            ("env", json!({"PATH": "/tmp"})),
        ] {
            let mut params = same.clone();
            params[member] = other.clone();
            assert!(!asked().covers(&run(&params)), "{member} {other}");
        }
        let line = json!({"command": ["/bin/sh", "-lc", "ls -l"], "rawCommand": "ls -l", "cwd": "/srv", "agentId": "main"});
        assert!(asked().covers(&run(&line)), "a shell is given the line that people saw");
        let elsewhere = Asked { question: ExecQuestion { node_id: Some("radio".to_owned()), ..asked().question }, ..Asked::default() };
        assert!(!elsewhere.covers(&run(&same)), "another node");
    }

    #[test]
    fn sec_51_a_caller_cannot_approve_his_own_run() {
        let claim = json!({"command": ["ls"], "approved": true, "approvalDecision": "allow-always", "runId": "r"});
        let text = |params: Option<Json>| serde_json::from_str::<Value>(&params.unwrap().text).unwrap();
        let (params, named) = vetted("tv", Some(Json { text: claim.to_string() }), |_, _| None);
        assert_eq!(text(params), json!({"command": ["ls"], "runId": "r"}));
        assert_eq!(named.unwrap().run_id, "r");
        let (params, _) = vetted("tv", Some(Json { text: claim.to_string() }), |id, _| (id == "r").then(|| "allow-once".to_owned()));
        assert_eq!(text(params)["approvalDecision"], "allow-once", "what was decided counts, not what is claimed");
        let unnamed = json!({"command": ["ls"], "approved": true});
        let (params, _) = vetted("tv", Some(Json { text: unnamed.to_string() }), |_, _| Some("allow-once".to_owned()));
        assert_eq!(text(params), json!({"command": ["ls"]}));
    }
}
