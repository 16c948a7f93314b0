//! Questions to people by way of the gateway, until they are decided.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;
use verso_client::Reconnecting;

/// How long people have to decide.
const PATIENCE: Duration = Duration::from_mins(2);

/// What people decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Once,
    Always,
    Deny,
}

/// The open questions of this node.
#[derive(Debug, Default)]
pub(crate) struct Questions(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<String, oneshot::Sender<Decision>>,
    /// Decisions that came before the answer to the question that names it.
    early: BTreeMap<String, Decision>,
}

/// How many decisions are kept that nobody waits for yet.
const EARLY_MAX: usize = 64;

impl Questions {
    /// Takes a decision of the gateway's.
    pub(crate) fn decided(&self, payload: &Value) {
        let decision = match payload["decision"].as_str() {
            Some("allow-once") => Decision::Once,
            Some("allow-always") => Decision::Always,
            _ => Decision::Deny,
        };
        let Some(id) = payload["id"].as_str() else { return };
        let mut table = self.table();
        match table.open.remove(id) {
            // Whoever asked may have gone.
            Some(waiting) => drop(waiting.send(decision)),
            None if table.early.len() < EARLY_MAX => drop(table.early.insert(id.to_owned(), decision)),
            None => {}
        }
    }

    /// Asks, and waits for the decision; none when nobody decides in time, or nobody can be asked.
    pub(crate) async fn ask(&self, gateway: &Reconnecting, mut question: Value) -> Option<Decision> {
        question["timeoutMs"] = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX).into();
        let answer = gateway.call("node.event", json!({"event": "exec.approval.request", "payload": question})).await.ok()?;
        let id = answer["reason"].as_str().filter(|_| answer["handled"] == true)?.to_owned();
        let decision = {
            let mut table = self.table();
            if let Some(decision) = table.early.remove(&id) {
                return Some(decision);
            }
            let (sender, decision) = oneshot::channel();
            table.open.insert(id.clone(), sender);
            decision
        };
        let _gone = Withdrawn { questions: self, id: id.clone() };
        timeout(PATIENCE, decision).await.ok()?.ok()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that nobody waits for any more takes no place.
struct Withdrawn<'a> {
    questions: &'a Questions,
    id: String,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        self.questions.table().open.remove(&self.id);
    }
}
