//! The run behind a request: the agent service's stream, opened again while its client has not seen any of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use verso_kit::CancellationToken;
use verso_kit::peer::{Answers, Backoff, Caller, broken_by_transport};
use verso_kit::service::is_replaced;
use verso_kit::trace::TraceContext;
use verso_proto::agent::v1::complete_response::Item;
use verso_proto::agent::v1::{CompleteRequest, CompleteResponse};
use verso_proto::methods::Call as _;
use verso_proto::wire::v1::Principal;

use super::errors::Refusal;
use crate::accept::LINGER;
use crate::gateway::Gateway;

/// How long a service may take to come back before its clients are told.
const REOPEN_WINDOW: Duration = Duration::from_secs(10);

/// How often one run may find its service dying. One that ends its service each time must not do so for ever.
const BREAKS_MAX: u32 = 2;

/// A service that asks for no longer than this is restarting; one that is too busy asks for more.
const SOON: Duration = Duration::from_millis(500);

/// From the edge's shutdown to the end of runs: just before their connections are cut.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(1_400);

/// A run. Dropping it ends it.
pub(super) struct Run {
    gateway: Arc<Gateway>,
    request: CompleteRequest,
    caller: Caller,
    /// None between a break and the next attempt.
    answers: Option<Answers<CompleteResponse>>,
    breaks: u32,
    /// Whether the client has seen a part of the answer, so that another answer is no use.
    shown: bool,
    leaving: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Run {
    /// Begins a run. The request's idempotency key makes it harmless to begin it again.
    pub(super) async fn open(gateway: Arc<Gateway>, request: CompleteRequest, trace: TraceContext) -> Result<Self, Refusal> {
        let caller = Caller { principal: Some(gateway.api_caller.clone()), trace: Some(trace) };
        let leaving = Box::pin(grace(gateway.tasks.shutdown().clone()));
        let mut run = Self { gateway, request, caller, answers: None, breaks: 0, shown: false, leaving };
        run.answers = Some(run.begin().await.map_err(|status| Refusal::from_status(&status))?);
        Ok(run)
    }

    /// Says that the client has seen a part of the answer.
    pub(super) fn mark_shown(&mut self) {
        self.shown = true;
    }

    /// Returns the next item; the end is the last one. Nothing is lost when the wait for it is given up.
    pub(super) async fn next(&mut self) -> Result<Item, Refusal> {
        loop {
            let answers = if let Some(answers) = &mut self.answers {
                answers
            } else {
                let begun = self.begin().await.map_err(|status| Refusal::from_status(&status))?;
                self.answers.insert(begun)
            };
            let received = tokio::select! {
                received = answers.next() => received,
                () = &mut self.leaving => return Err(Refusal::draining()),
            };
            let status = match received {
                Ok(Some(CompleteResponse { item: Some(item) })) => return Ok(item),
                // An item of a kind that this version does not know.
                Ok(Some(CompleteResponse { item: None })) => continue,
                Ok(None) => Status::unavailable("the answer ended before the run"),
                Err(status) => status,
            };
            self.answers = None;
            self.breaks += 1;
            if self.shown || self.breaks > BREAKS_MAX || !is_restarting(&status) {
                return Err(Refusal::from_status(&status));
            }
        }
    }

    /// Calls the service, again and again while it is away.
    async fn begin(&self) -> Result<Answers<CompleteResponse>, Status> {
        let peer = self.gateway.services.of(CompleteRequest::METHOD.service)?;
        let (deadline, mut backoff) = (Instant::now() + REOPEN_WINDOW, Backoff::default());
        loop {
            let status = match peer.open(&self.request, &self.caller).await {
                Ok(answers) => return Ok(answers),
                Err(status) => status,
            };
            if !is_restarting(&status) || !backoff.pause_until(deadline).await {
                return Err(status);
            }
        }
    }
}

/// Whether the service is gone, or says that it will be and its successor is about to come.
fn is_restarting(status: &Status) -> bool {
    let delay = || status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
    broken_by_transport(status) || (status.code() == Code::Unavailable && delay().is_some_and(|delay| delay <= SOON))
}

async fn grace(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    // An edge that was replaced is in nobody's way.
    sleep(if is_replaced() { LINGER } else { SHUTDOWN_GRACE }).await;
}

/// Whoever knows the gateway's secret is an operator with every right.
pub(crate) fn api_caller() -> Principal {
    Principal {
        role: "operator".to_owned(),
        scopes: vec!["operator.admin".to_owned()],
        client_id: "http".to_owned(),
        client_mode: "backend".to_owned(),
        ..Principal::default()
    }
}
