//! What the service counts: runs, calls of models and of tools. The edge shows it beside its own numbers.
//!
//! Names and labels are those that dashboards of the reference know. Nothing that anybody says becomes a label: names of models and tools
//! are the configuration's, and what looks otherwise is `other`.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use verso_kit::telemetry::DURATION_BUCKETS_SECONDS;
use verso_proto::agent::v1::Usage;

use crate::config::Price;
use crate::models::Model;
use crate::provider::Failure;
use crate::runs::{Ended, Run};
use crate::store::RunState;

/// Upper bounds of counts of tokens.
const TOKENS: [f64; 11] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];

/// The longest value of a label, in bytes.
const LABEL_BYTES_MAX: usize = 120;

/// Stands for what is no good label.
const OTHER: &str = "other";

/// Stands for what nothing is known of.
const NONE: &str = "none";

/// Where runs come from that no chat network brings.
const WEBCHAT: &str = "webchat";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    channel: String,
    model: String,
    outcome: &'static str,
    provider: String,
    trigger: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    api: &'static str,
    error_category: &'static str,
    model: String,
    outcome: &'static str,
    provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    agent: String,
    channel: String,
    model: String,
    provider: String,
    token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UsageLabels {
    model: String,
    provider: String,
    token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CostLabels {
    agent: String,
    channel: String,
    model: String,
    provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailoverLabels {
    from_model: String,
    from_provider: String,
    reason: &'static str,
    to_model: String,
    to_provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolLabels {
    outcome: &'static str,
    tool: String,
}

/// A counter of what comes in fractions.
type Sum = Counter<f64, AtomicU64>;

/// Histograms by labels.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The counters. They outlive a change of the configuration.
#[derive(Debug)]
pub(crate) struct Metrics {
    runs: Family<RunLabels, Counter>,
    run_seconds: Histograms<RunLabels>,
    calls: Family<CallLabels, Counter>,
    call_seconds: Histograms<CallLabels>,
    tokens: Family<TokenLabels, Counter>,
    usage: Histograms<UsageLabels>,
    cost: Family<CostLabels, Sum>,
    failovers: Family<FailoverLabels, Counter>,
    tools: Family<ToolLabels, Counter>,
    tool_seconds: Histograms<ToolLabels>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS_SECONDS);
        Self {
            runs: Family::default(),
            run_seconds: Family::new_with_constructor(seconds),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(seconds),
            tokens: Family::default(),
            usage: Family::new_with_constructor(|| Histogram::new(TOKENS)),
            cost: Family::default(),
            failovers: Family::default(),
            tools: Family::default(),
            tool_seconds: Family::new_with_constructor(seconds),
        }
    }
}

impl Metrics {
    /// Counts a run that has ended, which `model` answered or should have.
    pub(crate) fn run_ended(&self, run: &Run, model: &Model, ended: &Ended) {
        let labels = RunLabels {
            channel: channel(run),
            model: label(&model.id),
            outcome: outcome(ended.state),
            provider: label(&model.provider),
            trigger: trigger(run),
        };
        let since_ms = ended.started_at_ms.unwrap_or(run.accepted_at_ms);
        self.runs.get_or_create(&labels).inc();
        self.run_seconds.get_or_create(&labels).observe(seconds(ended.at_ms - since_ms));
    }

    /// Counts a call of a model, and what it has used.
    pub(crate) fn model_called(&self, model: &Model, failure: Option<&Failure>, took_ms: i64) {
        let labels = CallLabels {
            api: model.api(),
            error_category: failure.map_or(NONE, |failure| failure.kind.reason()),
            model: label(&model.id),
            outcome: if failure.is_some() { "error" } else { "completed" },
            provider: label(&model.provider),
        };
        self.calls.get_or_create(&labels).inc();
        self.call_seconds.get_or_create(&labels).observe(seconds(took_ms));
    }

    /// Counts what an answer has used and cost.
    pub(crate) fn used(&self, run: &Run, model: &Model, usage: &Usage, price: Option<Price>) {
        let counts =
            [("input", usage.input), ("output", usage.output), ("cache_read", usage.cache_read), ("cache_write", usage.cache_write)];
        let (agent, channel) = (label(&run.agent.to_string()), channel(run));
        let (model, provider) = (label(&model.id), label(&model.provider));
        for (token_type, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let tokens = u64::try_from(count).unwrap_or_default();
            let (agent, channel, model, provider) = (agent.clone(), channel.clone(), model.clone(), provider.clone());
            let usage = UsageLabels { model: model.clone(), provider: provider.clone(), token_type };
            self.tokens.get_or_create(&TokenLabels { agent, channel, model, provider, token_type }).inc_by(tokens);
            self.usage.get_or_create(&usage).observe(whole(count));
        }
        if let Some(price) = price {
            self.cost.get_or_create(&CostLabels { agent, channel, model, provider }).inc_by(price.of(
                usage.input,
                usage.output,
                usage.cache_read,
                usage.cache_write,
            ));
        }
    }

    /// Counts that another model is asked because one did not answer.
    pub(crate) fn failed_over(&self, from: &Model, failure: &Failure, to: &Model) {
        let labels = FailoverLabels {
            from_model: label(&from.id),
            from_provider: label(&from.provider),
            reason: failure.kind.reason(),
            to_model: label(&to.id),
            to_provider: label(&to.provider),
        };
        self.failovers.get_or_create(&labels).inc();
    }

    /// Counts a call of a tool that was offered; a name that a model has made up is [`OTHER`].
    pub(crate) fn tool_called(&self, tool: Option<&str>, failed: bool, took_ms: i64) {
        let outcome = if failed { "error" } else { "completed" };
        let labels = ToolLabels { outcome, tool: tool.map_or_else(|| OTHER.to_owned(), label) };
        self.tools.get_or_create(&labels).inc();
        self.tool_seconds.get_or_create(&labels).observe(seconds(took_ms));
    }

    /// Writes everything as `OpenMetrics`.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register("openclaw_run_completed", "Runs that have ended", self.runs.clone());
        registry.register("openclaw_run_duration_seconds", "How long runs took", self.run_seconds.clone());
        registry.register("openclaw_model_call", "Calls of models", self.calls.clone());
        registry.register("openclaw_model_call_duration_seconds", "How long calls of models took", self.call_seconds.clone());
        registry.register("openclaw_model_tokens", "Tokens that models have read and written", self.tokens.clone());
        registry.register("openclaw_gen_ai_client_token_usage", "Tokens of one call", self.usage.clone());
        registry.register("openclaw_model_cost_usd", "What models have cost, in US dollars", self.cost.clone());
        registry.register("openclaw_model_failover", "Calls that went on to another model", self.failovers.clone());
        registry.register("openclaw_tool_execution", "Calls of tools", self.tools.clone());
        registry.register("openclaw_tool_execution_duration_seconds", "How long calls of tools took", self.tool_seconds.clone());
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

fn outcome(state: RunState) -> &'static str {
    match state {
        RunState::Ok => "completed",
        RunState::Aborted => "aborted",
        _ => "error",
    }
}

fn channel(run: &Run) -> String {
    run.request.origin.as_ref().map_or_else(|| WEBCHAT.to_owned(), |origin| label(&origin.channel))
}

/// What a run was begun by, as its session's key and its request say.
fn trigger(run: &Run) -> &'static str {
    let key = run.key.to_string();
    let of = |kind: &str| key.split(':').any(|word| word == kind);
    match () {
        () if run.request.heartbeat.is_some() => "heartbeat",
        () if of("cron") => "cron",
        () if of("hook") => "webhook",
        () if of("subagent") => "subagent",
        () => "user",
    }
}

