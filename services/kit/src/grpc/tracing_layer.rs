//! Makes every rpc a part of its caller's trace, and takes down how long it took.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, debug_span};

use crate::metrics;
use crate::trace::{self, TraceContext};

/// Put it around a server: see the module.
#[derive(Debug, Clone)]
pub struct TracingLayer;

impl<S> Layer<S> for TracingLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

/// A server with the layer around it.
#[derive(Debug, Clone)]
pub struct Traced<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (begun, path) = (Instant::now(), request.uri().path().to_owned());
        let caller = request.headers().get(trace::HEADER).and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let span = debug_span!(
            "rpc",
            otel.name = path.trim_start_matches('/'),
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = Empty,
            otel.status_code = Empty
        );
        let own = caller.unwrap_or_else(TraceContext::generate).enter(&span);
        let (work, seen) = (self.inner.call(request), span.clone());
        let answered = async move {
            let answer = work.await;
            // What fails at once says so in its headers; a stream that breaks later has been answered.
            let headers = answer.as_ref().ok().map(Response::headers);
            let code = headers.and_then(Status::from_header_map).map_or(Code::Ok, |status| status.code());
            metrics::served(&path, code, begun.elapsed());
            trace::answered(&seen, code);
            answer
        };
        Box::pin(trace::scope(own, answered).instrument(span))
    }
}
