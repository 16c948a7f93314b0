//! Writing sessions, transcripts and jobs as an OpenClaw state folder holds them: what is kept here can be taken elsewhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::store::{self, Archive, Export, SessionRecord};

/// The version of the layout of `cron/jobs.json`.
const JOBS_VERSION: u32 = 1;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The keys of the sessions.
    pub sessions: Vec<String>,
    /// The ids of the jobs.
    pub jobs: Vec<String>,
}

/// Writes what the state folder `state_dir` holds into `target`, where no sessions may be yet. A gateway may be using the state folder.
pub fn export(state_dir: &Path, target: &Path) -> Result<Report, Error> {
    let agents = target.join("agents");
    if agents.exists() {
        return Err(Error::ExportExists { path: agents });
    }
    let source = Export::open(&state_dir.join(store::DATABASE))?;
    let mut report = Report::default();
    let mut lists: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for session in source.sessions()? {
        let folder = agents.join(&session.agent_id).join("sessions");
        let archive = Archive {
            path: folder.join(format!("{}.jsonl", session.session_id)),
            workspace: state_dir.join("workspace").display().to_string(),
            at_ms: session.created_at_ms,
            unless_longer_than: 0,
        };
        source.transcript(&session, &archive)?;
        report.sessions.push(session.key.to_string());
        lists.entry(session.agent_id.clone()).or_default().insert(session.key.to_string(), entry(&session));
    }
    for (agent, list) in lists {
        write(&agents.join(agent).join("sessions/sessions.json"), &Value::Object(list))?;
    }
    let jobs = source.jobs()?;
    report.jobs = jobs.iter().map(|job| job.id.clone()).collect();
    if !jobs.is_empty() {
        write(&target.join("cron/jobs.json"), &json!({"version": JOBS_VERSION, "jobs": jobs}))?;
    }
    Ok(report)
}

fn write(path: &Path, document: &Value) -> Result<(), Error> {
    let failed = |source| store::Error::Archive { path: path.to_owned(), source: Arc::new(source) };
    let folder = path.parent().unwrap_or(Path::new("."));
    verso_kit::files::create_private_dir(folder).map_err(failed)?;
    let text = serde_json::to_vec_pretty(document).map_err(store::Error::from)?;
    Ok(verso_kit::files::write_atomic(path, &text, 0o600).map_err(failed)?)
}

/// Renders a session as the list of sessions has it: what is not set is left out.
fn entry(session: &SessionRecord) -> Value {
    let (settings, tokens, queue) = (&session.settings, &session.tokens, &session.queue);
    let route = session.last_route.as_ref();
    let entry = json!({
        "sessionId": session.session_id,
        "updatedAt": session.updated_at_ms,
        "systemSent": session.system_sent,
        "abortedLastRun": session.aborted_last_run,
        "compactionCount": session.compactions,
        "label": session.label,
        "displayName": session.display_name,
        "channel": session.channel,
        "spawnedBy": settings.spawned_by,
        "thinkingLevel": session.thinking_level,
        "verboseLevel": session.verbose_level,
        "reasoningLevel": settings.reasoning_level,
        "elevatedLevel": settings.elevated_level,
        "responseUsage": settings.response_usage,
        "execHost": settings.exec_host,
        "execSecurity": settings.exec_security,
        "execAsk": settings.exec_ask,
        "execNode": settings.exec_node,
        "sendPolicy": settings.send_policy,
        "groupActivation": settings.group_activation,
        "providerOverride": settings.provider_override,
        "modelOverride": settings.model_override,
        "queueMode": queue.mode.map(crate::runs::QueueMode::as_str),
        "queueDebounceMs": queue.debounce_ms,
        "queueCap": queue.cap,
        "queueDrop": queue.drops.map(crate::runs::Drops::as_str),
        "inputTokens": tokens.input,
        "outputTokens": tokens.output,
        "totalTokens": tokens.total,
        "contextTokens": tokens.context,
        "modelProvider": tokens.provider,
        "model": tokens.model,
        "lastChannel": route.map(|route| &route.channel),
        "lastTo": route.map(|route| &route.to),
        "lastAccountId": route.and_then(|route| route.account.as_ref()),
        "lastThreadId": route.and_then(|route| route.thread.as_ref()),
    });
    let Value::Object(members) = entry else { return Value::Null };
    Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
}
