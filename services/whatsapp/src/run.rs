//! The run of an account: connections one after the other, and what comes in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;
use tracing::{Span, debug, info, warn};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_proto::adapter::v1::run_response::Kind as Said;
use verso_proto::adapter::v1::{Connected, Disconnected, Inbound, Progress, RunResponse};
use whatsapp_rust::anyhow::{Error, anyhow};
use whatsapp_rust::proto_helpers::MessageExt as _;
use whatsapp_rust::wacore::poll::{PollVoteCiphertext, compute_option_hash};
use whatsapp_rust::wacore::types::events::InboundMessage;
use whatsapp_rust::{Client, InboundDurabilityHook, async_trait};

use crate::account::{Me, me, unhidden};
use crate::folder::Folder;
use crate::ladder::{End, Ladder, Step};
use crate::reading::{self, Who};
use crate::session::{Session, Told};
use crate::settings::Settings;
use crate::store::{Kind, Store};
use crate::titles::Titles;
use crate::writing::{Author, Poll, message_name};

/// Messages that came while the account was away are answered when they are younger than that; older ones are only marked as read.
const OFFLINE_ANSWERED: Duration = Duration::from_mins(10);

/// Texts of our own that are recognised when they come back.
const ECHOES_MAX: usize = 100;

/// How long authors of messages and polls are remembered, in seconds.
const REMEMBERED_S: i64 = 30 * 24 * 60 * 60;

/// Characters of a message that are kept, to quote it by.
const QUOTED_CHARS_MAX: usize = 200;

type Saying = mpsc::Sender<Result<RunResponse, Status>>;

/// Messages that are not acknowledged yet, and the span of each.
pub(crate) type Waiting = Arc<Mutex<HashMap<String, (oneshot::Sender<()>, Span)>>>;

/// What comes in, on its way to the channel service.
pub(crate) struct Inlet {
    pub(crate) said: Saying,
    pub(crate) waiting: Waiting,
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) titles: Titles,
    pub(crate) clock: Clock,
    pub(crate) echoes: Mutex<VecDeque<String>>,
}

#[async_trait]
impl InboundDurabilityHook for Inlet {
    /// Returns once the channel service has kept the messages: only then does the network hear that they were taken.
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> Result<(), Error> {
        let mut keeping = Vec::new();
        for message in batch {
            keeping.extend(self.take(&client, message).await?);
        }
        for kept in keeping {
            kept.await.map_err(|_| anyhow!("the channel service is gone"))?;
        }
        Ok(())
    }
}

impl Inlet {
    /// Hands a message over. Returns what tells that it is kept, if anybody needs to know of it.
    pub(crate) async fn take(&self, client: &Arc<Client>, message: &InboundMessage) -> Result<Option<oneshot::Receiver<()>>, Error> {
        let me = me(client);
        if !reading::concerns(message, &me) {
            return Ok(None);
        }
        let age_ms = self.clock.now_ms() - message.info.timestamp.timestamp_millis();
        if message.info.is_offline && u128::try_from(age_ms).is_ok_and(|age_ms| age_ms > OFFLINE_ANSWERED.as_millis()) {
            self.mark_old(client, message, &me);
            return Ok(None);
        }
        let who = self.who(client, message, me).await;
        self.remember(message).await;
        let inbound = match self.chosen(client, message, &who).await {
            Some(chosen) => reading::vote(message, &who, &chosen),
            None => reading::read(message, &who),
        };
        match inbound.filter(|inbound| !self.is_echo(inbound, &who)) {
            Some(inbound) => self.hand_over(inbound).await.map(Some),
            None => Ok(None),
        }
    }

    async fn hand_over(&self, mut inbound: Inbound) -> Result<oneshot::Receiver<()>, Error> {
        let (kept, keeping) = oneshot::channel();
        let span = verso_adapter::received(crate::CHANNEL, &mut inbound);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(inbound.event.clone(), (kept, span));
        let said = self.said.send(Ok(RunResponse { kind: Some(Said::Inbound(inbound)) })).await;
        said.map_err(|_| anyhow!("the channel service does not listen"))?;
        Ok(keeping)
    }

