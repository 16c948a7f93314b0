//! The agents' part of `health` and `status`.

use verso_proto::agent::v1::{
    AgentHealth, HealthSummaryResponse, HeartbeatHealth, McpServer, RecentSession, SessionsHealth, StatusAgent, StatusDefaults,
    StatusHeartbeat, StatusHeartbeatAgent, StatusRow, StatusSessions, StatusSummaryResponse,
};

use crate::error::Error;
use crate::heartbeat::Plan;
use crate::keys::AgentId;
use crate::runs::Runs;
use crate::store::{Filter, SessionRecord};

/// Sessions that `health` names.
const HEALTH_SESSIONS_MAX: usize = 5;

/// Sessions that `status` names.
const STATUS_SESSIONS_MAX: usize = 10;

/// A session is not said to have used more of its window, in per cent.
const PERCENT_MAX: i64 = 999;

/// Returns the agents' part of `health`.
pub(crate) async fn health(runs: &Runs) -> Result<HealthSummaryResponse, Error> {
    let parts = &runs.parts;
    let counts = parts.store.session_counts().await?;
    let naming = &parts.roster.naming;
    let mut agents = Vec::with_capacity(parts.roster.agents().len());
    for agent in parts.roster.agents() {
        let id = agent.id.to_string();
        agents.push(AgentHealth {
            is_default: agent.id == naming.default_agent,
            name: agent.name.clone(),
            heartbeat: plan(runs, &agent.id).map(heartbeat_health),
            sessions: Some(SessionsHealth {
                path: parts.store_path(),
                count: count(&counts, Some(&id)),
                recent: recent(runs, Some(id.clone()), HEALTH_SESSIONS_MAX)
                    .await?
                    .iter()
                    .map(|session| health_row(runs, session))
                    .collect(),
            }),
            agent_id: id,
        });
    }
    let model = parts.catalog.current();
    Ok(HealthSummaryResponse {
        heartbeat_seconds: plan(runs, &naming.default_agent).and_then(every_ms).unwrap_or(0) / 1_000,
        default_agent_id: naming.default_agent.to_string(),
        agents,
        sessions: Some(SessionsHealth {
            path: parts.store_path(),
            count: count(&counts, None),
            recent: recent(runs, None, HEALTH_SESSIONS_MAX).await?.iter().map(|session| health_row(runs, session)).collect(),
        }),
        main_session_key: naming.main(&naming.default_agent).to_string(),
        main_key: naming.main_key.to_string(),
        session_scope: if naming.global { "global" } else { "per-sender" }.to_owned(),
        model: model.full_name(),
        model_configured: !model.offline(),
    })
}

/// Returns the agents' part of `status`.
pub(crate) async fn status(runs: &Runs) -> Result<StatusSummaryResponse, Error> {
    let parts = &runs.parts;
    let counts = parts.store.session_counts().await?;
    let naming = &parts.roster.naming;
    let mut by_agent = Vec::with_capacity(parts.roster.agents().len());
    let mut heartbeats = Vec::with_capacity(parts.roster.agents().len());
    for agent in parts.roster.agents() {
        let id = agent.id.to_string();
        let heartbeat = plan(runs, &agent.id).map(heartbeat_health).unwrap_or_default();
        let HeartbeatHealth { enabled, every, every_ms, .. } = heartbeat;
        heartbeats.push(StatusHeartbeatAgent { agent_id: id.clone(), enabled, every, every_ms });
        by_agent.push(StatusAgent {
            path: parts.store_path(),
            count: count(&counts, Some(&id)),
            recent: recent(runs, Some(id.clone()), STATUS_SESSIONS_MAX).await?.iter().map(|session| status_row(runs, session)).collect(),
            agent_id: id,
        });
    }
    let model = parts.catalog.current();
    Ok(StatusSummaryResponse {
        heartbeat: Some(StatusHeartbeat { default_agent_id: naming.default_agent.to_string(), agents: heartbeats }),
        sessions: Some(StatusSessions {
            paths: vec![parts.store_path()],
            count: count(&counts, None),
            defaults: Some(StatusDefaults { model: Some(model.id.clone()), context_tokens: i64::try_from(model.context_window).ok() }),
            recent: recent(runs, None, STATUS_SESSIONS_MAX).await?.iter().map(|session| status_row(runs, session)).collect(),
            by_agent,
        }),
        queued_system_events: parts.store.queued_events(&naming.main(&naming.default_agent)).await?,
        mcp: mcp(runs),
    })
}

