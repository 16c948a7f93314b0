//! Calls that come over one lasting stream. Each is served as if it had come by itself: through the same layers, to the same routes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status, Streaming, async_trait};
use tower::{Service, ServiceExt as _};
use tracing::debug;
use verso_proto::wire::v1::carrier_server::Carrier;
use verso_proto::wire::v1::{CarriedCall, CarriedFailure, CarryRequest, CarryResponse, Leaving, carry_request, carry_response};

use super::gate::CALLER_KEY;
use super::{CONCURRENT_STREAMS_MAX, Reply, reply};
use crate::links::From;
use crate::peer::{MESSAGE_BYTES_MAX, too_large};
use crate::{principal, trace};

/// What precedes a message in the body of a request or an answer: whether it is packed (1 byte), and its length (4 bytes).
const PREFIX_BYTES: usize = 5;

/// The largest part of an answer, in bytes: a large answer lets the small ones pass.
const PART_BYTES_MAX: usize = 64 << 10;

/// Parts that may wait to be sent.
const PARTS_MAX: usize = 64;

/// Requests that are taken before answers get their turn.
const TURN: usize = 64;

/// Serves [`Carrier`]; `calls` is where a call goes.
#[derive(Debug)]
pub(super) struct Adapter<S> {
    pub(super) calls: S,
    pub(super) shutdown: CancellationToken,
}

#[async_trait]
impl<S> Carrier for Adapter<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + Unpin + 'static,
    S::Future: Send + 'static,
{
    type CarryStream = Carried<S>;

    async fn carry(&self, request: tonic::Request<Streaming<CarryRequest>>) -> Reply<Carried<S>> {
        let from = request.extensions().get::<From>().copied();
        let (out, answers) = mpsc::channel(PARTS_MAX);
        reply(Carried {
            calls: self.calls.clone(),
            from,
            asked: Some(request.into_inner()),
            under_way: HashMap::new(),
            tasks: JoinSet::new(),
            out,
            answers,
            shutdown: Some(Box::pin(self.shutdown.clone().cancelled_owned())),
        })
    }
}

/// The answers of one stream. Dropping it gives up the calls that are under way.
pub(super) struct Carried<S> {
    calls: S,
    from: Option<From>,
    /// None: the caller has ended its side.
    asked: Option<Streaming<CarryRequest>>,
    under_way: HashMap<u64, AbortHandle>,
    tasks: JoinSet<()>,
    out: mpsc::Sender<CarryResponse>,
    answers: mpsc::Receiver<CarryResponse>,
    /// None: the caller knows that this process stops.
    shutdown: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<S> Carried<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    fn take(&mut self, request: CarryRequest) {
        let CarryRequest { id, what } = request;
        match what {
            Some(carry_request::What::Call(call)) => {
                let answering = answer(self.calls.clone(), call, self.from, id, self.out.clone());
                // Ends with this stream.
                let task = self.tasks.spawn(answering);
                if let Some(before) = self.under_way.insert(id, task) {
                    debug!(id, "the number of a call is used again before it is answered");
                    before.abort();
                }
            }
            Some(carry_request::What::GiveUp(_)) => {
                if let Some(task) = self.under_way.remove(&id) {
                    task.abort();
                }
            }
            None => debug!(id, "a request that says nothing"),
        }
    }
}

impl<S> Stream for Carried<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send + 'static,
{
    type Item = Result<CarryResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut taken = 0;
        while let Some(asked) = this.asked.as_mut().filter(|_| taken < TURN && this.under_way.len() < CONCURRENT_STREAMS_MAX as usize) {
            match Pin::new(asked).poll_next(context) {
                Poll::Ready(Some(Ok(request))) => this.take(request),
                Poll::Ready(None) => this.asked = None,
                // Its connection is gone, and so is whoever waits.
                Poll::Ready(Some(Err(_))) => return Poll::Ready(None),
                Poll::Pending => break,
            }
            taken += 1;
        }
        while this.tasks.try_join_next().is_some() {}
        if this.shutdown.as_mut().is_some_and(|shutdown| shutdown.as_mut().poll(context).is_ready()) {
            this.shutdown = None;
            return Poll::Ready(Some(Ok(CarryResponse { id: 0, what: Some(carry_response::What::Leaving(Leaving {})) })));
        }
        match this.answers.poll_recv(context) {
            Poll::Ready(Some(response)) => {
                if !matches!(response.what, Some(carry_response::What::Part(_))) {
                    this.under_way.remove(&response.id);
                }
                Poll::Ready(Some(Ok(response)))
            }
            _ if this.asked.is_none() && this.under_way.is_empty() => Poll::Ready(None),
            _ => {
                if taken == TURN {
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}

/// Makes one call, and hands out its answer in parts.
async fn answer<S>(calls: S, call: CarriedCall, from: Option<From>, id: u64, out: mpsc::Sender<CarryResponse>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let answered = AssertUnwindSafe(message(calls, call, from)).catch_unwind().await;
    // As for a call by itself, whose stream breaks off.
    let answered = answered.unwrap_or_else(|_| Err(Status::internal("the call broke off")));
    let what = match answered {
        Ok(mut message) => {
            while message.len() > PART_BYTES_MAX {
                let part = carry_response::What::Part(message.split_to(PART_BYTES_MAX));
                if out.send(CarryResponse { id, what: Some(part) }).await.is_err() {
                    return;
                }
            }
            carry_response::What::Last(message)
        }
        Err(status) => carry_response::What::Failure(CarriedFailure {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: status.details().to_vec(),
        }),
    };
    // Nobody is there to miss it.
    drop(out.send(CarryResponse { id, what: Some(what) }).await);
}

async fn message<S>(calls: S, call: CarriedCall, from: Option<From>) -> Result<Bytes, Status>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let request = request(call, from)?;
    let (parts, body) = match calls.oneshot(request).await {
        Ok(response) => response.into_parts(),
        Err(never) => match never {},
    };
    failed(&parts.headers)?;
    let body = Limited::new(body, MESSAGE_BYTES_MAX + PREFIX_BYTES)
        .collect()
        .await
        .map_err(|error| if error.is::<LengthLimitError>() { too_large() } else { Status::from_error(error) })?;
    body.trailers().map_or(Ok(()), failed)?;
    let mut message = body.to_bytes();
    if message.len() < PREFIX_BYTES || message.get_u8() != 0 || message.get_u32() as usize != message.len() {
        return Err(Status::internal("only calls with one answer can be carried"));
    }
    Ok(message)
}

fn request(call: CarriedCall, from: Option<From>) -> Result<Request<Body>, Status> {
    let CarriedCall { path, message, traceparent, caller, principal } = call;
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).map_err(|_| Status::out_of_range("the request is too large"))?);
    body.put(message);
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/grpc").body(Body::new(Full::new(body.freeze())));
    let mut request = request.map_err(|error| Status::invalid_argument(format!("not a path: {error}")))?;
    let metadata = [(trace::HEADER, Bytes::from(traceparent)), (CALLER_KEY, caller), (principal::KEY, principal)];
    for (name, value) in metadata.into_iter().filter(|(_, value)| !value.is_empty()) {
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Status::invalid_argument(format!("{name} is no metadata")))?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    if let Some(from) = from {
        request.extensions_mut().insert(from);
    }
    Ok(request)
}

/// The status that headers or trailers bring, if it is no success.
fn failed(headers: &HeaderMap) -> Result<(), Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok).map_or(Ok(()), Err)
}