    async fn who(&self, client: &Arc<Client>, message: &InboundMessage, me: Me) -> Who {
        let source = &message.info.source;
        let sender = if source.is_from_me { me.number.clone() } else { None };
        let sender = match sender {
            Some(me) => me,
            None => unhidden(client, &source.sender, source.sender_alt.as_ref()).await,
        };
        let chat = if source.is_group {
            source.chat.to_non_ad()
        } else if me.is(&source.chat) {
            me.number.clone().unwrap_or_else(|| source.chat.to_non_ad())
        } else {
            unhidden(client, &source.chat, source.sender_alt.as_ref()).await
        };
        let title = source.is_group.then(|| self.titles.of(client, &chat)).flatten();
        let self_chat = self.settings.self_chat(me.shown().as_deref());
        Who { me, sender, chat, title, self_chat }
    }

    /// Keeps who wrote a message: quoting it and marking it take that.
    async fn remember(&self, message: &InboundMessage) {
        let source = &message.info.source;
        let base = message.message.get_base_message();
        let text = base.text_content().or_else(|| base.get_caption()).unwrap_or_default().chars().take(QUOTED_CHARS_MAX).collect();
        let author = Author { id: source.sender.to_non_ad_string(), own: source.is_from_me, text };
        let now = self.clock.now_ms() / 1_000;
        let Ok(value) = serde_json::to_vec(&author) else { return };
        let mut names = vec![message_name(&source.chat, &message.info.id)];
        // It may be asked for by the number as well as by the hidden id.
        names.extend(source.sender_alt.as_ref().filter(|_| !source.is_group).map(|alt| message_name(alt, &message.info.id)));
        let kept = self.store.write(move |entries| names.iter().try_for_each(|name| entries.put(Kind::Author, name, &value, now))).await;
        if let Err(error) = kept {
            warn!(%error, "the author of a message is not remembered");
        }
    }

    /// Returns what was voted for, if the message is a vote in a poll of this account.
    async fn chosen(&self, client: &Arc<Client>, message: &InboundMessage, who: &Who) -> Option<Vec<String>> {
        let update = message.message.get_base_message().poll_update_message.as_option()?;
        let poll_id = update.poll_creation_message_key.as_option()?.id.clone()?;
        let poll: Poll = self.store.get_json(Kind::Poll, poll_id.as_str()).await.ok()??;
        let vote = update.vote.as_option()?;
        let sealed = PollVoteCiphertext { enc_payload: vote.enc_payload.as_deref()?, enc_iv: vote.enc_iv.as_deref()? };
        let secret = hex::decode(&poll.secret).ok()?;
        let creator = who.me.number.clone()?;
        let hashes = client.polls().decrypt_vote(sealed, &secret, &poll_id, &creator, &message.info.source.sender).await;
        let hashes = hashes.inspect_err(|error| debug!(%error, "a vote cannot be read")).ok()?;
        let named = |option: &&String| hashes.iter().any(|hash| hash.as_slice() == compute_option_hash(option));
        Some(poll.options.iter().filter(named).cloned().collect())
    }

    /// Whether a message to oneself is one of ours that comes back.
    fn is_echo(&self, inbound: &Inbound, who: &Who) -> bool {
        who.self_chat && self.echoes.lock().unwrap_or_else(PoisonError::into_inner).contains(&inbound.text)
    }

    /// Remembers a text that is sent.
    pub(crate) fn sends(&self, text: &str) {
        let mut echoes = self.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        if echoes.len() >= ECHOES_MAX {
            echoes.pop_front();
        }
        echoes.push_back(text.to_owned());
    }

    /// Marks a message as read that is too old to be answered.
    fn mark_old(&self, client: &Arc<Client>, message: &InboundMessage, me: &Me) {
        if !self.settings.shows_reading(me.shown().as_deref()) {
            return;
        }
        let (client, info) = (Arc::clone(client), Arc::clone(&message.info));
        self.titles.tasks().spawn("old", async move {
            let sender = info.source.is_group.then_some(&info.source.sender);
            if let Err(error) = client.mark_as_read(&info.source.chat, sender, &[&info.id]).await {
                debug!(%error, "an old message is not marked as read");
            }
        });
    }
}

/// One run.
pub(crate) struct Run {
    pub(crate) session: Arc<Session>,
    pub(crate) told: mpsc::Receiver<Told>,
    pub(crate) inlet: Arc<Inlet>,
    pub(crate) folder: Folder,
    pub(crate) interval: Duration,
    pub(crate) stop: CancellationToken,
}

