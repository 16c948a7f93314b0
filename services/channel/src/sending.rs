//! Messages that somebody asks to be sent, rather than answers: through the outbox too, so that a repeat is harmless.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::dispatch;
use crate::error::Error;
use crate::message::Receipt;
use crate::store::Store;
use crate::store::outbox::Delivery;
use crate::target::Sender;

/// How long the sender waits for the network. What is not sent by then is sent later all the same.
const WAIT: Duration = Duration::from_secs(45);

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// A second message with the same is the same.
    pub(crate) idempotency_key: &'a str,
    pub(crate) to: &'a str,
    pub(crate) thread: Option<&'a str>,
    pub(crate) reply_to: Option<&'a str>,
    pub(crate) text: &'a str,
    pub(crate) silent: bool,
}

/// Sends a message and waits until its network has taken all of it. Returns what the network calls its last part.
pub(crate) async fn send(store: &Store, sender: &Sender<'_>, message: &Message<'_>, now_ms: i64) -> Result<Receipt, Error> {
    let channel = sender.unit.network.id();
    let refused = |reason: String| Error::NotRunning { channel, reason };
    let to = sender.adapter.address(message.to, message.thread);
    let to = to.ok_or_else(|| Error::NoTarget { label: sender.unit.network.label(), hint: "<an address of this network>" })?;
    let parts = dispatch::parts(sender.adapter.as_ref(), sender.profile, &to, std::iter::once(message.text));
    let mut ids = Vec::with_capacity(parts.len());
    for (number, mut part) in parts.into_iter().enumerate() {
        part.reply_to = message.reply_to.filter(|_| number == 0).map(str::to_owned);
        part.silent = message.silent;
        let id = format!("send:{}:{number}", message.idempotency_key);
        store.post(&sender.unit.key, dispatch::posting(id.clone(), &part, now_ms)).await?;
        ids.push(id);
    }
    sender.unit.posted.notify_one();
    let deadline = Instant::now() + WAIT;
    let mut last = None;
    for id in ids {
        let delivery = settled(store, sender, &id, deadline).await?;
        match delivery.state.as_str() {
            "sent" => last = delivery.receipt.as_deref().and_then(|receipt| serde_json::from_str(receipt).ok()),
            "waiting" | "claimed" => {
                return Err(refused(format!(
                    "the message waits to be sent: {}",
                    delivery.error.unwrap_or_else(|| "no answer yet".to_owned())
                )));
            }
            state => return Err(refused(format!("the message is {state}: {}", delivery.error.unwrap_or_default()))),
        }
    }
    last.ok_or_else(|| refused("there is nothing to send".to_owned()))
}

/// Waits until it is known what became of a message, or time is up.
async fn settled(store: &Store, sender: &Sender<'_>, id: &str, deadline: Instant) -> Result<Delivery, Error> {
    loop {
        // Asked for first: what is settled between the question and the wait is not missed.
        let settled = sender.unit.settled.notified();
        let delivery = store.delivery(&sender.unit.key, id).await?;
        let delivery = delivery.unwrap_or(Delivery { state: "expired".to_owned(), receipt: None, error: None });
        let over = !matches!(delivery.state.as_str(), "waiting" | "claimed");
        if over || timeout_at(deadline, settled).await.is_err() {
            return Ok(delivery);
        }
    }
}
