//! Accounts in processes of their own: networks that another program speaks, and accounts that the configuration sets apart.

pub(crate) mod convert;
mod launch;
pub(crate) mod login;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};
use verso_adapter::{Client, Error, Process};
use verso_kit::CancellationToken;
use verso_proto::adapter::v1::run_response::Kind;
use verso_proto::adapter::v1::send_response::Outcome;
use verso_proto::adapter::v1::{Capabilities, EditRequest, MarkReadRequest, ReactRequest, RunRequest, TextFormat, TypingRequest};

use crate::adapter::{Ability, Adapter, Fault, Refusal, Room, Wellbeing};
use crate::link::Link;
use crate::media::{Shelf, Way};
use crate::mentions::Mentions;
use crate::message::{Address, Attached, Incoming, Part, Receipt};
use crate::text::{self, Rich};
pub(crate) use launch::Launch;
pub(crate) use settings::declare;

/// How often an adapter says that it is alive, at the least.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// An adapter that is to be killed for its silence may miss so many of these.
const PROGRESS_PER_SILENCE: u32 = 4;

/// How long the reason of an end may take to be known, after the connection broke.
const REASON_TIMEOUT: Duration = Duration::from_secs(2);

/// How long reading what an adapter may not be asked takes: nothing.
const CAPTION_UNITS_MAX: usize = 1_024;

/// An account whose network is spoken by another process.
#[derive(Debug)]
pub(crate) struct Remote {
    account: String,
    settings_json: String,
    client: Client,
    /// None when it was not started by us.
    process: Mutex<Option<Process>>,
    pid: Option<i32>,
    can: Capabilities,
    abilities: Vec<Ability>,
    /// How the network formats text and reads addresses, where this build knows it.
    local: Option<Arc<dyn Adapter>>,
    silence_max: Duration,
    shelf: Shelf,
    /// What counts as a mention besides the network's own way, where its adapter does not know that.
    mentions: Mentions,
}

