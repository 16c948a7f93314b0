//! The HTTP side of the port: probes, and the APIs that other software speaks.

mod probes;

use std::sync::Arc;

use axum::Router;

use crate::gateway::Gateway;
use crate::request_facts::Facts;

/// What is known of a request besides its head and body; every handler finds it in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) facts: Facts,
}

/// Builds the routes.
pub(crate) fn router(gateway: &Arc<Gateway>) -> Router {
    Router::new().merge(probes::routes()).with_state(Arc::clone(gateway))
}
