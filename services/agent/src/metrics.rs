//! What the service counts: runs, calls of models and of tools, lanes, sessions. The edge shows it beside its own numbers.
//!
//! Names and labels are those that dashboards of the reference know. Nothing that anybody says becomes a label: names of models and tools
//! are the configuration's, and what looks otherwise is `other`.

use std::sync::Arc;
use std::time::Duration;

use verso_kit::metrics::{self, NONE, OTHER, whole};
use verso_proto::agent::v1::Usage;

use crate::config::Price;
use crate::models::Model;
use crate::parts::Parts;
use crate::provider::Failure;
use crate::runs::{Ended, Request, Run};
use crate::store::RunState;

/// Where runs come from that no chat network brings.
const WEBCHAT: &str = "webchat";

verso_kit::metrics! {
    /// Runs that have ended.
    RUNS: Counter = "openclaw_run_completed" ["channel", "model", "outcome", "provider", "trigger"];
    /// How long runs took.
    RUN_SECONDS: Histogram(SECONDS) = "openclaw_run_duration_seconds" ["channel", "model", "outcome", "provider", "trigger"] as "openclaw.run.duration_ms";
    /// Runs that were begun, or taken up again after an interruption.
    ATTEMPTS: Counter = "openclaw_run_attempt" ["attempt"] as "openclaw.run.attempt";
    /// Calls of models.
    CALLS: Counter = "openclaw_model_call" ["api", "error_category", "model", "outcome", "provider"];
    /// How long calls of models took.
    CALL_SECONDS: Histogram(SECONDS) = "openclaw_model_call_duration_seconds" ["api", "error_category", "model", "outcome", "provider"] as "openclaw.model_call.duration_ms";
    /// The same by the conventions for generative models.
    OPERATIONS: Histogram(SECONDS) = "openclaw_gen_ai_client_operation_duration_seconds" ["error_type", "model", "operation", "provider"] as "gen_ai.client.operation.duration";
    /// Tokens that models have read and written.
    TOKENS: Counter = "openclaw_model_tokens" ["agent", "channel", "model", "provider", "token_type"] as "openclaw.tokens";
    /// Tokens of one call.
    USAGE: Histogram(TOKENS) = "openclaw_gen_ai_client_token_usage" ["model", "provider", "token_type"] as "gen_ai.client.token.usage";
    /// How much of a model's context there is, and how much one call has used.
    CONTEXT: Histogram(TOKENS) = "openclaw_context_tokens" ["channel", "context", "model", "provider"] as "openclaw.context.tokens";
    /// What models have cost, in US dollars.
    COST: Counter = "openclaw_model_cost_usd" ["agent", "channel", "model", "provider"] as "openclaw.cost.usd";
    /// Calls that went on to another model.
    FAILOVERS: Counter = "openclaw_model_failover" ["from_model", "from_provider", "reason", "to_model", "to_provider"] as "openclaw.model.failover";
    /// Calls of tools.
    TOOLS: Counter = "openclaw_tool_execution" ["outcome", "tool"];
    /// How long calls of tools took.
    TOOL_SECONDS: Histogram(SECONDS) = "openclaw_tool_execution_duration_seconds" ["outcome", "tool"] as "openclaw.tool.execution.duration_ms";
    /// Messages that were taken in, by network.
    QUEUED: Counter = "openclaw_message_queued" ["channel", "source"] as "openclaw.message.queued";
    /// Messages that were answered, or could not be.
    PROCESSED: Counter = "openclaw_message_processed" ["channel", "outcome", "reason"] as "openclaw.message.processed";
    /// Messages from when they were taken in until they were answered.
    PROCESSED_SECONDS: Histogram(SECONDS) = "openclaw_message_processed_duration_seconds" ["channel", "outcome", "reason"] as "openclaw.message.duration_ms";
    /// Runs that have joined a lane.
    ENQUEUED: Counter = "openclaw_queue_lane_enqueue" ["lane"] as "openclaw.queue.lane.enqueue";
    /// Runs that have left a lane to be carried out.
    DEQUEUED: Counter = "openclaw_queue_lane_dequeue" ["lane"] as "openclaw.queue.lane.dequeue";
    /// Runs that wait in a lane.
    LANE_SIZE: Gauge = "openclaw_queue_lane_size" ["lane"] as "openclaw.queue.depth";
    /// How long runs have waited in a lane.
    LANE_SECONDS: Histogram(SECONDS) = "openclaw_queue_lane_wait_seconds" ["lane"] as "openclaw.queue.wait_ms";
    /// What sessions have come to be in.
    SESSION_STATE: Counter = "openclaw_session_state" ["reason", "state"] as "openclaw.session.state";
    /// Runs that had not moved for long when they were looked at, by what they wait for.
    STUCK: Counter = "openclaw_session_stuck" ["reason", "state"] as "openclaw.session.stuck";
    /// How long they had not moved.
    STUCK_SECONDS: Histogram(SECONDS) = "openclaw_session_stuck_age_seconds" ["reason", "state"] as "openclaw.session.stuck_age_ms";
    /// Runs of sessions by what they do.
    SESSION_DEPTH: Gauge = "openclaw_session_queue_depth" ["state"];
    /// Runs that were begun, by who asked for them.
    TURNS: Counter = "openclaw_session_turn_created" ["agent", "channel", "trigger"] as "openclaw.session.turn.created";
    /// How many runs may be carried out at once.
    RUNNING_MAX: Gauge = "verso_agent_runs_max" [];
    /// Sessions of each agent.
    SESSIONS: Gauge = "verso_agent_sessions" ["agent"];
    /// Runs in the journal that have not ended.
    UNFINISHED: Gauge = "verso_agent_journal_unfinished" [];
    /// Answers that wait for the channel service to take them.
    DELIVERIES: Gauge = "verso_agent_deliveries" [];
    /// Jobs of the schedule by whether they are switched on.
    JOBS: Gauge = "verso_agent_cron_jobs" ["enabled"];
    /// Clients of this service's events.
    SUBSCRIBERS: Gauge = "verso_agent_event_subscribers" [];
}

