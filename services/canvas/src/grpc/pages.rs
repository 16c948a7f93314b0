//! Pages through the edge: it has admitted whoever asks.

use std::io;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue};
use http::{Method, Response};
use http_body_util::BodyExt as _;
use tonic::{Request, Status};
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::Caller;
use verso_kit::principal::principal;
use verso_proto::canvas::v1::fetch_response::Part;
use verso_proto::canvas::v1::pages_server::Pages;
use verso_proto::canvas::v1::{ActRequest, ActResponse, FetchHead, FetchRequest, FetchResponse, Header, WatchRequest, WatchResponse};

use super::Service;
use crate::error::Refused;
use crate::site::Body;

/// What an agent draws shares its origin, on the gateway's port, with the page that knows the gateway's secret. So it gets none of its own.
const APART: &str = "frame-ancestors 'self'; \
    sandbox allow-scripts allow-forms allow-modals allow-popups allow-popups-to-escape-sandbox allow-pointer-lock allow-downloads";

#[tonic::async_trait]
impl Pages for Service {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<FetchResponse, Status>> + Send>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Reply<Self::FetchStream> {
        self.switched_on().map_err(status)?;
        let request = asked(request.into_inner()).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut response = self.host.site.admitted(request).await;
        if let Some(policy) = response.headers_mut().get_mut(CONTENT_SECURITY_POLICY)
            && policy == crate::site::POLICY
        {
            *policy = HeaderValue::from_static(APART);
        }
        reply(parts(response))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Reply<Self::WatchStream> {
        self.switched_on().map_err(status)?;
        let session = request.into_inner().session_key;
        if session.is_none() && !self.config.live_reload {
            return Err(Status::not_found("live reload is off"));
        }
        let session = match session {
            Some(session) => Some(self.host.sessions.canonical(Some(session)).await.map_err(status)?),
            None => None,
        };
        let full = || Status::resource_exhausted(format!("at most {} pages are told of changes", crate::live::PAGES_MAX));
        let frames = self.host.live.watch(session).ok_or_else(full)?;
        reply(Box::pin(frames.map(|frame| Ok(WatchResponse { frame: frame.to_string() }))))
    }

    async fn act(&self, request: Request<ActRequest>) -> Reply<ActResponse> {
        self.switched_on().map_err(status)?;
        let caller = Caller { principal: principal(&request), trace: None };
        let ActRequest { session_key, message_json } = request.into_inner();
        let session = self.host.sessions.canonical(Some(session_key)).await.map_err(status)?;
        let (id, accepted) = self.host.sessions.act(&self.host.store, &session, &message_json, &caller).await;
        reply(ActResponse { id, error: accepted.err().map(|refused: Refused| refused.to_string()) })
    }
}

fn asked(request: FetchRequest) -> Result<http::Request<()>, http::Error> {
    let method = Method::from_bytes(request.method.as_bytes())?;
    let mut builder = http::Request::builder().method(method).uri(request.path);
    for Header { name, value } in request.headers {
        builder = builder.header(HeaderName::try_from(name)?, HeaderValue::from_maybe_shared(bytes::Bytes::from(value))?);
    }
    builder.body(())
}

/// The head, then the body in its own pieces.
fn parts(response: Response<Body>) -> Pin<Box<dyn Stream<Item = Result<FetchResponse, Status>> + Send>> {
    let (head, body) = response.into_parts();
    let headers = head.headers.iter().map(|(name, value)| Header { name: name.to_string(), value: value.as_bytes().to_vec() });
    let head = FetchHead { status: i32::from(head.status.as_u16()), headers: headers.collect() };
    let pieces = futures_util::stream::unfold(Some(body), |body| async {
        let mut body = body?;
        loop {
            match body.frame().await? {
                Ok(frame) => {
                    // There are no trailers.
                    let Ok(data) = frame.into_data() else { continue };
                    return Some((Ok(FetchResponse { part: Some(Part::Body(data.to_vec())) }), Some(body)));
                }
                Err(error) => return Some((Err(broken(&error)), None)),
            }
        }
    });
    let first = futures_util::stream::iter([Ok(FetchResponse { part: Some(Part::Head(head)) })]);
    Box::pin(first.chain(pieces))
}

fn broken(error: &io::Error) -> Status {
    Status::data_loss(format!("the file ended early: {error}"))
}