impl Run {
    /// Runs until `stop`, until nobody listens, or until something is wrong that a new start may mend.
    pub(crate) async fn go(mut self) {
        let now = self.inlet.clock.now_ms() / 1_000;
        for kind in [Kind::Author, Kind::Poll] {
            if let Err(error) = self.inlet.store.delete_before(kind, now - REMEMBERED_S).await {
                warn!(%error, "old entries are not forgotten");
            }
        }
        let said = self.inlet.said.clone();
        let stop = self.stop.clone();
        let ended = tokio::select! {
            ended = self.connections() => Some(ended),
            () = stop.cancelled() => None,
            () = said.closed() => None,
        };
        self.session.close().await;
        if let Some(status) = ended {
            drop(said.send(Err(status)).await);
        }
    }

    async fn connections(&mut self) -> Status {
        let mut ladder = Ladder::new(self.inlet.settings.reconnect(), self.inlet.settings.held());
        loop {
            let begun = Instant::now();
            let session = Arc::clone(&self.session);
            let end = {
                let mut connection = std::pin::pin!(session.connect());
                loop {
                    tokio::select! {
                        end = &mut connection => break end,
                        () = self.follow() => {}
                    }
                }
            };
            let step = ladder.next(&end, begun.elapsed(), rand::random());
            info!(status = end.status(), reason = end.reason(), ?step, "the connection to WhatsApp is over");
            match step {
                Step::Stop => return self.unlinked(&end).await,
                Step::GiveUp => return Status::unavailable(format!("WhatsApp is not reached again and again: {}", end.reason())),
                Step::Again(pause) => self.wait(&end, pause).await,
            }
        }
    }

    /// Hears one thing, or notices that time has passed.
    async fn follow(&mut self) {
        let told = tokio::select! {
            Some(told) = self.told.recv() => told,
            () = tokio::time::sleep(self.interval) => return self.progress().await,
        };
        match told {
            Told::Connected => {
                let me = me(&self.session.client);
                let device = self.session.client.persistence_manager().get_device_snapshot();
                if let Err(error) = self.folder.mark(&device) {
                    warn!(%error, "it cannot be noted that the device is linked");
                }
                if let Err(error) = self.session.client.presence().set_available().await {
                    debug!(%error, "nobody is shown that the account is there");
                }
                let name = Some(self.session.client.push_name()).filter(|name| !name.is_empty());
                let self_id = me.shown().unwrap_or_default();
                self.say(Said::Connected(Connected { name: name.unwrap_or_else(|| self_id.clone()), self_id })).await;
            }
            Told::Message(message) => {
                // The network has it acknowledged already, so nobody waits for it to be kept.
                if let Err(error) = self.inlet.take(&self.session.client, &message).await {
                    warn!(%error, "a message is lost");
                }
            }
            // A device that is linked is not linked anew here.
            Told::Qr { .. } | Told::PairCode { .. } | Told::Paired | Told::NotPaired(_) => {}
        }
    }

    /// Tells that the network was heard, if it was.
    async fn progress(&mut self) {
        let since_ms = self.inlet.clock.now_ms() - self.session.line.heard_at_ms();
        if self.session.client.is_logged_in() && u128::try_from(since_ms).is_ok_and(|since_ms| since_ms <= self.interval.as_millis() * 3) {
            self.say(Said::Progress(Progress { position: None })).await;
        }
    }

    /// Waits for the next attempt, and says so again and again.
    async fn wait(&self, end: &End, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            let lost = Disconnected { reason: end.reason(), logged_out: false, status: end.status() };
            self.say(Said::Disconnected(lost)).await;
            tokio::time::sleep_until(until.min(Instant::now() + self.interval)).await;
        }
    }

    /// Tells that the device is not linked any more, and forgets keys that are of no use.
    async fn unlinked(&self, end: &End) -> Status {
        if matches!(end, End::Unlinked { removed: true, .. })
            && let Err(error) = self.folder.wipe()
        {
            warn!(%error, "the keys of a device that is not linked any more stay");
        }
        let reason = format!("{}; link it again, with `verso channels login`", end.reason());
        self.say(Said::Disconnected(Disconnected { reason: reason.clone(), logged_out: true, status: end.status() })).await;
        Status::failed_precondition(reason)
    }

    async fn say(&self, kind: Said) {
        // When nobody listens, the run ends by that.
        drop(self.inlet.said.send(Ok(RunResponse { kind: Some(kind) })).await);
    }
}
