//! The canvas on the gateway's port: who may look is decided here, what there is to see by the canvas service.

mod advertised;
mod socket;
mod target;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::any;
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use tokio::time::Instant;
use tonic::{Code, Status};
use verso_kit::error::made_by_service;
use verso_kit::peer::{Answers, Backoff, Caller, broken_by_transport};
use verso_proto::canvas::v1::fetch_response::Part;
use verso_proto::canvas::v1::{FetchRequest, FetchResponse, Header};
use verso_proto::methods::Call as _;

use super::Asked;
use super::auth::authorize;
use super::errors::Refusal;
use crate::capabilities::Grant;
use crate::gateway::Gateway;
pub(crate) use advertised::{canvas_section, surface_url};
pub(crate) use socket::{Page, enter};
pub(crate) use target::Target;

/// How long a request waits for a canvas service that is being restarted.
const RESTART_WAIT: Duration = Duration::from_secs(2);

/// What a request may say about the part that it wants.
const PASSED_ON: [HeaderName; 6] = [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

pub(super) fn routes() -> axum::Router<Arc<Gateway>> {
    target::PATHS.into_iter().fold(axum::Router::new(), |router, path| router.route(path, any(answer)))
}

async fn answer(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>, request: Request<Body>) -> Response {
    let (head, _) = request.into_parts();
    respond(&gateway, &asked, &head).await.unwrap_or_else(axum::response::IntoResponse::into_response)
}

async fn respond(gateway: &Gateway, asked: &Asked, request: &Parts) -> Result<Response, Refusal> {
    let target = Target::read(&request.uri)?;
    admit(gateway, asked, &request.headers, &target).await?;
    let headers = request.headers.iter().filter(|(name, _)| PASSED_ON.contains(name));
    let headers = headers.map(|(name, value)| Header { name: name.to_string(), value: value.as_bytes().to_vec() });
    let wanted = FetchRequest { method: request.method.to_string(), path: target.path, headers: headers.collect() };
    fetch(gateway, wanted).await.map_err(|status| away(&status))
}

/// Lets a request in: by its secret address, from this machine, or by the gateway's secret. Returns what the address is good for.
pub(super) async fn admit(gateway: &Gateway, asked: &Asked, headers: &HeaderMap, target: &Target) -> Result<Option<Grant>, Refusal> {
    if let Some(token) = &target.capability {
        return gateway.canvas_grant(token).await.map(Some).ok_or(Refusal::Unauthorized);
    }
    if !asked.facts.local && !canvas_section(gateway).open_to_all() {
        authorize(gateway, asked, headers).await?;
    }
    Ok(None)
}

async fn fetch(gateway: &Gateway, wanted: FetchRequest) -> Result<Response, Status> {
    let peer = gateway.services.of(FetchRequest::METHOD.service)?;
    let (deadline, mut backoff) = (Instant::now() + RESTART_WAIT, Backoff::default());
    let (head, rest) = loop {
        let opened = async {
            let mut answer = peer.open(&wanted, &Caller::default()).await?;
            let first = answer.next().await?;
            Ok::<_, Status>((first, answer))
        };
        match opened.await {
            Ok((Some(FetchResponse { part: Some(Part::Head(head)) }), rest)) => break (head, rest),
            Ok(_) => return Err(Status::internal("an answer without a head")),
            Err(status) if broken_by_transport(&status) && backoff.pause_until(deadline).await => {}
            Err(status) => return Err(status),
        }
    };
    let mut response = Response::new(Body::from_stream(unfold(rest, next_piece).fuse()));
    *response.status_mut() =
        u16::try_from(head.status).ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_GATEWAY);
    for Header { name, value } in head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_maybe_shared(bytes::Bytes::from(value))) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A body that breaks off breaks the connection: its reader must not take it for whole.
async fn next_piece(mut rest: Answers<FetchResponse>) -> Option<(Result<bytes::Bytes, Status>, Answers<FetchResponse>)> {
    match rest.next().await {
        Ok(Some(FetchResponse { part: Some(Part::Body(piece)) })) => Some((Ok(piece.into()), rest)),
        Ok(Some(_) | None) => None,
        Err(status) => Some((Err(status), rest)),
    }
}

/// A canvas that is switched off is no canvas.
fn away(status: &Status) -> Refusal {
    match status.code() {
        Code::Unavailable if made_by_service(status) => Refusal::NotFound,
        Code::InvalidArgument => Refusal::invalid("the request cannot be read"),
        _ => Refusal::Away { message: "The canvas is temporarily unavailable".into(), retry_after: Duration::from_secs(1) },
    }
}
