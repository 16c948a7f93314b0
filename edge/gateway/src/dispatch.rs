//! A request's path: frame → role and scope → method → schema → service → response. Nothing here knows a method's name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;
use tonic::Status;
use tracing::{Instrument as _, debug, debug_span, info, trace};
use verso_kit::peer::{Backoff, Caller, broken_by_transport};
use verso_kit::telemetry::FRAMES;
use verso_kit::trace::TraceContext;
use verso_proto::methods::{DecodeError, Encoded, Method, Retry, Transcode, find};
use verso_protocol::auth::authorize;
use verso_protocol::frames::{RequestFrame, response_error, response_failed, response_ok};
use verso_protocol::{Adapter, ErrorShape, validation};

use crate::error::{busy, fault, wire};
use crate::gateway::Gateway;
use crate::handover::Asked;
use crate::local::Answer;
use crate::metrics::{self, Limit};
use crate::outlet::Outlet;
use crate::services::{is_local, process_name};

/// How long a streaming answer may be picked up again after its service died.
const RESUME_WINDOW: Duration = Duration::from_secs(30);

/// The process whose list the edge has a copy of.
const PRESENCE: &str = "presence";

/// How the refusal of a call begins that the peer's role does not allow.
const UNAUTHORIZED_ROLE: &str = "unauthorized role:";

/// Who asks, and where the answer goes.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) outlet: Arc<Outlet>,
}

/// A request that has passed every check.
#[derive(Debug)]
pub(crate) struct Admitted {
    id: String,
    method: &'static Method,
    params: String,
    trace: TraceContext,
    /// Parts of the answer that the client has, or has in its queue.
    delivered: AtomicUsize,
    /// Whether a service may have been asked before, by this edge or another.
    asked: AtomicBool,
    begun: Instant,
}

impl Admitted {
    /// The id that the client has given it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the request may be made again: also by another edge.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method.transcode.is_some() && !is_local(self.method) && self.method.retry.repeatable()
    }

    /// Describes the request for another edge.
    pub(crate) fn describe(&self) -> Asked {
        Asked {
            id: self.id.clone(),
            method: self.method.name.to_owned(),
            params: self.params.clone(),
            trace: self.trace.to_string(),
            delivered: self.delivered.load(Ordering::Relaxed) as u64,
        }
    }

    /// The request that another edge describes; none when this one does not know its method.
    pub(crate) fn of(asked: &Asked) -> Option<Self> {
        Some(Self {
            id: asked.id.clone(),
            method: find(&asked.method)?,
            params: asked.params.clone(),
            trace: TraceContext::parse(&asked.trace).unwrap_or_else(TraceContext::generate),
            delivered: AtomicUsize::new(usize::try_from(asked.delivered).unwrap_or(usize::MAX)),
            asked: AtomicBool::new(true),
            begun: Instant::now(),
        })
    }
}

impl Asking {
    /// Checks a request; one that fails is answered at once.
    pub(crate) fn admit(&self, frame: &RequestFrame<'_>) -> Option<Admitted> {
        let bytes = frame.params.map_or(0, |params| params.get().len());
        trace!(target: FRAMES, conn = self.outlet.conn_id, method = &*frame.method, id = &*frame.id, bytes, "request");
        let checked = self.check(frame);
        let by_role = checked.as_ref().err().is_some_and(|error| error.message.starts_with(UNAUTHORIZED_ROLE));
        self.outlet.note_role(!by_role, &self.gateway.limits);
        match checked {
            Ok((method, completed)) => {
                let params = completed.as_deref().or(frame.params);
                let params = params.map_or("{}", |params| if params.get() == "null" { "{}" } else { params.get() }).to_owned();
                let trace = frame.traceparent.as_deref().and_then(TraceContext::parse).unwrap_or_else(TraceContext::generate);
                Some(Admitted {
                    id: frame.id.to_string(),
                    method,
                    params,
                    trace,
                    delivered: AtomicUsize::new(0),
                    asked: AtomicBool::new(false),
                    begun: Instant::now(),
                })
            }
            Err(error) => {
                metrics::turned_away(&frame.method, error.code);
                self.refuse(&frame.id, error);
                None
            }
        }
    }

    /// Answers a request with an error.
    pub(crate) fn refuse(&self, id: &str, error: ErrorShape) {
        info!(conn = self.outlet.conn_id, code = error.code.as_str(), reason = error.message.as_ref(), "request refused");
        let error = self.adapter().error(error);
        self.outlet.respond(response_error(id, &error), &self.gateway.limits);
    }

    /// Carries out an admitted request and queues its answers.
    pub(crate) async fn answer(self, admitted: Arc<Admitted>) {
        let name = admitted.method.name;
        let span = debug_span!("request", otel.name = format!("ws.request {name}"), otel.kind = "server", rpc.method = name);
        let trace = admitted.trace.enter(&span);
        async {
            if is_local(admitted.method) || self.gateway.local.knows(admitted.method) {
                self.answer_locally(&admitted).await;
            } else if admitted.method.streaming {
                self.answer_in_parts(&admitted, trace).await;
            } else {
                let answer = self.ask(&admitted, trace).await;
                self.finish(&admitted, answer);
            }
            debug!(elapsed_ms = u64::try_from(admitted.begun.elapsed().as_millis()).unwrap_or(u64::MAX), "answered");
        }
        .instrument(span)
        .await;
    }

