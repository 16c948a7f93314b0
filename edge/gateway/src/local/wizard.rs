//! `wizard.*`: setting the gateway up by questions and answers. One wizard runs at a time, and nothing is written before its last answer.

mod answers;
mod questions;
mod session;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use verso_proto::edge::v1::{
    WizardAnswer, WizardCancelRequest, WizardCancelResponse, WizardNextRequest, WizardNextResponse, WizardStartRequest,
    WizardStartResponse, WizardStatusRequest, WizardStatusResponse,
};
use verso_protocol::{Code, ErrorShape};

use super::Local;
use super::config::on_disk;
use super::config::overlay::{NotLaid, Overlay};
use crate::dispatch::Asking;
use answers::Present;
use questions::{Questions, Taken};
use session::{Ending, Session, State};

pub(super) fn register(local: &mut Local) {
    let wizards = Wizards::default();
    let (starting, continued, cancelled) = (wizards.clone(), wizards.clone(), wizards.clone());
    local.on::<WizardStartRequest, _, _>(move |asking, request| {
        let wizards = starting.clone();
        async move { wizards.start(asking, request).await }
    });
    local.on::<WizardNextRequest, _, _>(move |asking, request| {
        let wizards = continued.clone();
        async move { wizards.next(asking, request).await }
    });
    local.on::<WizardCancelRequest, _, _>(move |_, request| {
        let wizards = cancelled.clone();
        async move { wizards.cancel(&request.session_id).await }
    });
    local.on::<WizardStatusRequest, _, _>(move |_, request| {
        let wizards = wizards.clone();
        async move { wizards.status(&request.session_id).await }
    });
}

/// The wizard that runs, or the one that ran last.
#[derive(Debug, Clone, Default)]
struct Wizards {
    latest: Arc<Mutex<Option<Session>>>,
}

