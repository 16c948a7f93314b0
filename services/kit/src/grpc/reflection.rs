//! Reflection, put together when somebody asks for it: the descriptors of all services take more memory than a small service has.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Layer, Service};
use tracing::error;

/// What reflection's paths begin with, in both of its versions.
const PREFIX: &str = "/grpc.reflection.";

/// Made once a process; none when the contract's own descriptors cannot be served.
static ROUTES: OnceLock<Option<Routes>> = OnceLock::new();

fn routes() -> Option<Routes> {
    let made = ROUTES.get_or_init(|| match build() {
        Ok(routes) => Some(routes),
        Err(error) => {
            error!(error = &error as &dyn std::error::Error, "could not build the reflection service");
            None
        }
    });
    made.clone()
}

fn build() -> Result<Routes, tonic_reflection::server::Error> {
    // The older version is what older tools ask for.
    Ok(Routes::new(described().build_v1()?).add_service(described().build_v1alpha()?))
}

fn described() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(verso_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[derive(Debug, Clone)]
pub(super) struct ReflectionLayer;

impl<S> Layer<S> for ReflectionLayer {
    type Service = Reflecting<S>;

    fn layer(&self, inner: S) -> Reflecting<S> {
        Reflecting { inner }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Reflecting<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Reflecting<S>
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
        if !request.uri().path().starts_with(PREFIX) {
            return Box::pin(self.inner.call(request));
        }
        match routes() {
            // Routes are ready at any time.
            Some(mut routes) => Box::pin(Service::call(&mut routes, request)),
            None => Box::pin(std::future::ready(Ok(Status::internal("no reflection").into_http()))),
        }
    }
}
