//! From the contract's messages to the network's, and what became of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;
use verso_proto::adapter::v1::send_response::Outcome;
use verso_proto::adapter::v1::{Later, MediaData, Question, Receipt, SendRequest};
use whatsapp_rust::client::ClientError;
use whatsapp_rust::proto_helpers::MessageBuilderExt as _;
use whatsapp_rust::waproto::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{Jid, PollError, SendError, SendOptions, UploadOptions};

use crate::account::read;
use crate::files;
use crate::session::{Confirmation, Session};
use crate::store::{Kind, Store, name};

/// How long a message waits that finds no connection.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The fewest and the most answers of a poll.
const OPTIONS: std::ops::RangeInclusive<usize> = 2..=12;

/// Who wrote a message, and how it begins: what quoting and marking it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Author {
    /// His id, as the network wrote it.
    pub(crate) id: String,
    pub(crate) own: bool,
    pub(crate) text: String,
}

/// A poll of this account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Poll {
    pub(crate) secret: String,
    pub(crate) options: Vec<String>,
}

/// Returns what names a message in the database.
pub(crate) fn message_name(chat: &Jid, message_id: &str) -> Vec<u8> {
    name(&[&chat.to_non_ad_string(), message_id])
}

/// Sends messages over one connection.
pub(crate) struct Writer<'a> {
    pub(crate) session: &'a Session,
    pub(crate) store: &'a Store,
}

impl Writer<'_> {
    /// Sends a message, and says what became of it.
    pub(crate) async fn send(&self, mut request: SendRequest) -> Outcome {
        let Some(to) = request.to.as_ref().and_then(|to| read(&to.peer)) else {
            return Outcome::Refused("that is neither a telephone number nor a group of WhatsApp".to_owned());
        };
        if !self.session.client.is_logged_in() {
            return later("WhatsApp is not connected");
        }
        if let Some(poll) = request.poll.take() {
            return self.ask(&to, &poll).await;
        }
        let message = match request.media.pop() {
            Some(file) => self.enclose(&to, &request, file).await,
            None => self.text(&to, &request).await,
        };
        let options = SendOptions::default();
        match self.session.client.send_message_with_options(&to, message, options).await {
            Ok(result) => self.settled(&to, result.message_id, None).await,
            Err(error) => of_error(&error),
        }
    }

    /// Marks a message, or takes the mark back.
    pub(crate) async fn react(&self, to: &Jid, message_id: &str, emoji: &str) -> Result<(), SendError> {
        let author = self.author(to, message_id).await;
        let participant = author.as_ref().filter(|author| !author.own && is_group(to)).map(|author| author.id.clone());
        if is_group(to) && author.is_none() {
            return Err(SendError::InvalidRequest("the message is not known here, so nobody can say whose it is".to_owned()));
        }
        let key = wa::MessageKey {
            remote_jid: Some(to.to_non_ad_string()),
            from_me: Some(author.is_some_and(|author| author.own)),
            id: Some(message_id.to_owned()),
            participant,
        };
        self.session.client.send_reaction(to, key, emoji).await.map(drop)
    }

    async fn text(&self, to: &Jid, request: &SendRequest) -> wa::Message {
        match self.quote(to, request).await {
            Some(context) => wa::Message::text_with_context(request.text.as_str(), context),
            None => wa::Message::text(request.text.as_str()),
        }
    }

    /// Uploads a file. When the network does not take it, its text is sent instead, and says so.
    async fn enclose(&self, to: &Jid, request: &SendRequest, file: MediaData) -> wa::Message {
        let what = files::sent_as(&file);
        let uploaded = self.session.client.upload(file.content.clone(), what, UploadOptions::new()).await;
        match uploaded {
            Ok(upload) => files::message(&file, upload, &request.text, self.quote(to, request).await),
            Err(error) => {
                warn!(%error, "a file could not be uploaded to WhatsApp");
                let words = format!("{}\n\n⚠️ A file could not be sent: {}", request.text, file.name);
                self.text(to, &SendRequest { text: words.trim().to_owned(), ..request.clone() }).await
            }
        }
    }

    /// Returns what quotes a message. One that is not known any more is not quoted.
    async fn quote(&self, to: &Jid, request: &SendRequest) -> Option<wa::ContextInfo> {
        let quoted = request.reply_to.as_ref()?;
        let author = self.author(to, quoted).await?;
        Some(wa::ContextInfo {
            stanza_id: Some(quoted.clone()),
            participant: Some(author.id),
            quoted_message: MessageField::some(wa::Message::text(author.text)),
            ..wa::ContextInfo::default()
        })
    }

    async fn author(&self, chat: &Jid, message_id: &str) -> Option<Author> {
        self.store.get_json(Kind::Author, message_name(chat, message_id)).await.ok().flatten()
    }

    async fn ask(&self, to: &Jid, poll: &Question) -> Outcome {
        if !OPTIONS.contains(&poll.options.len()) {
            return Outcome::Refused("a poll of WhatsApp has 2 to 12 answers".to_owned());
        }
        let selections = if poll.selections_max <= 1 { 1 } else { poll.selections_max };
        let (result, secret) = match self.session.client.polls().create(to, &poll.question, &poll.options, selections).await {
            Ok(created) => created,
            Err(PollError::Send(error)) => return of_error(&error),
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let kept = Poll { secret: hex::encode(secret), options: poll.options.clone() };
        if let Err(error) = self.store.put_json(Kind::Poll, result.message_id.as_str(), &kept).await {
            warn!(%error, "the votes of a poll will not be understood");
        }
        let id = result.message_id;
        self.settled(to, id.clone(), Some(id)).await
    }

    /// Waits until the network has confirmed a message.
    async fn settled(&self, to: &Jid, message_id: String, poll_id: Option<String>) -> Outcome {
        match self.session.confirmed(&message_id).await {
            Some(Confirmation::Taken) => sent(message_id, to, poll_id),
            Some(Confirmation::Refused(code)) => Outcome::Refused(format!("WhatsApp refused the message ({code})")),
            None => Outcome::Uncertain("WhatsApp did not confirm the message in time".to_owned()),
        }
    }
}

