//! Requests that go elsewhere than to the routes that the server was built with: to newer routes, once there are some, or to reflection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Layer, Service};

use super::reflection;

/// What every server offers, whatever the service does, stays where it was built.
const OF_THE_SERVER: [&str; 4] =
    ["/grpc.", "/verso.wire.v1.Carrier/", "/verso.supervisor.v1.Configuration/", "/verso.supervisor.v1.Telemetry/"];

#[derive(Debug, Clone)]
pub(super) struct DetourLayer {
    /// What a reload has put in the place of the first routes.
    pub(super) routes: Arc<ArcSwapOption<Routes>>,
}

impl<S> Layer<S> for DetourLayer {
    type Service = Detour<S>;

    fn layer(&self, inner: S) -> Detour<S> {
        Detour { inner, routes: Arc::clone(&self.routes) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Detour<S> {
    inner: S,
    routes: Arc<ArcSwapOption<Routes>>,
}

impl<S> Detour<S> {
    /// Returns where a request goes instead; none for the routes of the server.
    fn elsewhere(&self, path: &str) -> Option<Result<Routes, Status>> {
        if path.starts_with(reflection::PREFIX) {
            return Some(reflection::routes().ok_or_else(|| Status::internal("no reflection")));
        }
        let routes = self.routes.load();
        routes.as_ref().filter(|_| !OF_THE_SERVER.iter().any(|prefix| path.starts_with(prefix))).map(|routes| Ok((**routes).clone()))
    }
}

impl<S> Service<Request<Body>> for Detour<S>
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
        match self.elsewhere(request.uri().path()) {
            // Routes are ready at any time.
            Some(Ok(mut routes)) => Box::pin(Service::call(&mut routes, request)),
            Some(Err(status)) => Box::pin(std::future::ready(Ok(status.into_http()))),
            None => Box::pin(self.inner.call(request)),
        }
    }
}