/// A value that may be a label.
fn label(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    let fits = !value.is_empty() && value.len() <= LABEL_BYTES_MAX && value.bytes().all(plain);
    if fits && !value.starts_with("agent:") { value.to_owned() } else { OTHER.to_owned() }
}

fn seconds(ms: i64) -> f64 {
    whole(ms.max(0)) / 1_000.0
}

#[allow(clippy::cast_precision_loss, reason = "fractions of a count do not matter")]
fn whole(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_labels() {
        for (value, expected) in [("gpt-4.1:mini", "gpt-4.1:mini"), ("a b", OTHER), ("", OTHER), ("agent:main:x", OTHER), ("\"}\n", OTHER)]
        {
            assert_eq!(label(value), expected, "{value}");
        }
        assert_eq!(label(&"x".repeat(LABEL_BYTES_MAX + 1)), OTHER);
    }

    #[test]
    fn a_tool_that_was_made_up_is_no_series_of_its_own() {
        let metrics = Metrics::default();
        metrics.tool_called(Some("read"), false, 20);
        metrics.tool_called(None, true, 1);
        let text = metrics.render().unwrap();
        assert!(text.contains("openclaw_tool_execution_total{outcome=\"completed\",tool=\"read\"} 1"), "{text}");
        assert!(text.contains("openclaw_tool_execution_total{outcome=\"error\",tool=\"other\"} 1"), "{text}");
    }
}
