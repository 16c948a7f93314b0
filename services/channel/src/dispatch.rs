//! From the inbox to an agent, and from its answer to the outbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::tasks::Tasks;

use crate::access::{self, Verdict};
use crate::adapter::Adapter;
use crate::agent::{Agent, Reply};
use crate::error::Error;
use crate::message::{Address, ChatKind, Incoming, Part};
use crate::network::Network;
use crate::pairing;
use crate::profile::{Profile, ReplyTo};
use crate::store::inbox::{Ended, Open};
use crate::store::outbox::Posting;
use crate::store::pairing::{Asked, Stranger};
use crate::store::{AccountKey, Store};
use crate::text;

/// Messages that are read from the inbox at once.
const BATCH: u32 = 64;

/// Messages of one chat that may wait for an agent; the rest stays in the inbox.
const CHAT_QUEUE: usize = 32;

/// How often an answer that is being written is announced.
const TYPING_INTERVAL: Duration = Duration::from_secs(5);

/// Messages of a group that are kept to be told with the next one that is for the agent …
const OVERHEARD_MAX: usize = 50;

/// … in so many groups.
const GROUPS_MAX: usize = 1_000;

/// What the messages of one account pass on their way.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    pub(crate) key: AccountKey,
    pub(crate) network: Network,
    pub(crate) profile: Arc<Profile>,
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) store: Store,
    pub(crate) agent: Agent,
    pub(crate) clock: Clock,
    pub(crate) zone: TimeZone,
    /// Told when the inbox has something new.
    pub(crate) arrived: Arc<Notify>,
    /// Tells that the outbox has something new.
    pub(crate) posted: Arc<Notify>,
    pub(crate) overheard: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Dispatch {
    /// Hands messages over until `stop`. Those of one chat are handed over in their order; their answers may overtake each other, because a
    /// later message can steer or stop what an earlier one began.
    pub(crate) async fn run(&self, tasks: &Tasks, stop: &CancellationToken) -> Result<(), Error> {
        let mut chats: HashMap<String, mpsc::Sender<Open>> = HashMap::new();
        let mut after = 0;
        loop {
            let open = self.store.open_messages(&self.key, after, BATCH).await?;
            if open.is_empty() {
                chats.retain(|_, queue| queue.capacity() < CHAT_QUEUE);
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.arrived.notified() => {}
                }
                continue;
            }
            for message in open {
                after = message.seq;
                let queue = chats.entry(message.chat.clone()).or_insert_with(|| self.start_chat(tasks, stop));
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    sent = queue.send(message) => if sent.is_err() { return Ok(()) },
                }
            }
        }
    }

    fn start_chat(&self, tasks: &Tasks, stop: &CancellationToken) -> mpsc::Sender<Open> {
        let (sender, mut receiver) = mpsc::channel::<Open>(CHAT_QUEUE);
        let (this, tasks_of_chat, stop) = (self.clone(), tasks.clone(), stop.clone());
        tasks.spawn("chat", async move {
            while let Some(open) = receiver.recv().await {
                let worked = tokio::select! {
                    () = stop.cancelled() => return,
                    worked = this.handle(&open, &tasks_of_chat) => worked,
                };
                if let Err(error) = worked {
                    // It stays in the inbox for the next start.
                    warn!(event = %open.event, error = &error as &dyn std::error::Error, "message could not be dealt with");
                    if matches!(error, Error::Replaced) {
                        tasks_of_chat.shutdown().cancel();
                    }
                }
            }
        });
        sender
    }

    async fn handle(&self, open: &Open, tasks: &Tasks) -> Result<(), Error> {
        let Ok(incoming) = serde_json::from_str::<Incoming>(&open.message) else {
            return self.end(open, "failed", Some("the message cannot be read".to_owned()), Vec::new()).await;
        };
        let paired = incoming.chat == ChatKind::Direct && self.store.is_allowed(&self.key, &incoming.sender).await?;
        match access::judge(&self.profile, &incoming, paired) {
            Verdict::Ignore(reason) => {
                debug!(channel = %self.key.channel, account = %self.key.account, reason, "message is ignored");
                self.end(open, "ignored", Some(reason.to_owned()), Vec::new()).await
            }
            Verdict::Overhear => {
                self.overhear(&incoming);
                self.end(open, "ignored", None, Vec::new()).await
            }
            Verdict::OfferPairing => {
                let code = pairing::code();
                let who = Stranger { sender: incoming.sender.clone(), name: incoming.sender_name.clone(), code: code.clone() };
                let asked = self.store.ask(&self.key, who, self.clock.now_ms()).await?;
                let words = (asked == Asked::New).then(|| pairing::offer(self.network, &incoming.sender, &code));
                let postings = words.map(|words| self.postings(&format!("pair:{}", open.event), &incoming, &[words])).unwrap_or_default();
                self.end(open, "refused", None, postings).await
            }
            Verdict::Admit { authorized } => self.admit(open, incoming, authorized, tasks).await,
        }
    }

    /// Hands a message over, and leaves its answer to a task of its own.
    async fn admit(&self, open: &Open, incoming: Incoming, authorized: bool, tasks: &Tasks) -> Result<(), Error> {
        let body = text::envelope::wrap(self.network.label(), &incoming, &self.zone);
        let context = (incoming.chat == ChatKind::Group).then(|| self.take_overheard(&incoming)).flatten();
        let owner = authorized && access::owns(&self.profile, &incoming);
        let words = crate::agent::Words { body, context, authorized, owner };
        let reply = self.agent.submit(&self.key, &incoming, words, open.received_at_ms).await;
        let (this, open, stop) = (self.clone(), open.clone(), tasks.shutdown().clone());
        tasks.spawn("answer", async move {
            this.adapter.mark_read(&incoming).await;
            let answered = tokio::select! {
                () = stop.cancelled() => return,
                answered = this.answer(&open, &incoming, reply) => answered,
            };
            if let Err(error) = answered {
                warn!(event = %open.event, error = &error as &dyn std::error::Error, "answer could not be kept");
            }
        });
        Ok(())
    }

    async fn answer(&self, open: &Open, incoming: &Incoming, reply: crate::agent::Pending) -> Result<(), Error> {
        let address = incoming.address();
        let typing = async {
            loop {
                self.adapter.typing(&address).await;
                tokio::time::sleep(TYPING_INTERVAL).await;
            }
        };
        let reply = tokio::select! {
            reply = reply.wait() => reply,
            () = typing => return Ok(()),
        };
        match reply {
            Reply::Answer(texts) => {
                let postings = self.postings(&open.event, incoming, &texts);
                self.end(open, "answered", None, postings).await
            }
            Reply::Failed(error) => {
                let words = format!("⚠️ {error}");
                let postings = self.postings(&open.event, incoming, &[words]);
                self.end(open, "failed", Some(error), postings).await
            }
        }
    }

    async fn end(&self, open: &Open, state: &'static str, error: Option<String>, postings: Vec<Posting>) -> Result<(), Error> {
        let any = !postings.is_empty();
        self.store.answer(&self.key, Ended { seq: open.seq, state, at_ms: self.clock.now_ms(), error }, postings).await?;
        if any {
            self.posted.notify_one();
        }
        Ok(())
    }

    /// Returns the messages that an answer becomes. Each is named by what it answers and its number, so that it is sent once.
    fn postings(&self, name: &str, incoming: &Incoming, texts: &[String]) -> Vec<Posting> {
        let mode = self.profile.reply_to_mode.unwrap_or(if self.network == Network::Telegram { ReplyTo::First } else { ReplyTo::Off });
        let quote = |number: usize| match mode {
            ReplyTo::All => incoming.message_id.clone(),
            ReplyTo::First if number == 0 && incoming.chat == ChatKind::Group => incoming.message_id.clone(),
            ReplyTo::First | ReplyTo::Off => None,
        };
        let texts = texts.iter().map(String::as_str);
        parts(self.adapter.as_ref(), &self.profile, &incoming.address(), texts)
            .into_iter()
            .enumerate()
            .map(|(number, part)| posting(format!("{name}:{number}"), &Part { reply_to: quote(number), ..part }, self.clock.now_ms()))
            .collect()
    }

    fn overhear(&self, incoming: &Incoming) {
        let mut overheard = self.overheard.lock().unwrap_or_else(PoisonError::into_inner);
        if overheard.len() >= GROUPS_MAX && !overheard.contains_key(&incoming.order_key()) {
            overheard.clear();
        }
        let lines = overheard.entry(incoming.order_key()).or_default();
        if lines.len() >= OVERHEARD_MAX {
            lines.remove(0);
        }
        lines.push(text::envelope::wrap(self.network.label(), incoming, &self.zone));
    }

    fn take_overheard(&self, incoming: &Incoming) -> Option<String> {
        let lines = self.overheard.lock().unwrap_or_else(PoisonError::into_inner).remove(&incoming.order_key())?;
        Some(lines.join("\n"))
    }
}

/// Returns the messages that texts become on a network.
pub(crate) fn parts<'a>(adapter: &dyn Adapter, profile: &Profile, to: &Address, texts: impl Iterator<Item = &'a str>) -> Vec<Part> {
    texts
        .flat_map(|text| text::chunks::split(text::parse(text), profile.text_chars_max()))
        .map(|rich| Part::text(to.clone(), adapter.render(&rich), text::plain(&rich)))
        .collect()
}

/// Returns a message for the outbox.
pub(crate) fn posting(id: String, part: &Part, at_ms: i64) -> Posting {
    // A part is plain data: it has a JSON form.
    Posting { id, chat: part.to.order_key(), part: serde_json::to_string(part).unwrap_or_default(), at_ms }
}
