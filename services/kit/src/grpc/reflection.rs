//! Reflection, put together when somebody asks for it: the descriptors of all services take more memory than a small service has.

use std::sync::OnceLock;

use tonic::service::Routes;
use tracing::error;

/// What reflection's paths begin with, in both of its versions.
pub(super) const PREFIX: &str = "/grpc.reflection.";

/// Made once a process; none when the contract's own descriptors cannot be served.
static ROUTES: OnceLock<Option<Routes>> = OnceLock::new();

pub(super) fn routes() -> Option<Routes> {
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