/// Makes what the service counts a part of what its process answers.
pub(crate) fn start(parts: &Arc<Parts>) {
    metrics::register(METRICS);
    let (store, lanes, hub) = (parts.store.clone(), parts.lanes.clone(), parts.hub.clone());
    metrics::reading("agent", move || {
        let (running, waiting) = lanes.load();
        LANE_SIZE.set(["main"], whole(waiting));
        SESSION_DEPTH.set(["processing"], whole(running));
        SESSION_DEPTH.set(["waiting"], whole(waiting));
        RUNNING_MAX.set([], whole(lanes.running_max()));
        SUBSCRIBERS.set([], whole(hub.subscribers()));
    });
    metrics::reading_later("agent database", move || {
        let store = store.clone();
        Box::pin(async move {
            // A database that cannot be read leaves the gauges as they were; it says so itself.
            if let Ok(counts) = store.session_counts().await {
                SESSIONS.replace(counts.into_iter().map(|(agent, count)| ([agent], whole(count))));
            }
            if let Ok(ledger) = store.ledger().await {
                UNFINISHED.set([], whole(ledger.unfinished));
                DELIVERIES.set([], whole(ledger.deliveries));
                JOBS.set(["yes"], whole(ledger.jobs_on));
                JOBS.set(["no"], whole(ledger.jobs_off));
            }
        })
    });
}

/// Counts a run that waits for its turn.
pub(crate) fn run_entered(agent: &str, key: &str, request: &Request) {
    let (channel, trigger) = (channel(request), trigger(key, request));
    TURNS.one_more([agent, channel, trigger]);
    QUEUED.one_more([channel, trigger]);
    ENQUEUED.one_more([lane(trigger)]);
    SESSION_STATE.one_more(["message_queued", "waiting"]);
}

/// Counts a run that has got its turn.
pub(crate) fn run_began(run: &Run, started_at_ms: i64) {
    let lane = lane(trigger(run.key.as_str(), &run.request));
    DEQUEUED.one_more([lane]);
    LANE_SECONDS.observe_ms([lane], started_at_ms - run.accepted_at_ms);
    SESSION_STATE.one_more(["run_started", "processing"]);
    ATTEMPTS.one_more([if run.recovered { "again" } else { "first" }]);
}

