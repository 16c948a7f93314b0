//! The agent service, as messages from chat networks use it.

use std::time::Duration;

use tracing::warn;
use verso_kit::clock::Clock;
use verso_kit::peer::{Answers, Backoff, Caller, Peer, broken_by_transport};
use verso_proto::agent::v1::{SubmitRequest, SubmitResponse};

use crate::message::{ChatKind, Incoming};
use crate::store::AccountKey;

/// For how long a message is offered to an agent service that is not there.
const OFFER_MAX: Duration = Duration::from_hours(1);

/// The agent service.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    peer: Peer,
    clock: Clock,
}

/// What an agent is told of a message besides the message.
#[derive(Debug)]
pub(crate) struct Words {
    /// What a model reads.
    pub(crate) body: String,
    /// What was said in the group before.
    pub(crate) context: Option<String>,
    /// Whether the sender may give commands.
    pub(crate) authorized: bool,
    /// Whether the configuration names the sender himself.
    pub(crate) owner: bool,
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Texts in Markdown; none to stay silent.
    Answer(Vec<String>),
    /// What went wrong.
    Failed(String),
}

/// A message that the agent service has accepted, or that it could not be brought to.
#[derive(Debug)]
pub(crate) struct Pending {
    agent: Agent,
    request: SubmitRequest,
    answers: Option<Answers<SubmitResponse>>,
    over: Option<Reply>,
    deadline_ms: i64,
}

impl Agent {
    pub(crate) fn new(peer: Peer, clock: Clock) -> Self {
        Self { peer, clock }
    }

    /// Offers a message until the service has taken it. The message's own id names the run, so that it is carried out once, however often it
    /// is offered.
    pub(crate) async fn submit(&self, key: &AccountKey, incoming: &Incoming, words: Words, received_at_ms: i64) -> Pending {
        let AccountKey { channel, account } = key;
        let request = SubmitRequest {
            run_id: format!("{channel}:{account}:{}", incoming.event),
            channel: channel.clone(),
            account_id: account.clone(),
            chat_type: match incoming.chat {
                ChatKind::Direct => "direct",
                ChatKind::Group => "group",
            }
            .to_owned(),
            peer_id: incoming.peer.clone(),
            thread_id: incoming.thread.clone(),
            to: incoming.order_key(),
            sender_id: incoming.sender.clone(),
            sender_name: incoming.sender_name.clone(),
            body: words.body,
            text: incoming.text.clone(),
            authorized: words.authorized,
            owner: words.owner,
            attachments: Vec::new(),
            context: words.context,
            message_id: incoming.message_id.clone(),
            note: incoming.kind.is_note(),
            parts: false,
            drafts: false,
        };
        let deadline_ms = received_at_ms.saturating_add(i64::try_from(OFFER_MAX.as_millis()).unwrap_or(i64::MAX));
        let mut pending = Pending { agent: self.clone(), request, answers: None, over: None, deadline_ms };
        pending.accepted().await;
        pending
    }
}

impl Pending {
    /// Waits until the service has the message, or has answered it.
    async fn accepted(&mut self) {
        let mut backoff = Backoff::default();
        while self.over.is_none() && self.answers.is_none() {
            self.attempt(&mut backoff).await;
        }
    }

    /// Waits for the answer. When the service dies meanwhile, the message is offered again: the next incarnation goes on with the run.
    pub(crate) async fn wait(mut self) -> Reply {
        loop {
            if let Some(reply) = self.over {
                return reply;
            }
            let Some(answers) = &mut self.answers else {
                self.accepted().await;
                continue;
            };
            match answers.next().await {
                Ok(Some(response)) => self.take(response),
                Ok(None) => self.answers = None,
                Err(status) if broken_by_transport(&status) => self.answers = None,
                Err(status) => self.over = Some(Reply::Failed(status.message().to_owned())),
            }
        }
    }

    async fn attempt(&mut self, backoff: &mut Backoff) {
        let first = match self.agent.peer.open(&self.request, &Caller::default()).await {
            Ok(mut answers) => answers.next().await.map(|response| (answers, response)),
            Err(status) => Err(status),
        };
        match first {
            Ok((answers, Some(response))) => {
                self.answers = Some(answers);
                self.take(response);
            }
            Err(status) if !broken_by_transport(&status) => self.over = Some(Reply::Failed(status.message().to_owned())),
            failed => {
                if self.agent.clock.now_ms() > self.deadline_ms {
                    self.over = Some(Reply::Failed("no agent was there to answer in time".to_owned()));
                    return;
                }
                if let Err(status) = failed {
                    warn!(run = %self.request.run_id, error = %status.message(), "the agent service cannot be reached; trying again");
                }
                tokio::time::sleep(backoff.next_pause()).await;
            }
        }
    }

    fn take(&mut self, response: SubmitResponse) {
        self.over = match response.status.as_str() {
            "accepted" => None,
            "ok" | "aborted" => Some(Reply::Answer(response.payloads.into_iter().map(|payload| payload.text).collect())),
            // The session takes no messages: that is not for its writer to know.
            "denied" => Some(Reply::Answer(Vec::new())),
            _ => Some(Reply::Failed(response.error.unwrap_or_else(|| "the agent could not answer".to_owned()))),
        };
    }
}
