//! Serves other routes than those that the server was built with, once there are others.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Layer, Service};

/// What every server offers, whatever the service does, stays where it was built.
const OF_THE_SERVER: [&str; 3] = ["/grpc.", "/verso.supervisor.v1.Configuration/", "/verso.supervisor.v1.Telemetry/"];

#[derive(Debug, Clone)]
pub(super) struct SwappingLayer {
    pub(super) routes: Arc<ArcSwapOption<Routes>>,
}

impl<S> Layer<S> for SwappingLayer {
    type Service = Swapping<S>;

    fn layer(&self, inner: S) -> Swapping<S> {
        Swapping { inner, routes: Arc::clone(&self.routes) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Swapping<S> {
    inner: S,
    routes: Arc<ArcSwapOption<Routes>>,
}

impl<S> Service<Request<Body>> for Swapping<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        match self.routes.load_full() {
            // Routes are ready at any time.
            Some(routes) if !OF_THE_SERVER.iter().any(|prefix| path.starts_with(prefix)) => {
                Box::pin(Service::call(&mut (*routes).clone(), request))
            }
            _ => Box::pin(self.inner.call(request)),
        }
    }
}