impl Remote {
    async fn run(&self, link: &Link, stop: &CancellationToken) -> Result<(), Fault> {
        let mut process = self.process.lock().await;
        let interval = PROGRESS_INTERVAL.min(self.silence_max / PROGRESS_PER_SILENCE);
        let request = RunRequest {
            account_id: self.account.clone(),
            settings_json: self.settings_json.clone(),
            position: link.position().await?,
            progress_interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        };
        let following = async {
            let mut events = self.client.run(request).await?;
            while let Some(said) = events.next().await? {
                if let Some(kind) = said.kind {
                    self.take(link, kind).await?;
                }
            }
            Err(Ended::Fault(Fault::Network("the adapter ended the run".to_owned())))
        };
        let ended: Ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            exit = exited(process.as_mut()) => Ended::Fault(Fault::Network(format!("the adapter ended: {exit}"))),
            ended = following => match ended { Ok(()) => return Ok(()), Err(ended) => ended },
        };
        match ended {
            Ended::Fault(fault) => Err(fault),
            // The connection breaks a moment before the process is seen to have ended, and the latter says more.
            Ended::Call(error @ Error::Gone(_)) => {
                let exit = tokio::time::timeout(REASON_TIMEOUT, exited(process.as_mut())).await;
                Err(Fault::Network(exit.map_or_else(|_| error.to_string(), |exit| format!("the adapter ended: {exit}"))))
            }
            Ended::Call(error) => Err(fault(&error)),
        }
    }

    async fn take(&self, link: &Link, kind: Kind) -> Result<(), Ended> {
        let now_ms = link.clock.now_ms();
        match kind {
            Kind::Connected(connected) => {
                info!(channel = %link.key.channel, account = %self.account, name = connected.name, "the network has accepted the account");
                link.pulse.connected(now_ms);
            }
            Kind::Progress(progress) => {
                link.pulse.beat(now_ms);
                if progress.position.is_some() {
                    link.take(None, progress.position).await?;
                }
            }
            Kind::Inbound(inbound) => {
                let (event, position) = (inbound.event.clone(), inbound.position);
                // One that nobody could judge is not kept, but its network is told: it would come for ever.
                let incoming = convert::incoming(inbound)
                    .map(|incoming| Incoming { mentioned: incoming.mentioned || self.mentions.found_in(&incoming.text), ..incoming });
                if incoming.is_none() {
                    warn!(channel = %link.key.channel, account = %self.account, event, "a message without ids or a kind of chat is left out");
                }
                link.take(incoming.as_ref(), position).await?;
                self.client.acknowledge(&self.account, &event).await?;
            }
            Kind::Disconnected(lost) if lost.logged_out => return Err(Fault::Unlinked(lost.reason).into()),
            Kind::Disconnected(lost) => {
                // It is said again and again while it lasts: that is a sign of life of the adapter, and told once.
                if link.pulse.is_connected(link.pulse.connected_at_ms()) {
                    let reason = &lost.reason;
                    warn!(channel = %link.key.channel, account = %self.account, reason, status = lost.status, "the network is not reached");
                }
                link.pulse.beat(now_ms);
                link.pulse.lost(now_ms);
            }
        }
        Ok(())
    }

    async fn post(&self, id: &str, part: &Part) -> Result<Receipt, Refusal> {
        let media = match &part.media {
            Some(enclosed) => {
                let content = self.shelf.get(Way::Out, &enclosed.file).await;
                Some((enclosed, content.map_err(|unusable| Refusal::Never(unusable.to_string()))?))
            }
            None => None,
        };
        let answer = self.client.send(convert::send_request(&self.account, id, part, media)).await.map_err(|error| self.refusal(&error))?;
        match answer.outcome {
            Some(Outcome::Sent(receipt)) => {
                let options = part.poll.as_ref().map(|poll| poll.options.clone()).unwrap_or_default();
                Ok(Receipt { message_id: receipt.message_id, chat_id: receipt.chat_id, poll_id: receipt.poll_id, options })
            }
            Some(Outcome::Later(later)) => Err(Refusal::Later { reason: later.reason, after: later.after_ms.map(Duration::from_millis) }),
            Some(Outcome::Refused(reason)) => Err(Refusal::Never(reason)),
            Some(Outcome::Uncertain(reason)) => Err(Refusal::Unknown(reason)),
            None => Err(Refusal::Unknown("the adapter's answer says nothing".to_owned())),
        }
    }

    fn refusal(&self, error: &Error) -> Refusal {
        if !error.is_uncertain() {
            return Refusal::Never(error.to_string());
        }
        if self.can.idempotent_send {
            return Refusal::Later { reason: error.to_string(), after: None };
        }
        Refusal::Unknown(error.to_string())
    }

    async fn fetched(&self, media: &Attached, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
        let fetched = self.client.fetch(&self.account, &media.reference, bytes_max as u64).await;
        fetched.map_err(|error| match &error {
            Error::Gone(_) | Error::Timeout(_) => Refusal::Later { reason: error.to_string(), after: None },
            _ => Refusal::Never(error.to_string()),
        })
    }
}

/// Why a run is over.
enum Ended {
    Call(Error),
    Fault(Fault),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Waits until a process has ended; for ever when it is not ours.
async fn exited(process: Option<&mut Process>) -> verso_adapter::Exit {
    match process {
        Some(process) => process.exited().await,
        None => std::future::pending().await,
    }
}

/// Words an error with its causes.
fn fault(error: &Error) -> Fault {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    match error {
        Error::Gone(_) | Error::Timeout(_) | Error::Late(_) | Error::Ended(_) => Fault::Network(words),
        _ => Fault::Account(words),
    }
}

impl Adapter for Remote {
    fn abilities(&self) -> &[Ability] {
        &self.abilities
    }