impl Wizards {
    async fn start(&self, asking: Asking, request: WizardStartRequest) -> Result<WizardStartResponse, ErrorShape> {
        if request.flow.as_deref() == Some("channels") || request.channel.is_some() {
            let words = "this wizard does not set channels up; set channels.* with config.patch";
            return Err(ErrorShape::new(Code::Unavailable, words));
        }
        let mut latest = self.latest.lock().await;
        let now = Instant::now();
        if latest.as_ref().is_some_and(|session| session.is_running(now)) {
            return Err(ErrorShape::new(Code::Unavailable, "wizard already running"));
        }
        let present = present(&asking).await?;
        let questions = Questions::new(present, &request).map_err(ErrorShape::invalid)?;
        let session = Session::new(questions, now);
        let answer = WizardStartResponse {
            session_id: session.id.clone(),
            done: false,
            step: session.step(),
            status: Some(session.status().to_owned()),
            error: None,
        };
        tracing::info!("a setup wizard has begun");
        // As long as there is one at all, somebody waits for the time to forget it.
        if latest.replace(session).is_none() {
            let (latest, shutdown) = (Arc::clone(&self.latest), asking.gateway.tasks.shutdown().clone());
            asking.gateway.tasks.spawn("idle wizard", async move {
                tokio::select! {
                    () = forget_in_time(latest) => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
        Ok(answer)
    }

    async fn next(&self, asking: Asking, request: WizardNextRequest) -> Result<WizardNextResponse, ErrorShape> {
        let mut latest = self.latest.lock().await;
        let session = found(&mut latest, &request.session_id)?;
        if let Some(answer) = request.answer {
            // The lock is kept while the file is written: a second answer to the same step finds the step gone.
            take(&asking, session, answer).await?;
        }
        Ok(WizardNextResponse {
            done: !matches!(session.state, State::Running(_)),
            step: session.step(),
            status: Some(session.status().to_owned()),
            error: session.error(),
        })
    }

    async fn cancel(&self, id: &str) -> Result<WizardCancelResponse, ErrorShape> {
        let mut latest = self.latest.lock().await;
        let session = found(&mut latest, id)?;
        if matches!(session.state, State::Running(_)) {
            session.state = State::Ended(Ending::Cancelled);
        }
        Ok(WizardCancelResponse { status: session.status().to_owned(), error: session.error() })
    }

    async fn status(&self, id: &str) -> Result<WizardStatusResponse, ErrorShape> {
        let mut latest = self.latest.lock().await;
        let session = latest.as_mut().filter(|session| session.id == id && !session.is_forgotten(Instant::now()));
        let session = session.ok_or_else(not_found)?;
        Ok(WizardStatusResponse { status: session.status().to_owned(), error: session.error() })
    }
}

fn not_found() -> ErrorShape {
    ErrorShape::invalid("wizard not found").with_details(&serde_json::json!({"code": "WIZARD_NOT_FOUND"}))
}

/// Drops the wizard, and a key that it was told perhaps, when nobody has cared for it for long enough.
async fn forget_in_time(latest: Arc<Mutex<Option<Session>>>) {
    loop {
        let forgotten_at = {
            let mut latest = latest.lock().await;
            latest.take_if(|session| session.is_forgotten(Instant::now()));
            let Some(session) = &*latest else { return };
            session.forgotten_at()
        };
        tokio::time::sleep_until(forgotten_at).await;
    }
}

/// Finds the wizard of that id, and notes that somebody still cares for it.
fn found<'s>(latest: &'s mut Option<Session>, id: &str) -> Result<&'s mut Session, ErrorShape> {
    let now = Instant::now();
    let session = latest.as_mut().filter(|session| session.id == id && !session.is_forgotten(now)).ok_or_else(not_found)?;
    session.touch(now);
    Ok(session)
}

/// Takes one answer. A value that cannot be used is not an error of the call: the wizard says so and asks again.
async fn take(asking: &Asking, session: &mut Session, answer: WizardAnswer) -> Result<(), ErrorShape> {
    let State::Running(questions) = &mut session.state else { return Err(ErrorShape::invalid("wizard not running")) };
    if answer.step_id != questions.step_id() {
        return Err(ErrorShape::invalid(format!(
            "wizard step {} is not the present one; call wizard.next without an answer",
            answer.step_id
        )));
    }
    let value = answer.value.map_or(Value::Null, |value| serde_json::from_str(&value.text).unwrap_or_default());
    let mut candidate = (**questions).clone();
    match candidate.take(&value) {
        Err(problem) => questions.object(problem),
        Ok(Taken::Leave) => session.state = State::Ended(Ending::Cancelled),
        Ok(Taken::Asks) => match with_overlay(asking, candidate.patch(None), Overlay::check).await? {
            Ok(()) => **questions = candidate,
            Err(NotLaid::Refused(problem) | NotLaid::Failed(problem)) => questions.object(problem),
        },
        Ok(Taken::Write) => {
            let patch = candidate.patch(Some(asking.gateway.context.clock.now_rfc3339()));
            match with_overlay(asking, patch, Overlay::write).await? {
                Ok(()) => session.state = State::Ended(Ending::Done),
                Err(NotLaid::Refused(problem)) => questions.object(problem),
                Err(NotLaid::Failed(error)) => session.state = State::Ended(Ending::Failed(error)),
            }
        }
    }
    Ok(())
}

async fn with_overlay<T: Send + 'static>(
    asking: &Asking,
    patch: Value,
    work: impl FnOnce(&Overlay) -> Result<T, NotLaid> + Send + 'static,
) -> Result<Result<T, NotLaid>, ErrorShape> {
    let asking = asking.clone();
    on_disk(move || Ok(Overlay::new(&asking, patch).and_then(|overlay| work(&overlay)))).await
}

/// What the file says now. A file that cannot be used cannot be set up by questions.
async fn present(asking: &Asking) -> Result<Present, ErrorShape> {
    let default_workspace = asking.gateway.context.state_dir.join("workspace").display().to_string();
    let read = |overlay: &Overlay| overlay.check().map(|()| Present::of(overlay.present(), default_workspace));
    let present = with_overlay(asking, serde_json::json!({}), read).await?;
    present.map_err(|reason| ErrorShape::new(Code::Unavailable, reason.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_an_idle_wizard_was_told_is_dropped() {
        let questions = Questions::new(Present::default(), &WizardStartRequest::default()).unwrap();
        let latest = Arc::new(Mutex::new(Some(Session::new(questions, Instant::now()))));
        let begun = Instant::now();
        forget_in_time(Arc::clone(&latest)).await;
        assert!(latest.lock().await.is_none());
        assert!(begun.elapsed() >= session::IDLE_MAX, "but not before its time");
    }
}
