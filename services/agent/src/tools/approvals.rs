//! The approvals of the node service: it keeps the file and asks people.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _};
use verso_kit::peer::{Caller, Peer};
use verso_proto::node::v1::{ExecAllowed, ExecApprovalRequestRequest, ExecApprovalsGetRequest};
use verso_tools::exec::approval::{Approver, Decision, FileRules, Question};
use verso_tools::exec::safety::{Ask, Security};
use verso_tools::tool::Refused;

/// How long people have to decide, in milliseconds.
const WAIT_MS: i64 = 120_000;

/// Programs that are remembered for each agent until the service ends; whoever keeps the file remembers longer.
const REMEMBERED_MAX: usize = 256;

/// Asks through the node service.
#[derive(Debug)]
pub(super) struct Approvals {
    node: Peer,
    /// What was allowed for good, by agent.
    always: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Approvals {
    pub(super) fn new(node: Peer) -> Self {
        Self { node, always: Mutex::default() }
    }

    fn remember(&self, agent: &str, path: String) {
        let mut always = self.always.lock().unwrap_or_else(PoisonError::into_inner);
        let known = always.entry(agent.to_owned()).or_default();
        if known.len() < REMEMBERED_MAX && !known.contains(&path) {
            known.push(path);
        }
    }

    async fn file(&self, agent: &str) -> Result<FileRules, Refused> {
        let asked = self.node.call(ExecApprovalsGetRequest {}, &Caller::default()).await;
        let file = asked
            .map_err(|error| Refused::failed("exec approvals cannot be read, so nothing is run", error.message()))?
            .file
            .unwrap_or_default();
        let read = |word: Option<&String>, name| word.map(|word| Security::parse(word).ok_or_else(|| unknown(name, word))).transpose();
        let defaults = file.defaults.unwrap_or_default();
        let own = file.agents.get(agent);
        let any = file.agents.get("*");
        let pick = |of: fn(&verso_proto::node::v1::ExecApprovalsAgent) -> Option<&String>| own.and_then(of).or_else(|| any.and_then(of));
        let ask = pick(|agent| agent.ask.as_ref()).or(defaults.ask.as_ref());
        let patterns = |list: &[ExecAllowed]| list.iter().map(|allowed| allowed.pattern.clone()).collect::<Vec<_>>();
        let mut allowlist: Vec<String> = [own, any].into_iter().flatten().flat_map(|agent| patterns(&agent.allowlist)).collect();
        allowlist.extend(self.always.lock().unwrap_or_else(PoisonError::into_inner).get(agent).into_iter().flatten().cloned());
        Ok(FileRules {
            security: read(pick(|agent| agent.security.as_ref()).or(defaults.security.as_ref()), "security")?,
            ask: ask.map(|word| Ask::parse(word).ok_or_else(|| unknown("ask", word))).transpose()?,
            fallback: read(pick(|agent| agent.ask_fallback.as_ref()).or(defaults.ask_fallback.as_ref()), "askFallback")?,
            allowlist,
        })
    }
}

impl Approver for Approvals {
    fn rules<'a>(&'a self, agent: &'a str) -> BoxFuture<'a, Result<FileRules, Refused>> {
        self.file(agent).boxed()
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Decision, Refused>> {
        async move {
            let resolved = question.resolved.map(|path| path.display().to_string());
            let request = ExecApprovalRequestRequest {
                command: question.command,
                cwd: Some(question.folder.display().to_string()),
                host: Some("gateway".to_owned()),
                security: Some(question.security.as_str().to_owned()),
                ask: Some(question.ask.as_str().to_owned()),
                agent_id: Some(question.agent.clone()),
                resolved_path: resolved.clone(),
                session_key: Some(question.session),
                timeout_ms: Some(WAIT_MS),
                ..ExecApprovalRequestRequest::default()
            };
            let answer = self.node.call(request, &Caller::default()).await;
            let answer = answer.map_err(|error| Refused::failed("nobody could be asked, so nothing is run", error.message()))?;
            Ok(match answer.decision.as_deref() {
                Some("allow-once") => Decision::Once,
                Some("allow-always") => {
                    if let Some(path) = resolved {
                        self.remember(&question.agent, path);
                    }
                    Decision::Always
                }
                Some(_) => Decision::Deny,
                None => Decision::Unanswered,
            })
        }
        .boxed()
    }
}

fn unknown(name: &str, word: &str) -> Refused {
    Refused::Failed(format!("the exec approvals file has no {name} \"{word}\", so nothing is run"))
}
