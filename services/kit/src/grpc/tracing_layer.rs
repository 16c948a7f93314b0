//! Makes every rpc a part of its caller's trace.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};
use tracing::{Instrument as _, debug_span};

use crate::trace::{self, TraceContext};

#[derive(Debug, Clone)]
pub(super) struct TracingLayer {
    pub(super) service: &'static str,
}

impl<S> Layer<S> for TracingLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner, service: self.service }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Traced<S> {
    inner: S,
    service: &'static str,
}

impl<S, B> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>> + Clone,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = request.headers().get(trace::HEADER).and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
        let span = debug_span!("rpc", service = self.service, method = request.uri().path());
        let own = caller.unwrap_or_else(TraceContext::generate).enter(&span);
        Box::pin(trace::scope(own, self.inner.call(request)).instrument(span))
    }
}
