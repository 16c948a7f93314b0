//! Small calls share one lasting stream: a stream of HTTP/2 for each costs more than what most of them do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use verso_proto::GENERATION;
use verso_proto::wire::v1::carrier_client::CarrierClient;
use verso_proto::wire::v1::{CarriedCall, CarryRequest, CarryResponse, GiveUp, carry_request, carry_response};

use super::{MESSAGE_BYTES_MAX, too_large};
use crate::grpc::gate::{CALLER_KEY, GENERATION_KEY};
use crate::{principal, trace};

/// The largest request that is carried, in bytes; larger ones have a stream of their own, in whose way nothing stands.
const CARRIED_BYTES_MAX: usize = 64 << 10;

/// Calls of one stream that may be without an answer; further ones wait.
const CALLS_MAX: usize = 4_096;

/// How long a service that does not know streams of calls is taken at its word: a newer one may take its place.
const UNKNOWN_FOR: Duration = Duration::from_mins(1);

/// What became of a call.
pub(super) enum Outcome {
    Answered(Result<Bytes, Status>),
    /// It has to be made by itself: it was not carried.
    NotCarried(Request<Bytes>),
}

/// The way to one service for small calls. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Carrier(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    line: Option<Arc<Line>>,
    /// Until when every call is made by itself.
    unknown_until: Option<Instant>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(line) = &self.state.get_mut().unwrap_or_else(PoisonError::into_inner).line {
            line.leave();
        }
    }
}

impl Carrier {
    /// Makes one call. When this is given up, so is the call.
    pub(super) async fn call(&self, channel: &Channel, path: &'static str, request: Request<Bytes>) -> Outcome {
        if request.get_ref().len() > CARRIED_BYTES_MAX {
            return Outcome::NotCarried(request);
        }
        loop {
            let Some(line) = self.line(channel) else { return Outcome::NotCarried(request) };
            // Never closed.
            let Ok(place) = Arc::clone(&line.places).acquire_owned().await else { return Outcome::NotCarried(request) };
            let Some((id, answer)) = line.begin(path, &request) else { continue };
            let mut asked = Asked { line: &line, id, place: Some(place) };
            let answer = answer.await;
            asked.place = None;
            return match answer {
                Ok(Ending::Answered(answer)) => Outcome::Answered(answer),
                Ok(Ending::Unknown) => {
                    self.state().unknown_until = Some(Instant::now() + UNKNOWN_FOR);
                    Outcome::NotCarried(request)
                }
                Err(_) => Outcome::Answered(Err(Status::unknown("the stream of calls was given up"))),
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream that is open, or a new one; none while the service is known not to have them.
    #[allow(clippy::disallowed_methods, reason = "ends with the stream, which ends with the last clone of this")]
    fn line(&self, channel: &Channel) -> Option<Arc<Line>> {
        let mut state = self.state();
        if let Some(line) = state.line.as_ref().filter(|line| line.is_open()) {
            return Some(Arc::clone(line));
        }
        if state.unknown_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let (line, frames) = Line::new();
        let line = Arc::new(line);
        tokio::spawn(run(Arc::clone(&line), channel.clone(), frames));
        state.line = Some(Arc::clone(&line));
        Some(line)
    }
}

/// How a carried call ended.
enum Ending {
    Answered(Result<Bytes, Status>),
    /// The service does not know streams of calls.
    Unknown,
}

/// What goes out, and the place that a call which is given up frees when it has gone.
type Frame = (CarryRequest, Option<OwnedSemaphorePermit>);

/// One stream of calls.
#[derive(Debug)]
struct Line {
    places: Arc<Semaphore>,
    calls: Mutex<Calls>,
}

#[derive(Debug)]
struct Calls {
    /// None: nothing more goes out.
    frames: Option<UnboundedSender<Frame>>,
    waiting: HashMap<u64, Waiting>,
    last_id: u64,
}

struct Waiting {
    answer: oneshot::Sender<Ending>,
    /// What has come of the answer so far.
    parts: BytesMut,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Waiting").field("bytes", &self.parts.len()).finish_non_exhaustive()
    }
}

impl Line {
    fn new() -> (Self, UnboundedReceiver<Frame>) {
        // As many frames as there are places, and one more for each call that is given up.
        let (frames, receiver) = unbounded_channel();
        let calls = Calls { frames: Some(frames), waiting: HashMap::new(), last_id: 0 };
        (Self { places: Arc::new(Semaphore::new(CALLS_MAX)), calls: Mutex::new(calls) }, receiver)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        self.calls().frames.is_some()
    }

    /// Sends a request; none when the stream takes no more.
    fn begin(&self, path: &str, request: &Request<Bytes>) -> Option<(u64, oneshot::Receiver<Ending>)> {
        let call = carried(path, request);
        let (answer, answered) = oneshot::channel();
        let mut calls = self.calls();
        let id = calls.last_id + 1;
        let frame = CarryRequest { id, what: Some(carry_request::What::Call(call)) };
        calls.frames.as_ref()?.send((frame, None)).ok()?;
        calls.last_id = id;
        calls.waiting.insert(id, Waiting { answer, parts: BytesMut::new() });
        Some((id, answered))
    }

    fn give_up(&self, id: u64, place: OwnedSemaphorePermit) {
        let mut calls = self.calls();
        if calls.waiting.remove(&id).is_some()
            && let Some(frames) = &calls.frames
        {
            // A stream that is gone has given up everything.
            drop(frames.send((given_up(id), Some(place))));
        }
    }

    fn take(&self, response: CarryResponse) {
        let CarryResponse { id, what } = response;
        let mut calls = self.calls();
        let answer = match what {
            Some(carry_response::What::Leaving(_)) => {
                calls.frames = None;
                return;
            }
            Some(carry_response::What::Part(part)) => {
                let Some(waiting) = calls.waiting.get_mut(&id) else { return };
                if waiting.parts.len() + part.len() <= MESSAGE_BYTES_MAX {
                    waiting.parts.extend_from_slice(&part);
                    return;
                }
                if let Some(frames) = &calls.frames {
                    // A stream that is gone sends nothing more anyway.
                    drop(frames.send((given_up(id), None)));
                }
                Err(too_large())
            }
            Some(carry_response::What::Last(part)) => Ok(part),
            Some(carry_response::What::Failure(failure)) => {
                Err(Status::with_details(Code::from(failure.code), failure.message, failure.details.into()))
            }
            None => Err(Status::internal("an answer that says nothing")),
        };
        // Whoever gave it up is not there any more.
        let Some(Waiting { answer: waiter, mut parts }) = calls.waiting.remove(&id) else { return };
        drop(calls);
        let answer = answer.map(|last| {
            if parts.is_empty() {
                return last;
            }
            parts.extend_from_slice(&last);
            parts.freeze()
        });
        drop(waiter.send(Ending::Answered(answer)));
    }

    /// Takes no more calls. Those that are under way are answered.
    fn leave(&self) {
        self.calls().frames = None;
    }

    /// Ends everything that waits.
    fn close(&self, ending: impl Fn() -> Ending) {
        let waiting = {
            let mut calls = self.calls();
            calls.frames = None;
            std::mem::take(&mut calls.waiting)
        };
        for waiting in waiting.into_values() {
            drop(waiting.answer.send(ending()));
        }
    }
}

/// A call that is given up unless it was answered.
struct Asked<'a> {
    line: &'a Line,
    id: u64,
    /// None: it was answered.
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.line.give_up(self.id, place);
        }
    }
}

