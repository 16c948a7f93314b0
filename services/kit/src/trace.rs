//! W3C trace context: made at the edge, carried through every rpc, handed on to providers.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tonic::metadata::{MetadataMap, MetadataValue};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The metadata and HTTP header that carries a trace context.
pub const HEADER: &str = "traceparent";

/// `00-<trace id>-<span id>-<flags>`: anything longer is not ours to read, in bytes.
const HEADER_BYTES: usize = 55;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The trace that a piece of work belongs to, and the span above it.
#[derive(Debug, Clone, Copy)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
    above: Above,
}

/// What is known of the span above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    /// There is none: the trace begins here.
    Nothing,
    /// Another process has told of it.
    Remote,
    /// It is this process's.
    Here,
}

impl TraceContext {
    /// Begins a trace. Whether it is kept is decided by its first span; whom nobody records asks nobody else to record.
    pub fn generate() -> Self {
        let (trace_id, span_id) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
        Self { trace_id, span_id, sampled: false, above: Above::Nothing }
    }

    /// Reads a `traceparent` of version 00. A trace context that others sent never forces sampling.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != HEADER_BYTES || !text.is_ascii() {
            return None;
        }
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != "00" || trace_id.len() != 32 || span_id.len() != 16 || flags.len() != 2 || parts.next().is_some() {
            return None;
        }
        let (trace_id, span_id) = (u128::from_str_radix(trace_id, 16).ok()?, u64::from_str_radix(span_id, 16).ok()?);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled, above: Above::Remote })
    }

    /// Returns a context of the same trace for work below this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: rand::random::<u64>().max(1), ..*self }
    }

    /// Makes `span` a part of this trace, and returns the context for the work below it.
    #[must_use]
    pub fn enter(&self, span: &tracing::Span) -> Self {
        if span.is_disabled() {
            return self.child();
        }
        let parent = match self.above {
            Above::Nothing => Ok(()),
            Above::Remote | Above::Here => span.set_parent(opentelemetry::Context::new().with_remote_span_context(self.span())),
        };
        let context = span.context();
        let own = context.span().span_context().clone();
        if parent.is_err() || !own.is_valid() {
            return self.child();
        }
        Self::of(&own)
    }

    /// Says at `span` that it goes on with what this context's span has begun.
    pub fn link(&self, span: &tracing::Span) {
        if !span.is_disabled() {
            span.add_link(self.span());
        }
    }

    /// The span above, as the exporter knows it.
    fn span(&self) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace_id, span_id) = (TraceId::from(self.trace_id), SpanId::from(self.span_id));
        SpanContext::new(trace_id, span_id, flags, self.above == Above::Remote, TraceState::default())
    }

    fn of(span: &SpanContext) -> Self {
        Self {
            trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(span.span_id().to_bytes()),
            sampled: span.is_sampled(),
            above: Above::Here,
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Returns the trace context of the rpc that is being served; outside of one, a new trace.
pub fn current() -> TraceContext {
    under_way().unwrap_or_else(TraceContext::generate)
}

/// Returns the trace context of what is being done; none when it belongs to no trace.
pub fn under_way() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// Runs `work` as a part of `context`.
pub async fn scope<F: Future>(context: TraceContext, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

/// Runs `work` within `span`, below whatever is under way.
pub async fn within<F: Future>(span: tracing::Span, work: F) -> F::Output {
    let context = current().enter(&span);
    scope(context, work).instrument(span).await
}

/// Writes down at the span of an rpc how it was answered.
pub(crate) fn answered(span: &tracing::Span, code: tonic::Code) {
    if !span.is_disabled() {
        span.record("rpc.grpc.status_code", code as i64);
        if code != tonic::Code::Ok {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Returns the ids of the trace and of the span that are under way.
pub(crate) fn ids() -> Option<(Vec<u8>, Vec<u8>)> {
    let current = under_way()?;
    Some((current.trace_id.to_be_bytes().to_vec(), current.span_id.to_be_bytes().to_vec()))
}

/// Has a call carry a trace context.
pub fn insert(metadata: &mut MetadataMap, context: TraceContext) {
    if let Ok(value) = MetadataValue::try_from(context.to_string()) {
        metadata.insert(HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let context = TraceContext::generate();
        assert_eq!(TraceContext::parse(&context.to_string()).map(|read| read.to_string()), Some(context.to_string()));
        assert_ne!(context.child().span_id, context.span_id);
    }

    #[test]
    fn sec_79_what_is_no_trace_context_is_refused_and_so_is_a_long_one() {
        let long = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01{}", "0".repeat(128));
        for text in [
            "",
            long.as_str(),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-zaf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(TraceContext::parse(text).is_none(), "{text}");
        }
    }
}
