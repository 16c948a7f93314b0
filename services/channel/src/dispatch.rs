//! From the inbox to an agent: policy, what belongs together, the order of each chat.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use tokio::sync::{Notify, mpsc};
use tracing::{Instrument as _, debug, debug_span, warn};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::tasks::Tasks;
use verso_kit::trace::{self, TraceContext};

use crate::access::{self, Verdict};
use crate::adapter::Adapter;
use crate::agent::{Agent, Calling, Growth, Said, Words};
use crate::error::Error;
use crate::gather::Batch;
use crate::history::History;
use crate::media::Shelf;
use crate::mentions::Mentions;
use crate::message::{ChatKind, EventKind, Incoming};
use crate::metrics;
use crate::pairing;
use crate::profile::{Profile, ReactionsHeard};
use crate::store::inbox::{Ended, Open};
use crate::store::outbox::Posting;
use crate::store::pairing::{Asked, Stranger};
use crate::store::{AccountKey, Store};
use crate::text;

/// Messages that are read from the inbox at once.
const BATCH: u32 = 64;

/// Messages of one chat that may wait for an agent; the rest stays in the inbox.
const CHAT_QUEUE: usize = 32;

/// What the messages of one account pass on their way.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    pub(crate) key: AccountKey,
    /// What people call the network.
    pub(crate) label: String,
    pub(crate) profile: Arc<Profile>,
    /// What calls an agent that has no patterns of its own.
    pub(crate) usual_mentions: Mentions,
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) store: Store,
    pub(crate) shelf: Shelf,
    pub(crate) agent: Agent,
    pub(crate) clock: Clock,
    pub(crate) zone: TimeZone,
    /// Told when the inbox has something new.
    pub(crate) arrived: Arc<Notify>,
    /// Tells that the outbox has something new.
    pub(crate) posted: Arc<Notify>,
    pub(crate) history: Arc<Mutex<History>>,
}

/// A chat that messages wait for.
struct Chat {
    queue: mpsc::Sender<Open>,
    /// Messages that were put into the queue and are not handed over yet.
    waiting: Arc<AtomicUsize>,
}