/// Counts a run that has ended, which `model` answered or should have.
pub(crate) fn run_ended(run: &Run, model: &Model, ended: &Ended) {
    let (channel, outcome) = (channel(&run.request), outcome(ended.state));
    let labels = [channel, &model.id, outcome, &model.provider, trigger(run.key.as_str(), &run.request)];
    RUNS.one_more(labels);
    RUN_SECONDS.observe_ms(labels, ended.at_ms - ended.started_at_ms.unwrap_or(run.accepted_at_ms));
    let reason = ended.failure.as_ref().map_or(NONE, |failure| failure.kind.reason());
    PROCESSED.one_more([channel, outcome, reason]);
    PROCESSED_SECONDS.observe_ms([channel, outcome, reason], ended.at_ms - run.accepted_at_ms);
    SESSION_STATE.one_more(["run_completed", "idle"]);
}

/// Counts a run that was found not to move.
pub(crate) fn run_stuck(reason: &str, silence: Duration) {
    STUCK.one_more([reason, "processing"]);
    STUCK_SECONDS.observe([reason, "processing"], silence.as_secs_f64());
}

/// Counts a call of a model, and what it has used.
pub(crate) fn model_called(model: &Model, failure: Option<&Failure>, took_ms: i64) {
    let outcome = if failure.is_some() { "error" } else { "completed" };
    let reason = failure.map_or(NONE, |failure| failure.kind.reason());
    let labels = [model.api(), reason, &model.id, outcome, &model.provider];
    CALLS.one_more(labels);
    CALL_SECONDS.observe_ms(labels, took_ms);
    OPERATIONS.observe_ms([reason, &model.id, "chat", &model.provider], took_ms);
}

/// Counts what an answer has used and cost.
pub(crate) fn used(run: &Run, model: &Model, usage: &Usage, price: Option<Price>) {
    let counts = [("input", usage.input), ("output", usage.output), ("cache_read", usage.cache_read), ("cache_write", usage.cache_write)];
    let (agent, channel) = (run.agent.to_string(), channel(&run.request));
    for (token_type, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        TOKENS.add([&agent, channel, &model.id, &model.provider, token_type], whole(count));
        USAGE.observe([&model.id, &model.provider, token_type], whole(count));
    }
    CONTEXT.observe([channel, "limit", &model.id, &model.provider], whole(model.context_window));
    CONTEXT.observe([channel, "used", &model.id, &model.provider], whole(usage.input + usage.cache_read + usage.cache_write));
    if let Some(price) = price {
        let cost = price.of(usage.input, usage.output, usage.cache_read, usage.cache_write);
        COST.add([&agent, channel, &model.id, &model.provider], cost);
    }
}

/// Counts that another model is asked because one did not answer.
pub(crate) fn failed_over(from: &Model, failure: &Failure, to: &Model) {
    FAILOVERS.one_more([&from.id, &from.provider, failure.kind.reason(), &to.id, &to.provider]);
}

/// Counts a call of a tool that was offered; a name that a model has made up is `other`.
pub(crate) fn tool_called(tool: Option<&str>, failed: bool, took_ms: i64) {
    let labels = [if failed { "error" } else { "completed" }, tool.unwrap_or(OTHER)];
    TOOLS.one_more(labels);
    TOOL_SECONDS.observe_ms(labels, took_ms);
}

pub(crate) fn outcome(state: RunState) -> &'static str {
    match state {
        RunState::Ok => "completed",
        RunState::Aborted => "aborted",
        _ => "error",
    }
}

pub(crate) fn channel(request: &Request) -> &str {
    request.origin.as_ref().map_or(WEBCHAT, |origin| origin.channel.as_str())
}

/// What a run was begun by, as its session's key and its request say.
pub(crate) fn trigger(key: &str, request: &Request) -> &'static str {
    let of = |kind: &str| key.split(':').any(|word| word == kind);
    match () {
        () if request.heartbeat.is_some() => "heartbeat",
        () if of("cron") => "cron",
        () if of("hook") => "webhook",
        () if of("subagent") => "subagent",
        () => "user",
    }
}

/// The lane as the reference calls it.
fn lane(trigger: &'static str) -> &'static str {
    match trigger {
        "cron" | "subagent" => trigger,
        _ => "main",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_was_made_up_is_no_series_of_its_own() {
        tool_called(Some("read"), false, 20);
        tool_called(None, true, 1);
        assert!(TOOLS.count(["completed", "read"]) >= 1.0 && TOOLS.count(["error", OTHER]) >= 1.0);
    }
}
