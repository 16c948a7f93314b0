//! Messages that somebody asks to be sent, rather than answers: through the outbox too, so that a repeat is harmless.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use verso_kit::metrics::REACHED;

use crate::adapter::Ability;
use crate::composing::{Composer, FETCH_BYTES_MAX, Luggage, Wrapping};
use crate::error::Error;
use crate::media::{self, Shelf};
use crate::message::{Enclosed, Part, Question, Receipt};
use crate::store::Store;
use crate::store::outbox::{Delivery, Posting};
use crate::target::Sender;

/// How long the sender waits for the network. What is not sent by then is sent later all the same.
const WAIT: Duration = Duration::from_secs(45);

/// Messages of one account that may wait to be sent.
const WAITING_MAX: i64 = 10_000;

/// Files of one message.
const FILES_MAX: usize = 10;

/// What is to be sent.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    /// A second message with the same is the same.
    pub(crate) idempotency_key: &'a str,
    pub(crate) to: &'a str,
    pub(crate) thread: Option<&'a str>,
    pub(crate) reply_to: Option<&'a str>,
    pub(crate) text: &'a str,
    /// The text is HTML as the network takes it, rather than Markdown.
    pub(crate) html: bool,
    pub(crate) silent: bool,
    /// Addresses of files.
    pub(crate) media: Vec<&'a str>,
    /// A file itself, in base64.
    pub(crate) buffer: Option<&'a str>,
    pub(crate) file_name: Option<&'a str>,
    pub(crate) mime_type: Option<&'a str>,
    pub(crate) wrapping: Wrapping,
    pub(crate) poll: Option<Question>,
}

/// Sends a message and waits until its network has taken all of it. Returns what the network calls its last part.
pub(crate) async fn send(store: &Store, shelf: &Shelf, sender: &Sender<'_>, message: &Message<'_>, now_ms: i64) -> Result<Receipt, Error> {
    let key = &sender.unit.key;
    let prefix = format!("send:{}:", message.idempotency_key);
    let mut ids = store.posted(key, &prefix).await?;
    if ids.is_empty() {
        if store.waiting_count(key).await? >= WAITING_MAX {
            REACHED.one_more(["outbox_waiting"]);
            return Err(refused(sender, format!("{WAITING_MAX} messages wait to be sent already; try again later")));
        }
        let postings: Vec<Posting> = parts(shelf, sender, message)
            .await?
            .iter()
            .enumerate()
            .map(|(number, part)| Posting::new(format!("{prefix}{number}"), part, now_ms))
            .collect();
        ids = postings.iter().map(|posting| posting.id.clone()).collect();
        // All of it or nothing: a repeat finds all of its parts.
        store.post_pieces(key, Vec::new(), postings).await?;
        sender.unit.posted.notify_one();
    }
    let deadline = Instant::now() + WAIT;
    let mut last = None;
    for id in ids {
        let delivery = settled(store, sender, &id, deadline).await?;
        match delivery.state.as_str() {
            "sent" => last = delivery.receipt.as_deref().and_then(|receipt| serde_json::from_str(receipt).ok()),
            "waiting" | "claimed" => {
                let reason = delivery.error.unwrap_or_else(|| "no answer yet".to_owned());
                return Err(refused(sender, format!("the message waits to be sent: {reason}")));
            }
            state => return Err(refused(sender, format!("the message is {state}: {}", delivery.error.unwrap_or_default()))),
        }
    }
    last.ok_or_else(|| refused(sender, "there is nothing to send".to_owned()))
}

fn refused(sender: &Sender<'_>, reason: String) -> Error {
    Error::NotRunning { channel: sender.unit.network.id(), reason }
}

async fn parts(shelf: &Shelf, sender: &Sender<'_>, message: &Message<'_>) -> Result<Vec<Part>, Error> {
    let to = sender.adapter.address(message.to, message.thread);
    let to = to.ok_or_else(|| Error::NoTarget { label: sender.unit.network.label(), hint: "<an address of this network>" })?;
    let composer = Composer { adapter: sender.adapter.as_ref(), profile: sender.profile, shelf };
    let files = files(&composer, sender, message).await?;
    let mut parts = match &message.poll {
        Some(poll) => vec![Part { poll: Some(poll.clone()), ..Part::text(to, String::new(), poll.asks.clone()) }],
        None if message.html && files.is_empty() => vec![Part::text(to, message.text.to_owned(), without_tags(message.text))],
        None => composer.parts(&to, message.text, files),
    };
    for (number, part) in parts.iter_mut().enumerate() {
        part.reply_to = message.reply_to.filter(|_| number == 0).map(str::to_owned);
        part.silent = message.silent;
    }
    Ok(parts)
}

async fn files(composer: &Composer<'_>, sender: &Sender<'_>, message: &Message<'_>) -> Result<Vec<Enclosed>, Error> {
    let count = message.media.len() + usize::from(message.buffer.is_some());
    if count == 0 {
        return Ok(Vec::new());
    }
    if !sender.adapter.abilities().contains(&Ability::Media) {
        return Err(Error::Media { reason: format!("{} takes no files", sender.unit.network.label()) });
    }
    if count > FILES_MAX {
        return Err(Error::Media { reason: format!("at most {FILES_MAX} files go with one message") });
    }
    let unusable = |error: media::Unusable| Error::Media { reason: error.to_string() };
    let mut luggage = Vec::with_capacity(count);
    if let Some(buffer) = message.buffer {
        let (bytes, declared) = media::decode(buffer, FETCH_BYTES_MAX).map_err(unusable)?;
        luggage.push(Luggage {
            bytes,
            mime_type: message.mime_type.map(str::to_owned).or(declared),
            file_name: message.file_name.map(str::to_owned),
        });
    }
    for address in &message.media {
        let mut fetched = composer.fetch(address).await.map_err(|reason| Error::Media { reason })?;
        fetched.file_name = message.file_name.map(str::to_owned).or(fetched.file_name);
        luggage.push(fetched);
    }
    let mut files = Vec::with_capacity(count);
    for (number, luggage) in luggage.into_iter().enumerate() {
        let key = &sender.unit.key;
        let about = format!("send:{}:{}:{}:{number}", key.channel, key.account, message.idempotency_key);
        files.push(composer.enclose(luggage, message.wrapping, &about).await.map_err(unusable)?);
    }
    Ok(files)
}

/// Returns what is left of HTML when its tags are gone, for a network that does not take it.
fn without_tags(html: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(html.len()), html);
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// Waits until it is known what became of a message, or time is up.
async fn settled(store: &Store, sender: &Sender<'_>, id: &str, deadline: Instant) -> Result<Delivery, Error> {
    loop {
        // Asked for first: what is settled between the question and the wait is not missed.
        let mut settled = std::pin::pin!(sender.unit.settled.notified());
        settled.as_mut().enable();
        let delivery = store.delivery(&sender.unit.key, id).await?;
        let delivery = delivery.unwrap_or(Delivery { state: "expired".to_owned(), receipt: None, error: None });
        let over = !matches!(delivery.state.as_str(), "waiting" | "claimed");
        if over || timeout_at(deadline, settled).await.is_err() {
            return Ok(delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_without_its_tags_is_what_people_read() {
        assert_eq!(without_tags("<b>a &lt; b</b> &amp; <a href=\"x\">c</a>"), "a < b & c");
        assert_eq!(without_tags("no tags <"), "no tags ");
    }
}