/// Opens the stream, and hands out what comes over it until it ends.
async fn run(line: Arc<Line>, channel: Channel, frames: UnboundedReceiver<Frame>) {
    let mut requests = Request::new(UnboundedReceiverStream::new(frames).map(|(frame, _place)| frame));
    // What it says here, it says of every call.
    requests.metadata_mut().insert(GENERATION_KEY, MetadataValue::from_static(GENERATION));
    let mut client = CarrierClient::new(channel);
    let ended = async {
        let mut answers = client.carry(requests).await?.into_inner();
        while let Some(response) = answers.message().await? {
            line.take(response);
        }
        // What is unanswered has met the end of the service; nobody knows how far it had come.
        Err::<(), _>(Status::unknown("the service ended the stream of calls"))
    };
    let Err(status) = ended.await else { return };
    line.close(|| if status.code() == Code::Unimplemented { Ending::Unknown } else { Ending::Answered(Err(status.clone())) });
}

fn given_up(id: u64) -> CarryRequest {
    CarryRequest { id, what: Some(carry_request::What::GiveUp(GiveUp {})) }
}

fn carried(path: &str, request: &Request<Bytes>) -> CarriedCall {
    let headers: &HeaderMap = request.metadata().as_ref();
    let of = |name: &str| headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes())).unwrap_or_default();
    CarriedCall {
        path: path.to_owned(),
        message: request.get_ref().clone(),
        traceparent: headers.get(trace::HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned(),
        caller: of(CALLER_KEY),
        principal: of(principal::KEY),
    }
}

#[cfg(test)]
mod tests;
