//! Beginning a session afresh, shortening it, removing it.

use std::time::Duration;

use jiff::Timestamp;
use verso_proto::agent::v1::{
    SessionEntry, SessionsCompactRequest, SessionsCompactResponse, SessionsDeleteRequest, SessionsDeleteResponse, SessionsResetRequest,
    SessionsResetResponse,
};

use super::entry::entry;
use super::{Error, events, session};
use crate::compaction::{self, Outcome};
use crate::keys::{AgentId, SessionKey};
use crate::runs::{Caller, Runs};
use crate::store::{Archive, Changed, Deleted};

/// How long a deletion waits for the session's runs to end.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// Lines that a shortened transcript keeps, unless the caller says how many.
const KEPT_DEFAULT: usize = 400;

/// The longest part of a session's id in a file's name, in characters.
const FILE_ID_CHARS_MAX: usize = 64;

/// Begins a session afresh. Its transcript so far stays in the store.
pub(crate) async fn reset(runs: &Runs, request: SessionsResetRequest) -> Result<SessionsResetResponse, crate::Error> {
    let (agent, key) = session(runs, "sessions.reset", request.agent_id.as_deref(), &request.key)?;
    let expected = request.expected_session_id;
    let changed = runs.parts.store.reset(&key, &agent, expected.clone(), runs.parts.clock.now_ms()).await?;
    let Changed::Done(session) = changed else {
        return Err(Error::OtherId { key: key.to_string(), expected: expected.unwrap_or_default() }.into());
    };
    events::changed(runs, &key, &agent, events::What::reason("reset")).await;
    let entry = SessionEntry { system_sent: Some(false), aborted_last_run: Some(false), ..entry(*session) };
    Ok(SessionsResetResponse { ok: true, key: key.to_string(), entry: Some(entry) })
}

/// Stops a session's runs and removes it. Its transcript is in a file before it leaves the store.
pub(crate) async fn delete(runs: &Runs, request: SessionsDeleteRequest) -> Result<SessionsDeleteResponse, crate::Error> {
    let (agent, key) = session(runs, "sessions.delete", request.agent_id.as_deref(), &request.key)?;
    let naming = &runs.parts.roster.naming;
    if key == naming.main(&naming.default_agent) {
        return Err(Error::MainSession(key.to_string()).into());
    }
    let response = |deleted, archived| SessionsDeleteResponse { ok: true, key: key.to_string(), deleted, archived };
    let Some(found) = runs.parts.store.session(&key).await? else { return Ok(response(false, Vec::new())) };
    if let Some(expected) = request.expected_session_id.filter(|expected| *expected != found.session_id) {
        return Err(Error::OtherId { key: key.to_string(), expected }.into());
    }
    if !runs.end_session(&key, ACTIVE_TIMEOUT).await? {
        return Err(Error::StillActive(key.to_string()).into());
    }
    // A waiting reset may have begun the session afresh meanwhile.
    let Some(found) = runs.parts.store.session(&key).await? else { return Ok(response(false, Vec::new())) };
    let (mut archived, mut end) = (Vec::new(), None);
    if request.delete_transcript.unwrap_or(true) {
        let archive = archive(runs, &agent, &found.session_id, "deleted", 0);
        let path = archive.path.display().to_string();
        let cut = runs.parts.store.archive(&found.session_id, archive).await?;
        archived.extend(cut.archived.then_some(path));
        end = Some(cut.end);
    }
    match runs.parts.store.delete(&key, &found.session_id, end).await? {
        Deleted::Done => {
            events::changed(runs, &key, &agent, events::What::reason("delete")).await;
            Ok(response(true, archived))
        }
        Deleted::Missing => Ok(response(false, Vec::new())),
        Deleted::Busy => Err(Error::StillActive(key.to_string()).into()),
    }
}

/// The protocol whose clients mean a summary when they do not say how many lines are to stay.
const SUMMARY_PROTOCOL: u32 = 4;

/// Shortens a conversation: to its newest lines, with the whole of it in a file before; or, for newer clients that name no number, by a summary.
pub(crate) async fn compact(runs: &Runs, request: SessionsCompactRequest, caller: Caller) -> Result<SessionsCompactResponse, crate::Error> {
    let (agent, key) = session(runs, "sessions.compact", request.agent_id.as_deref(), &request.key)?;
    if request.max_lines.is_none() && caller.protocol >= SUMMARY_PROTOCOL {
        return summary(runs, &agent, &key).await;
    }
    let kept_max = request.max_lines.and_then(|lines| usize::try_from(lines).ok()).unwrap_or(KEPT_DEFAULT);
    let unchanged = SessionsCompactResponse { ok: true, key: key.to_string(), ..SessionsCompactResponse::default() };
    let because = |reason: &str| SessionsCompactResponse { reason: Some(reason.to_owned()), ..unchanged.clone() };
    let Some(found) = runs.parts.store.session(&key).await? else { return Ok(because("no sessionId")) };
    let archive = archive(runs, &agent, &found.session_id, "bak", kept_max);
    let path = archive.path.display().to_string();
    let cut = runs.parts.store.archive(&found.session_id, archive).await?;
    if cut.count == 0 {
        return Ok(because("no transcript"));
    }
    if !cut.archived {
        return Ok(SessionsCompactResponse { kept: Some(cut.count), ..unchanged });
    }
    let kept = i64::try_from(kept_max).unwrap_or(i64::MAX);
    runs.parts.store.cut(&key, &found.session_id, cut.end - kept, runs.parts.clock.now_ms()).await?;
    events::changed(runs, &key, &agent, events::What::reason("compact")).await;
    Ok(SessionsCompactResponse { compacted: true, archived: Some(path), kept: Some(kept), ..unchanged })
}

async fn summary(runs: &Runs, agent: &AgentId, key: &SessionKey) -> Result<SessionsCompactResponse, crate::Error> {
    let response = SessionsCompactResponse { ok: true, key: key.to_string(), ..SessionsCompactResponse::default() };
    Ok(match compaction::session(runs, agent, key, None).await? {
        Outcome::Done { kept, .. } => SessionsCompactResponse { compacted: true, kept: i64::try_from(kept).ok(), ..response },
        Outcome::Nothing => SessionsCompactResponse { reason: Some("nothing to summarise".to_owned()), ..response },
        Outcome::Failed(why) => SessionsCompactResponse { ok: false, reason: Some(why), ..response },
    })
}

/// Returns where a transcript is to be written because of `reason`.
fn archive(runs: &Runs, agent: &AgentId, session_id: &str, reason: &str, unless_longer_than: usize) -> Archive {
    let now_ms = runs.parts.clock.now_ms();
    let at = Timestamp::from_millisecond(now_ms).unwrap_or_default().strftime("%Y-%m-%dT%H-%M-%S.%3fZ");
    // Clients may choose ids, and two sessions may have had the same one.
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let id: String = session_id.chars().take(FILE_ID_CHARS_MAX).map(plain).collect();
    let name = format!("{id}.jsonl.{reason}.{at}-{:08x}", rand::random::<u32>());
    Archive {
        path: runs.parts.archive_folder().join(name),
        workspace: runs.parts.roster.get(agent).workspace.display().to_string(),
        at_ms: now_ms,
        unless_longer_than,
    }
}