impl Dispatch {
    /// Hands messages over until `stop`. Those of one chat are handed over in their order; their answers may overtake each other, because a
    /// later message can steer or stop what an earlier one began.
    pub(crate) async fn run(&self, tasks: &Tasks, stop: &CancellationToken) -> Result<(), Error> {
        let mut chats: HashMap<String, Chat> = HashMap::new();
        let mut after = 0;
        loop {
            let open = self.store.open_messages(&self.key, after, BATCH).await?;
            if open.is_empty() {
                chats.retain(|_, chat| chat.waiting.load(Ordering::Relaxed) > 0);
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.arrived.notified() => {}
                }
                continue;
            }
            for message in open {
                after = message.seq;
                let chat = chats.entry(message.chat.clone()).or_insert_with(|| self.start_chat(tasks, stop));
                chat.waiting.fetch_add(1, Ordering::Relaxed);
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    // A chat's task ends only with the account.
                    sent = chat.queue.send(message) => if sent.is_err() { return Ok(()) },
                }
            }
        }
    }

    fn start_chat(&self, tasks: &Tasks, stop: &CancellationToken) -> Chat {
        let (sender, mut queue) = mpsc::channel(CHAT_QUEUE);
        let (this, stop, tasks_of_chat, waiting) = (self.clone(), stop.clone(), tasks.clone(), Arc::new(AtomicUsize::new(0)));
        let left = Arc::clone(&waiting);
        tasks.spawn("chat", async move {
            let mut batch = None;
            while let Some(handled) = stop.run_until_cancelled(this.step(&mut queue, &mut batch, &left, &tasks_of_chat)).await {
                match handled {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        warn!(account = %this.key.account, error = &error as &dyn std::error::Error, "message could not be dealt with");
                        if matches!(error, Error::Replaced) {
                            tasks_of_chat.shutdown().cancel();
                        }
                    }
                }
            }
        });
        Chat { queue: sender, waiting }
    }

    /// Deals with what comes next in a chat: a message, or that none has come for long enough. Returns false when nothing comes any more.
    async fn step(
        &self,
        queue: &mut mpsc::Receiver<Open>,
        batch: &mut Option<Batch>,
        left: &AtomicUsize,
        tasks: &Tasks,
    ) -> Result<bool, Error> {
        let debounce = self.profile.manners.debounce();
        let next = match batch.as_ref().map(|batch| batch.wait(debounce)) {
            None => match queue.recv().await {
                None => return Ok(false),
                next => next,
            },
            Some(None) => None,
            Some(Some(wait)) => tokio::time::timeout(wait, queue.recv()).await.ok().flatten(),
        };
        let Some(open) = next else {
            return self.hand_over(batch.take(), left, tasks).await.map(|()| true);
        };
        let admitted = self.admit(&open, tasks).await;
        if !matches!(admitted, Ok(Some(_))) {
            left.fetch_sub(1, Ordering::Relaxed);
        }
        let Some((incoming, authorized)) = admitted? else { return Ok(true) };
        let rest = match batch {
            None => Some(Box::new((open, incoming, authorized))),
            Some(batch) => batch.join(open, incoming, authorized).err(),
        };
        if let Some(rest) = rest {
            let (open, incoming, authorized) = *rest;
            let before = batch.replace(Batch::new(open, incoming, authorized, debounce));
            self.hand_over(before, left, tasks).await?;
        }
        Ok(true)
    }

    async fn hand_over(&self, batch: Option<Batch>, left: &AtomicUsize, tasks: &Tasks) -> Result<(), Error> {
        let Some(batch) = batch else { return Ok(()) };
        let count = batch.opens.len();
        let submitted = Box::pin(self.submit(batch, tasks)).await;
        left.fetch_sub(count, Ordering::Relaxed);
        submitted
    }

    /// Applies the policy. Returns the message if an agent is to answer it.
    async fn admit(&self, open: &Open, tasks: &Tasks) -> Result<Option<(Incoming, bool)>, Error> {
        let Ok(mut incoming) = serde_json::from_str::<Incoming>(&open.message) else {
            self.end(&[open.seq], "failed", Some("the message cannot be read".to_owned()), Vec::new()).await?;
            return Ok(None);
        };
        let paired = incoming.chat == ChatKind::Direct && self.store.is_allowed(&self.key, &incoming.sender).await?;
        match self.judge(&mut incoming, paired).await {
            Verdict::Ignore(reason) => {
                debug!(channel = %self.key.channel, account = %self.key.account, reason, "message is ignored");
                self.end(&[open.seq], "ignored", Some(reason.to_owned()), Vec::new()).await?;
            }
            Verdict::Overhear => {
                let line = text::envelope::wrap(&self.label, &incoming, &self.zone);
                self.history().hear(&incoming.order_key(), &line, self.profile.history_limit());
                self.end(&[open.seq], "ignored", None, Vec::new()).await?;
            }
            Verdict::OfferPairing => self.offer_pairing(open, &incoming).await?,
            Verdict::Admit { authorized } if incoming.kind.is_note() => self.note(open, incoming, authorized, tasks).await?,
            Verdict::Admit { authorized } => return Ok(Some((incoming, authorized))),
        }
        Ok(None)
    }

    /// Decides about a message, and notes whether it calls the agent that it is for.
    async fn judge(&self, incoming: &mut Incoming, paired: bool) -> Verdict {
        let verdict = access::judge(&self.profile, incoming, paired);
        let calling =
            if access::hangs_on_mention(incoming, verdict) { self.agent.calling(&self.key, incoming).await } else { Calling::default() };
        incoming.mentioned = incoming.mentioned
            || match &calling.patterns {
                Some(own) => Mentions::new(own.iter()).found_in(&incoming.text),
                None => self.usual_mentions.found_in(&incoming.text),
            };
        access::judge_with(&self.profile, incoming, paired, calling.must_mention)
    }

    async fn offer_pairing(&self, open: &Open, incoming: &Incoming) -> Result<(), Error> {
        let code = pairing::code();
        let who = Stranger { sender: incoming.sender.clone(), name: incoming.sender_name.clone(), code: code.clone() };
        let asked = self.store.ask(&self.key, who, self.clock.now_ms()).await?;
        let words = (asked == Asked::New).then(|| pairing::offer(&self.label, &self.key.channel, &incoming.sender, &code));
        let postings = words.map(|words| self.say(&format!("pair:{}", open.event), incoming, &words)).unwrap_or_default();
        self.end(&[open.seq], "refused", None, postings).await
    }

    /// Tells the conversation what has happened, with its next message.
    async fn note(&self, open: &Open, incoming: Incoming, authorized: bool, tasks: &Tasks) -> Result<(), Error> {
        let heard = match (incoming.kind, self.profile.reaction_notifications) {
            (EventKind::Reaction, ReactionsHeard::Off) => false,
            (EventKind::Reaction, ReactionsHeard::Own) => {
                let message = incoming.message_id.as_deref().unwrap_or_default();
                self.store.has_sent(&self.key, &incoming.peer, message).await?
            }
            _ => true,
        };
        if !heard {
            return self.end(&[open.seq], "ignored", Some("nobody asked to hear of it".to_owned()), Vec::new()).await;
        }
        let body = text::envelope::wrap(&self.label, &incoming, &self.zone);
        let owner = authorized && access::owns(&self.profile, &incoming);
        let words = Words { body, context: None, authorized, owner, attachments: Vec::new(), growth: Growth::default() };
        let (this, open, stop) = (self.clone(), open.clone(), tasks.shutdown().clone());
        let mut pending = self.agent.submit(&self.key, &incoming, words, open.received_at_ms).await;
        tasks.spawn("note", async move {
            let Some(said) = stop.run_until_cancelled(pending.next()).await else { return };
            let (state, error) = match said {
                Said::Failed(error) => ("failed", Some(error)),
                _ => ("answered", None),
            };
            if let Err(error) = this.end(&[open.seq], state, error, Vec::new()).await {
                warn!(event = %open.event, error = &error as &dyn std::error::Error, "a note could not be ended");
            }
        });
        Ok(())
    }

    /// Hands a message over, and leaves its answer to a task of its own.
    async fn submit(&self, batch: Batch, tasks: &Tasks) -> Result<(), Error> {
        if batch.opens.len() > 1 && batch.first().lead.is_none() {
            self.store.lead(batch.seqs(), batch.name()).await?;
        }
        self.acknowledge(&batch.incoming, tasks);
        let Batch { incoming, .. } = &batch;
        let luggage = self.fetch(incoming, batch.name()).await;
        let mut told = incoming.clone();
        told.text.push_str(&luggage.words);
        let hint = incoming.message_id.as_ref().map(|id| format!("\n[message_id: {id}]")).unwrap_or_default();
        let body = text::envelope::wrap(&self.label, &told, &self.zone) + &hint;
        let context = (incoming.chat == ChatKind::Group).then(|| self.history().take(&incoming.order_key())).flatten();
        let growth = self.growth();
        let owner = batch.authorized && access::owns(&self.profile, incoming);
        let words = Words { body, context, authorized: batch.authorized, owner, attachments: luggage.attachments, growth };
        let span = debug_span!(
            "openclaw.message.processed",
            otel.kind = "consumer",
            messaging.system = self.key.channel.as_str(),
            messaging.operation.name = "process",
            messaging.operation.r#type = "process",
            messaging.batch.message_count = batch.opens.len(),
            openclaw.channel = self.key.channel.as_str()
        );
        let received = incoming.traceparent.as_deref().and_then(TraceContext::parse);
        let trace = received.unwrap_or_else(TraceContext::generate).enter(&span);
        for other in batch.traceparents.iter().filter_map(|text| TraceContext::parse(text)) {
            other.link(&span);
        }
        metrics::dispatched(&self.key.channel);
        let submitting = self.agent.submit(&self.key, incoming, words, batch.received_at_ms());
        let pending = trace::scope(trace, submitting).instrument(span.clone()).await;
        let (this, stop) = (self.clone(), tasks.shutdown().clone());
        let answering = async move {
            this.adapter.mark_read(&batch.incoming).await;
            let answered = tokio::select! {
                () = stop.cancelled() => return,
                answered = this.answer(&batch, pending) => answered,
            };
            if let Err(error) = answered {
                warn!(event = %batch.name(), error = &error as &dyn std::error::Error, "answer could not be kept");
            }
        };
        tasks.spawn("answer", trace::scope(trace, answering).instrument(span));
        Ok(())
    }

    /// Ends messages and puts their answer into the outbox.
    pub(crate) async fn end(&self, seqs: &[i64], state: &'static str, error: Option<String>, postings: Vec<Posting>) -> Result<(), Error> {
        let any = !postings.is_empty();
        metrics::completed(&self.key.channel, state, seqs.len());
        let ended = Ended { seqs: seqs.to_vec(), state, at_ms: self.clock.now_ms(), error };
        self.store.answer(&self.key, ended, postings).await?;
        if any {
            self.posted.notify_one();
        }
        Ok(())
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
