//! Finished spans on their way to the exporter.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::{Item, Queue};

/// Puts every span that is kept into the queue.
#[derive(Debug)]
pub(super) struct Collecting(pub(super) Queue);

impl SpanProcessor for Collecting {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(Item::Span(Box::new(span)));
        }
    }

    /// The exporter flushes by itself.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
