//! Which traces are kept. Strangers may name a trace; whether it is kept is decided here.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

/// Decides at the edge by a share of the traces, and everywhere else as the edge has decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampling {
    /// The share that is kept, from 0 to 1.
    pub(super) share: f64,
    /// What comes from outside of this process is from strangers.
    pub(super) at_the_door: bool,
}

impl ShouldSample for Sampling {
    fn should_sample(&self, parent: Option<&Context>, _: TraceId, _: &str, _: &SpanKind, _: &[KeyValue], _: &[Link]) -> SamplingResult {
        let above = parent.filter(|context| context.has_active_span()).map(|context| context.span().span_context().clone());
        let kept = match above {
            Some(above) if !(above.is_remote() && self.at_the_door) => above.is_sampled(),
            // Not by the trace's id, which a stranger can choose as well as the flag.
            _ => rand::random::<f64>() < self.share,
        };
        let decision = if kept { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::default() }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    fn kept(sampling: Sampling, sampled: bool, remote: bool) -> bool {
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let span = SpanContext::new(TraceId::from(1_u128), SpanId::from(1_u64), flags, remote, TraceState::default());
        let context = Context::new().with_remote_span_context(span);
        let result = sampling.should_sample(Some(&context), TraceId::from(1_u128), "request", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn sec_79_a_stranger_neither_forces_nor_prevents_that_a_trace_is_kept() {
        let door = |share| Sampling { share, at_the_door: true };
        assert!(!kept(door(0.0), true, true), "a stranger's flag");
        assert!(kept(door(1.0), false, true), "a stranger's flag");
        let inside = |share| Sampling { share, at_the_door: false };
        assert!(kept(inside(0.0), true, true), "the edge has decided");
        assert!(!kept(inside(1.0), false, true), "the edge has decided");
    }

    #[test]
    fn what_is_below_a_span_of_this_process_is_kept_with_it() {
        let door = Sampling { share: 0.0, at_the_door: true };
        assert!(kept(door, true, false));
    }
}
