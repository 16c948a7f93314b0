//! What every request gets: a name for reports, and a place in the histogram of its route.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use tokio::time::Instant;

use super::REQUEST_ID;
use crate::metrics;

/// Stands for paths that are no route of their own.
const ELSEWHERE: &str = "other";

/// Times a request until the head of its answer, and names it unless its handler has.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| ELSEWHERE.to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let mut response = next.run(request).await;
    metrics::served(&route, &method, response.status(), begun.elapsed());
    if !response.headers().contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::try_from(format!("req_{}", uuid::Uuid::new_v4()))
    {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