fn is_group(id: &Jid) -> bool {
    id.server == whatsapp_rust::Server::Group
}

fn sent(message_id: String, to: &Jid, poll_id: Option<String>) -> Outcome {
    Outcome::Sent(Receipt { message_id, chat_id: to.to_non_ad_string(), poll_id })
}

fn later(reason: &str) -> Outcome {
    let after_ms = u64::try_from(RETRY_PAUSE.as_millis()).ok();
    Outcome::Later(Later { reason: reason.to_owned(), after_ms })
}

/// Says what an error means for the message.
fn of_error(error: &SendError) -> Outcome {
    let words = error.to_string();
    match error {
        SendError::NotLoggedIn | SendError::Client(ClientError::NotConnected | ClientError::NotLoggedIn) | SendError::Iq(_) => {
            later(&words)
        }
        SendError::Client(error) if error.is_transport_unavailable() => later(&words),
        SendError::InvalidRequest(_) => Outcome::Refused(words),
        _ => Outcome::Uncertain(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_leave_is_sent_later_and_what_may_have_is_uncertain() {
        let not_there = SendError::Client(ClientError::NotConnected);
        let Outcome::Later(Later { reason, after_ms }) = of_error(&not_there) else { panic!("later") };
        assert_eq!((reason.as_str(), after_ms), ("client is not connected", Some(500)));
        assert!(matches!(of_error(&SendError::NotLoggedIn), Outcome::Later(_)));
        assert!(matches!(of_error(&SendError::InvalidRequest("x".into())), Outcome::Refused(_)));
        assert!(matches!(of_error(&SendError::Internal(whatsapp_rust::anyhow::anyhow!("x"))), Outcome::Uncertain(_)));
    }
}
