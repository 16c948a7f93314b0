//! The spans of a run: itself, each call of a model, each call of a tool. What anybody says, and in which session, is in none of them.

use std::time::Duration;

use tracing::field::Empty;
use tracing::{Span, debug_span};
use verso_kit::metrics::OTHER;
use verso_proto::agent::v1::Usage;

use super::run::{Ended, Request};
use crate::keys::AgentId;
use crate::metrics;
use crate::models::Model;
use crate::provider::Failure;
use crate::store::RunState;

/// Begins the span of a run.
pub(super) fn run(key: &str, agent: &AgentId, request: &Request) -> Span {
    debug_span!(
        "openclaw.run",
        otel.status_code = Empty,
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = %agent,
        gen_ai.provider.name = Empty,
        gen_ai.request.model = Empty,
        openclaw.channel = metrics::channel(request),
        openclaw.trigger = metrics::trigger(key, request),
        openclaw.outcome = Empty,
        error.r#type = Empty
    )
}

/// Notes at the span of the run that is under way how it ended.
pub(super) fn run_ended(model: &Model, ended: &Ended) {
    let span = Span::current();
    span.record("gen_ai.provider.name", model.provider.as_str());
    span.record("gen_ai.request.model", model.id.as_str());
    span.record("openclaw.outcome", metrics::outcome(ended.state));
    if ended.state == RunState::Error {
        span.record("otel.status_code", "ERROR");
    }
    if let Some(failure) = &ended.failure {
        span.record("error.type", failure.kind.reason());
    }
}

/// Begins the span of a call of a model.
pub(super) fn model_call(model: &Model) -> Span {
    debug_span!(
        "openclaw.model.call",
        otel.kind = "client",
        otel.status_code = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = model.provider.as_str(),
        gen_ai.request.model = model.id.as_str(),
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        openclaw.api = model.api(),
        error.r#type = Empty
    )
}

/// Notes how the model has answered.
pub(super) fn model_called(span: &Span, answered: Result<Option<&Usage>, &Failure>) {
    match answered {
        Ok(None) => {}
        Ok(Some(usage)) => {
            span.record("gen_ai.usage.input_tokens", usage.input + usage.cache_read + usage.cache_write);
            span.record("gen_ai.usage.output_tokens", usage.output);
        }
        Err(failure) => {
            span.record("error.type", failure.kind.reason());
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// The span that dashboards of the reference look for: what a call has used.
pub(super) fn used(request: &Request, model: &Model, usage: &Usage) {
    let _span = debug_span!(
        "openclaw.model.usage",
        openclaw.channel = metrics::channel(request),
        openclaw.provider = model.provider.as_str(),
        openclaw.model = model.id.as_str(),
        openclaw.tokens.input = usage.input,
        openclaw.tokens.output = usage.output,
        openclaw.tokens.cache_read = usage.cache_read,
        openclaw.tokens.cache_write = usage.cache_write
    );
}

/// The span that dashboards of the reference look for: a run that does not move.
pub(super) fn stuck(reason: &str, silence: Duration, waiting: usize) {
    let _span = debug_span!(
        "openclaw.session.stuck",
        otel.status_code = "ERROR",
        openclaw.state = "processing",
        openclaw.reason = reason,
        openclaw.ageMs = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
        openclaw.queueDepth = waiting
    );
}

/// Begins the span of a call of a tool; a name that a model has made up is `other`.
pub(super) fn tool(known: Option<&str>) -> Span {
    debug_span!(
        "openclaw.tool.execution",
        otel.status_code = Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = known.unwrap_or(OTHER)
    )
}

/// Notes how the tool has answered.
pub(super) fn tool_called(span: &Span, failed: bool) {
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}
