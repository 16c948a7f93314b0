//! The agent service, as messages from chat networks use it.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};
use verso_kit::clock::Clock;
use verso_kit::peer::{Answers, Backoff, Caller, Peer, broken_by_transport};
use verso_proto::agent::v1::{ActivationRequest, Answerer, Attachment, Payload, ReplyFile, SubmitRequest, SubmitResponse};

use crate::message::{ChatKind, Incoming};
use crate::store::AccountKey;

/// For how long a message is offered to an agent service that is not there.
const OFFER_MAX: Duration = Duration::from_hours(1);

/// How long it may take to say whether a group wants to be mentioned; after that the configuration counts.
const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// What came along.
    pub(crate) attachments: Vec<Attachment>,
    /// Whether the answer is wanted while it is made.
    pub(crate) growth: Growth,
}

/// What a group's conversation says of being mentioned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Calling {
    /// Whether the account must be mentioned, if anybody has told it so.
    pub(crate) must_mention: Option<bool>,
    /// What its agent is called by, if that is its own.
    pub(crate) patterns: Option<Vec<String>>,
}

/// How much of an answer is wanted before it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Growth {
    /// Each finished piece.
    pub(crate) parts: bool,
    /// What is being written.
    pub(crate) drafts: bool,
}

/// Pieces of an answer, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pieces {
    /// The number of the first one: it and the run name a piece.
    pub(crate) first: i64,
    pub(crate) payloads: Vec<Payload>,
    /// The agent's own files that they refer to.
    pub(crate) files: Vec<ReplyFile>,
    /// Who says it.
    pub(crate) agent: String,
    /// With which model, if it is a model's.
    pub(crate) answerer: Option<Answerer>,
}

/// What an agent tells of its answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// A piece is finished.
    Part(Pieces),
    /// A piece is being written.
    Draft {
        /// As far as it is written.
        text: String,
        /// What else is going on.
        activity: Option<String>,
    },
    /// That was all, with what was not told before.
    End(Pieces),
    /// It went wrong.
    Failed(String),
}

/// A message that the agent service has accepted, or that it could not be brought to.
#[derive(Debug)]
pub(crate) struct Pending {
    agent: Agent,
    request: SubmitRequest,
    answers: Option<Answers<SubmitResponse>>,
    /// What was told and not heard yet.
    said: Option<Said>,
    deadline_ms: i64,
}

impl Agent {
    pub(crate) fn new(peer: Peer, clock: Clock) -> Self {
        Self { peer, clock }
    }

    /// Asks what a group's conversation says of being mentioned. Without an answer it says nothing.
    pub(crate) async fn calling(&self, key: &AccountKey, incoming: &Incoming) -> Calling {
        let request = ActivationRequest {
            channel: key.channel.clone(),
            account_id: key.account.clone(),
            peer_id: incoming.peer.clone(),
            thread_id: incoming.thread.clone(),
        };
        let asked = timeout(ACTIVATION_TIMEOUT, self.peer.call(request, &Caller::default())).await;
        let said = match asked {
            Ok(said) => said.inspect_err(|status| debug!(error = %status.message(), "nobody says whether a group wants mentions")),
            Err(_) => return Calling::default(),
        };
        let said = said.unwrap_or_default();
        let must_mention = match said.activation.as_deref() {
            Some("always") => Some(false),
            Some("mention") => Some(true),
            _ => None,
        };
        Calling { must_mention, patterns: said.called_by.map(|called_by| called_by.patterns) }
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
            attachments: words.attachments,
            context: words.context,
            message_id: incoming.message_id.clone(),
            note: incoming.kind.is_note(),
            parts: words.growth.parts,
            drafts: words.growth.drafts,
        };
        let deadline_ms = received_at_ms.saturating_add(i64::try_from(OFFER_MAX.as_millis()).unwrap_or(i64::MAX));
        let mut pending = Pending { agent: self.clone(), request, answers: None, said: None, deadline_ms };
        pending.accepted().await;
        pending
    }
}

impl Pending {
    /// Waits until the service has the message, or has answered it.
    async fn accepted(&mut self) {
        let mut backoff = Backoff::default();
        while self.said.is_none() && self.answers.is_none() {
            self.attempt(&mut backoff).await;
        }
    }

    /// Waits for the next thing that is told; [`Said::End`] and [`Said::Failed`] come last. When the service dies meanwhile, the message is
    /// offered again: the next incarnation goes on with the run.
    pub(crate) async fn next(&mut self) -> Said {
        loop {
            if let Some(said) = self.said.take() {
                return said;
            }
            let Some(answers) = &mut self.answers else {
                self.accepted().await;
                continue;
            };
            match answers.next().await {
                Ok(Some(response)) => self.take(response),
                Ok(None) => self.answers = None,
                Err(status) if broken_by_transport(&status) => self.answers = None,
                Err(status) => self.said = Some(Said::Failed(status.message().to_owned())),
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
            Err(status) if !broken_by_transport(&status) => self.said = Some(Said::Failed(status.message().to_owned())),
            failed => {
                if self.agent.clock.now_ms() > self.deadline_ms {
                    self.said = Some(Said::Failed("no agent was there to answer in time".to_owned()));
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
        let SubmitResponse { status, payloads, error, pieces_before, draft, activity, files, agent_id, answerer, .. } = response;
        let pieces = Pieces { first: pieces_before, payloads, files, agent: agent_id, answerer };
        self.said = match status.as_str() {
            "accepted" => None,
            "part" => Some(Said::Part(pieces)),
            "draft" => Some(Said::Draft { text: draft.unwrap_or_default(), activity }),
            "ok" | "aborted" => Some(Said::End(pieces)),
            // The session takes no messages: that is not for its writer to know.
            "denied" => Some(Said::End(Pieces::default())),
            _ => Some(Said::Failed(error.unwrap_or_else(|| "the agent could not answer".to_owned()))),
        };
    }
}