    fn room(&self) -> Room {
        if let Some(local) = &self.local {
            return local.room();
        }
        let text = usize::try_from(self.can.text_chars_max).unwrap_or(usize::MAX);
        Room { text_units_max: if text == 0 { usize::MAX } else { text }, caption_units_max: text.clamp(1, CAPTION_UNITS_MAX) }
    }

    fn receive<'a>(&'a self, link: &'a Link, stop: &'a CancellationToken) -> BoxFuture<'a, Result<(), Fault>> {
        self.run(link, stop).boxed()
    }

    fn send<'a>(&'a self, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        async move { self.post(&uuid::Uuid::new_v4().to_string(), part).await }.boxed()
    }

    fn deliver<'a>(&'a self, id: &'a str, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.post(id, part).boxed()
    }

    fn repeats(&self) -> bool {
        self.can.idempotent_send
    }

    fn edit<'a>(&'a self, message_id: &'a str, part: &'a Part) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let request = EditRequest {
                account_id: self.account.clone(),
                to: Some(convert::destination(&part.to)),
                message_id: message_id.to_owned(),
                text: part.text.clone(),
                plain: part.plain.clone(),
            };
            self.client.edit(request).await.map_err(|error| self.refusal(&error))
        }
        .boxed()
    }

    fn react<'a>(&'a self, to: &'a Address, message_id: &'a str, emoji: Option<&'a str>) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let request = ReactRequest {
                account_id: self.account.clone(),
                to: Some(convert::destination(to)),
                message_id: message_id.to_owned(),
                emoji: emoji.unwrap_or_default().to_owned(),
            };
            self.client.react(request).await.map_err(|error| self.refusal(&error))
        }
        .boxed()
    }

    fn fetch<'a>(&'a self, media: &'a Attached, bytes_max: usize) -> BoxFuture<'a, Result<Vec<u8>, Refusal>> {
        self.fetched(media, bytes_max).boxed()
    }

    fn typing<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, ()> {
        async move {
            if self.can.typing {
                let request = TypingRequest { account_id: self.account.clone(), to: Some(convert::destination(to)) };
                // Nobody misses a sign of typing.
                drop(self.client.typing(request).await);
            }
        }
        .boxed()
    }

    fn mark_read<'a>(&'a self, message: &'a Incoming) -> BoxFuture<'a, ()> {
        async move {
            let Some(message_id) = message.message_id.clone().filter(|_| self.can.read_receipts) else { return };
            let request = MarkReadRequest {
                account_id: self.account.clone(),
                to: Some(convert::destination(&message.address())),
                message_id,
                sender: message.sender.clone(),
            };
            if let Err(error) = self.client.mark_read(request).await {
                debug!(account = %self.account, %error, "nobody is shown that a message was read");
            }
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<Wellbeing, Fault>> {
        async move { self.client.probe(&self.account).await.map(convert::wellbeing).map_err(|error| fault(&error)) }.boxed()
    }

    fn render(&self, rich: &Rich) -> String {
        match (&self.local, self.can.text_format()) {
            (Some(local), _) => local.render(rich),
            (None, TextFormat::Html) => text::telegram_html(rich),
            (None, TextFormat::Markdown) => text::markdown(rich),
            (None, TextFormat::Whatsapp) => text::whatsapp(rich),
            (None, TextFormat::Plain | TextFormat::Unspecified) => text::plain(rich),
        }
    }

    fn silence_max(&self) -> Duration {
        self.silence_max
    }

    fn process(&self) -> Option<i32> {
        self.pid
    }

    fn address(&self, target: &str, thread: Option<&str>) -> Option<Address> {
        if let Some(local) = &self.local {
            return local.address(target, thread);
        }
        let peer = target.trim();
        (!peer.is_empty()).then(|| Address { peer: peer.to_owned(), thread: thread.map(str::to_owned) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Some(mut process) = self.process.lock().await.take() {
                process.stop().await;
            }
        }
        .boxed()
    }
}