fn mcp(runs: &Runs) -> Vec<McpServer> {
    let server = |status: verso_tools::mcp::Status| McpServer {
        name: status.name,
        state: status.state.to_owned(),
        tools: i64::try_from(status.tools).unwrap_or(i64::MAX),
        restarts: status.restarts.into(),
        error: status.error,
    };
    runs.parts.toolbox.servers().into_iter().map(server).collect()
}

fn plan<'a>(runs: &'a Runs, agent: &AgentId) -> Option<&'a Plan> {
    runs.parts.heartbeats.iter().find(|plan| plan.agent == *agent)
}

fn every_ms(plan: &Plan) -> Option<i64> {
    plan.every.and_then(|every| i64::try_from(every.as_millis()).ok())
}

fn heartbeat_health(plan: &Plan) -> HeartbeatHealth {
    let every_ms = every_ms(plan);
    HeartbeatHealth {
        enabled: every_ms.is_some(),
        every: if every_ms.is_some() { plan.every_text.clone() } else { "disabled".to_owned() },
        every_ms,
        prompt: Some(plan.prompt.clone()),
        target: Some(plan.target.clone()),
        model: plan.model.clone(),
        ack_max_chars: i64::try_from(plan.ack_chars_max).ok(),
    }
}

fn count(counts: &[(String, i64)], agent: Option<&str>) -> i64 {
    counts.iter().filter(|(id, _)| agent.is_none_or(|agent| id == agent)).map(|(_, count)| count).sum()
}

async fn recent(runs: &Runs, agent_id: Option<String>, limit: usize) -> Result<Vec<SessionRecord>, Error> {
    let filter = Filter { agent_id, without: vec!["global", "unknown"], limit, ..Filter::default() };
    Ok(runs.parts.store.sessions(filter).await?.into_iter().map(|listed| listed.session).collect())
}

fn age_ms(runs: &Runs, session: &SessionRecord) -> i64 {
    (runs.parts.clock.now_ms() - session.updated_at_ms).max(0)
}

fn health_row(runs: &Runs, session: &SessionRecord) -> RecentSession {
    RecentSession { key: session.key.to_string(), updated_at_ms: Some(session.updated_at_ms), age_ms: Some(age_ms(runs, session)) }
}

fn status_row(runs: &Runs, session: &SessionRecord) -> StatusRow {
    let tokens = &session.tokens;
    let default = runs.parts.catalog.current();
    let context = tokens.context.or_else(|| i64::try_from(default.context_window).ok());
    let used = tokens.total.or_else(|| Some(tokens.input? + tokens.output?));
    let percent = used.zip(context).filter(|(_, context)| *context > 0).map(|(used, context)| {
        // Rounded half up.
        ((used.saturating_mul(200) + context) / (context * 2)).min(PERCENT_MAX)
    });
    let level = |name: &str, level: &Option<String>| level.as_ref().map(|level| format!("{name}:{level}"));
    let flags = [
        level("think", &session.thinking_level),
        level("verbose", &session.verbose_level),
        level("reasoning", &session.settings.reasoning_level),
        level("elevated", &session.settings.elevated_level),
        session.system_sent.then(|| "system".to_owned()),
        session.aborted_last_run.then(|| "aborted".to_owned()),
        Some(format!("id:{}", session.session_id)),
    ];
    StatusRow {
        agent_id: Some(session.agent_id.clone()),
        key: session.key.to_string(),
        kind: session.key.kind().to_owned(),
        session_id: Some(session.session_id.clone()),
        updated_at_ms: Some(session.updated_at_ms),
        age_ms: Some(age_ms(runs, session)),
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        total_tokens: used,
        remaining_tokens: used.zip(context).map(|(used, context)| (context - used).max(0)),
        percent_used: percent,
        model: Some(tokens.model.clone().unwrap_or_else(|| default.id.clone())),
        context_tokens: context,
        flags: flags.into_iter().flatten().collect(),
    }
}