    /// Returns the method, and its parameters if they had to be completed first.
    fn check(&self, frame: &RequestFrame<'_>) -> Result<(&'static Method, Option<Box<RawValue>>), ErrorShape> {
        let peer = self.outlet.peer;
        let method = authorize(peer, &frame.method, frame.params)?;
        let completed = self.adapter().request(method.name, frame.params);
        validation::check(peer.version, method, completed.as_deref().or(frame.params)).map_err(ErrorShape::invalid)?;
        if method.control_write {
            self.admit_control_write(method)?;
        }
        Ok((method, completed))
    }

    /// A client that reconnects is still the same one, if it is a device or says which instance it is.
    fn admit_control_write(&self, method: &'static Method) -> Result<(), ErrorShape> {
        let (limits, principal) = (&self.gateway.limits, &self.outlet.principal);
        let client = principal.device_id.as_deref().or(principal.instance_id.as_deref()).unwrap_or(&principal.client_id);
        let admitted = self.gateway.control_writes.admit(method.name, client, limits.control_writes_per_minute_max);
        admitted.inspect_err(|_| metrics::reached(Limit::ControlWrites))
    }

    async fn answer_locally(&self, admitted: &Admitted) {
        let Some(answer) = self.gateway.local.call(admitted.method, self.clone(), &admitted.params) else {
            return self.refuse(&admitted.id, ErrorShape::invalid(format!("unknown method: {}", admitted.method.name)));
        };
        self.finish(admitted, answer.await);
    }

    /// One call, one answer.
    async fn ask(&self, admitted: &Admitted, trace: TraceContext) -> Answer {
        let (transcode, encoded) = encode(admitted)?;
        let process = process_name(admitted.method.service);
        let peer = self.gateway.services.of(admitted.method.service).map_err(|status| wire(&status, process))?;
        let limits = &self.gateway.limits;
        let Some(_answering) = self.gateway.services.begin(process, limits.calls_per_service_max) else {
            metrics::reached(Limit::CallsPerService);
            return Err(busy(process));
        };
        let answer = peer.call_raw(admitted.method, encoded.message.into(), encoded.wait_ms, &self.caller(trace)).await;
        if process == PRESENCE && admitted.method.retry != Retry::ReadOnly {
            self.gateway.presence_list.void();
        }
        let message = answer.map_err(|status| wire(&status, process))?;
        (transcode.decode)(&message).map_err(|error: DecodeError| fault(&error))
    }

    /// One call, an answer in parts: each part is a response frame. Goes on where it was when the service restarts.
    async fn answer_in_parts(&self, admitted: &Admitted, trace: TraceContext) {
        let process = process_name(admitted.method.service);
        let (mut backoff, mut broken_since) = (Backoff::default(), None::<Instant>);
        loop {
            let before = admitted.delivered.load(Ordering::Relaxed);
            let Err(status) = self.deliver(admitted, trace).await else { return };
            if admitted.delivered.load(Ordering::Relaxed) > before {
                broken_since = None;
                backoff.reset();
            }
            let deadline = *broken_since.get_or_insert_with(Instant::now) + RESUME_WINDOW;
            let may_resume = admitted.method.retry.repeatable() && broken_by_transport(&status) && !self.outlet.is_closed();
            if !may_resume || !backoff.pause_until(deadline).await {
                return self.refuse(&admitted.id, wire(&status, process));
            }
        }
    }

    /// Delivers the parts of an answer until it ends; the error says how the stream broke.
    async fn deliver(&self, admitted: &Admitted, trace: TraceContext) -> Result<(), Status> {
        let (transcode, encoded) = match encode(admitted) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.refuse(&admitted.id, error);
                return Ok(());
            }
        };
        let peer = self.gateway.services.of(admitted.method.service)?;
        let again = admitted.asked.swap(true, Ordering::Relaxed);
        let delivered = again.then(|| admitted.delivered.load(Ordering::Relaxed));
        let mut stream = peer.open_raw(admitted.method, encoded.message.into(), delivered, &self.caller(trace)).await?;
        while let Some(message) = stream.message().await? {
            admitted.delivered.fetch_add(1, Ordering::Relaxed);
            self.finish(admitted, (transcode.decode)(&message).map_err(|error| fault(&error)));
        }
        Ok(())
    }

    fn finish(&self, admitted: &Admitted, answer: Answer) {
        let adapter = self.adapter();
        metrics::answered(admitted.method, answer.as_ref().err().map(|error| error.code));
        metrics::handled(admitted.method, admitted.begun.elapsed());
        match answer {
            Ok(payload) => {
                let name = admitted.method.name;
                let shown = adapter.response(name, &payload);
                let frame = match adapter.failure(name, &payload) {
                    Some(error) => response_failed(&admitted.id, Some(&shown), &adapter.error(error)),
                    None => response_ok(&admitted.id, &shown),
                };
                self.outlet.respond(frame, &self.gateway.limits);
            }
            Err(error) => self.refuse(&admitted.id, error),
        }
    }

    fn caller(&self, trace: TraceContext) -> Caller {
        Caller { principal: Some(self.outlet.principal.clone()), trace: Some(trace) }
    }

    fn adapter(&self) -> Adapter {
        Adapter::new(self.outlet.peer.version)
    }
}

fn encode(admitted: &Admitted) -> Result<(Transcode, Encoded), ErrorShape> {
    let name = admitted.method.name;
    let transcode = admitted.method.transcode.ok_or_else(|| ErrorShape::invalid(format!("unknown method: {name}")))?;
    let encoded = (transcode.encode)(&admitted.params).map_err(|error| ErrorShape::invalid(validation::unreadable(name, &error)))?;
    Ok((transcode, encoded))
}
