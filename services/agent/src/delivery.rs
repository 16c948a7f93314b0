//! Words that go to a chat network although nobody there has just asked: through the channel service, whose outbox sends each part once.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use verso_kit::peer::{Backoff, Caller, broken_by_transport, timed_out};
use verso_proto::agent::v1::{Payload, ReplyFile};
use verso_proto::channel::v1::SendRequest;

use crate::enclosures;
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::parts::Parts;
use crate::runs::{Route, Runs};

/// How long a channel service is waited for that is not there, in milliseconds.
const PATIENCE_MS: i64 = 60_000;

/// A delivery that is older is given up: late words confuse. In milliseconds.
const AGE_MS_MAX: i64 = 60 * 60 * 1_000;

/// A channel that stands for wherever somebody wrote last.
pub(crate) const LAST: &str = "last";

/// Channels that are no chat network: their clients hear of everything anyway.
const NO_NETWORK: [&str; 3] = ["webchat", "web", "internal"];

/// Where somebody wants something delivered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// None, or `last`: where the session's last message came from.
    pub(crate) channel: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) thread: Option<String>,
}

/// Something to be delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// Names it, and with their numbers its parts.
    pub(crate) id: String,
    pub(crate) session_key: String,
    pub(crate) agent_id: String,
    pub(crate) route: Route,
    pub(crate) payloads: Vec<Payload>,
    pub(crate) at_ms: i64,
}

impl Delivery {
    /// Makes a delivery of what is worth it; none if nothing is.
    pub(crate) fn new(id: &str, (agent, key): (&AgentId, &SessionKey), route: Route, payloads: Vec<Payload>, at_ms: i64) -> Option<Self> {
        let payloads: Vec<Payload> =
            payloads.into_iter().filter(|payload| !payload.text.trim().is_empty() || payload.media_url.is_some()).collect();
        let (session_key, agent_id) = (key.to_string(), agent.to_string());
        (!payloads.is_empty()).then(|| Self { id: id.to_owned(), session_key, agent_id, route, payloads, at_ms })
    }
}

/// Finds the place that is meant: the one that is named, or where the session, or else its agent's main one, was written to last.
pub(crate) async fn route(runs: &Runs, agent: &AgentId, key: &SessionKey, wanted: Wanted) -> Result<Route, Error> {
    let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let channel = given(wanted.channel).map(|channel| channel.to_lowercase()).filter(|channel| channel != LAST);
    let to = given(wanted.to);
    if let Some(channel) = channel.as_ref().filter(|channel| NO_NETWORK.contains(&channel.as_str())) {
        return Err(Error::NoRecipient(format!("{channel} is no chat network")));
    }
    if let (Some(channel), Some(to)) = (&channel, &to) {
        let (account, thread) = (given(wanted.account), given(wanted.thread));
        return Ok(Route { channel: channel.clone(), to: to.clone(), account, thread });
    }
    let main = runs.parts.roster.naming.main(agent);
    let mut last = None;
    for key in [key, &main] {
        last = last.or(runs.parts.store.session(key).await?.and_then(|session| session.last_route));
    }
    let last = last.filter(|last| channel.as_ref().is_none_or(|channel| *channel == last.channel));
    match (last, to) {
        (Some(last), None) => Ok(last),
        (Some(last), Some(to)) => Ok(Route { to, account: given(wanted.account).or(last.account), thread: given(wanted.thread), ..last }),
        (None, _) => Err(Error::NoRecipient("nobody has written to this session from a chat network yet".to_owned())),
    }
}

/// Hands a delivery to the channel service, part by part. A repeat sends nothing twice. The error is for people.
pub(crate) async fn send(parts: &Parts, delivery: &Delivery) -> Result<(), String> {
    let workspace = parts.roster.get(&AgentId::normalize(&delivery.agent_id)).workspace;
    let pieces = pieces(&workspace, &delivery.payloads).await;
    for (number, (payload, file)) in pieces.into_iter().enumerate() {
        let request = SendRequest {
            to: delivery.route.to.clone(),
            message: payload.text.clone(),
            media_urls: enclosures::named(&payload),
            buffer: file.as_ref().map(|file| STANDARD.encode(&file.content)),
            filename: file.map(|file| file.file_name),
            channel: Some(delivery.route.channel.clone()),
            account_id: delivery.route.account.clone(),
            thread_id: delivery.route.thread.clone(),
            session_key: Some(delivery.session_key.clone()),
            agent_id: Some(delivery.agent_id.clone()),
            idempotency_key: format!("{}:{number}", delivery.id),
            as_voice: payload.audio_as_voice,
            reply_to_id: payload.reply_to_id.clone(),
            ..SendRequest::default()
        };
        send_part(parts, request).await?;
    }
    Ok(())
}

/// Returns the messages of a delivery: files of the workspace are read, and each goes with a message of its own.
async fn pieces(workspace: &Path, payloads: &[Payload]) -> Vec<(Payload, Option<ReplyFile>)> {
    let mut pieces = Vec::new();
    for payload in payloads {
        let mut files = enclosures::of(workspace, std::slice::from_ref(payload)).await.into_iter();
        let (inside, web): (Vec<String>, Vec<String>) = enclosures::named(payload).into_iter().partition(|name| name.starts_with("./"));
        let missing = inside.len().saturating_sub(files.len());
        let lack = if missing > 0 { format!("\n\n⚠️ {missing} of its files could not be read.") } else { String::new() };
        let text = format!("{}{lack}", payload.text).trim_start().to_owned();
        let first = Payload { text, media_url: None, media_urls: web, ..payload.clone() };
        pieces.push((first, files.next()));
        pieces.extend(files.map(|file| (Payload::default(), Some(file))));
    }
    pieces
}

async fn send_part(parts: &Parts, request: SendRequest) -> Result<(), String> {
    let deadline_ms = parts.clock.now_ms() + PATIENCE_MS;
    let mut backoff = Backoff::default();
    loop {
        let Err(status) = parts.channel.call(request.clone(), &Caller::default()).await else { return Ok(()) };
        // The outbox knows what it has: asking again is safe, also when nobody knows what became of the first time.
        let passes = broken_by_transport(&status) || timed_out(&status);
        if !passes || parts.clock.now_ms() > deadline_ms {
            return Err(status.message().to_owned());
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

/// Carries out a delivery that is written down, and strikes it off.
pub(crate) fn carry_out(runs: &Runs, delivery: Delivery) {
    let (parts, shutdown) = (std::sync::Arc::clone(&runs.parts), runs.shutdown());
    runs.spawn("delivery", async move {
        let late = parts.clock.now_ms() - delivery.at_ms > AGE_MS_MAX;
        let sent = tokio::select! {
            // It stays written down: the next incarnation goes on with it.
            () = shutdown.cancelled() => return,
            sent = send(&parts, &delivery), if !late => sent,
            else => Err("it has waited too long".to_owned()),
        };
        if let Err(why) = sent {
            tracing::warn!(run = delivery.id, channel = delivery.route.channel, why, "an answer was not delivered");
        }
        if let Err(error) = parts.store.delivered(&delivery.id).await {
            tracing::warn!(run = delivery.id, error = &error as &dyn std::error::Error, "a delivery could not be struck off");
        }
    });
}

/// Takes up the deliveries that an earlier incarnation has left behind.
pub(crate) async fn recover(runs: &Runs) -> Result<(), Error> {
    for delivery in runs.parts.store.deliveries().await? {
        carry_out(runs, delivery);
    }
    Ok(())
}
