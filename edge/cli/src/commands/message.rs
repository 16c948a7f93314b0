//! `verso message`: to a person or a group on a chat network.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Session;
use super::remote::{Remote, members, text};
use crate::args::{Destination, Group, Message, MessagePoll, MessageSend, Reach};
use crate::failure::Failure;
use crate::output;

/// Answers that a poll may have.
const OPTIONS: std::ops::RangeInclusive<usize> = 2..=12;

pub(super) async fn run(session: &Session, group: &Group<Message>) -> anyhow::Result<()> {
    match &group.command {
        Some(Message::Send(arguments)) => {
            let params = of_send(arguments);
            deliver(session, &group.reach, "send", &arguments.destination, params).await
        }
        Some(Message::Poll(arguments)) => {
            if !OPTIONS.contains(&arguments.poll_option.len()) {
                return Err(Failure::new("A poll needs 2 to 12 --poll-option.").into());
            }
            let params = of_poll(arguments);
            deliver(session, &group.reach, "poll", &arguments.destination, params).await
        }
        None => Err(Failure::new("error: missing required argument 'command'").into()),
    }
}

fn of_send(arguments: &MessageSend) -> Vec<(&'static str, Value)> {
    let (first, more) = match arguments.media.as_slice() {
        [] => (Value::Null, Value::Null),
        [one] => (json!(one), Value::Null),
        several => (Value::Null, json!(several)),
    };
    vec![
        ("message", json!(arguments.message.clone().unwrap_or_default())),
        ("mediaUrl", first),
        ("mediaUrls", more),
        ("replyToId", json!(arguments.reply_to)),
        ("threadId", json!(arguments.thread_id)),
        ("gifPlayback", on(arguments.gif_playback)),
        ("silent", on(arguments.silent)),
    ]
}

fn of_poll(arguments: &MessagePoll) -> Vec<(&'static str, Value)> {
    vec![
        ("question", json!(arguments.poll_question)),
        ("options", json!(arguments.poll_option)),
        ("maxSelections", if arguments.poll_multi { json!(arguments.poll_option.len()) } else { Value::Null }),
        ("durationHours", json!(arguments.poll_duration_hours)),
    ]
}

/// Flags that are off are not mentioned: older gateways do not know them.
fn on(flag: bool) -> Value {
    if flag { json!(true) } else { Value::Null }
}

async fn deliver(
    session: &Session,
    reach: &Reach,
    action: &'static str,
    destination: &Destination,
    params: Vec<(&'static str, Value)>,
) -> anyhow::Result<()> {
    let mut remote = Remote::open(session, reach).await?;
    let channel = channel(&mut remote, destination).await?;
    if destination.dry_run {
        let document =
            json!({"action": action, "channel": channel, "dryRun": true, "handledBy": "dry-run", "payload": {"to": destination.target}});
        return remote.answer(&document, || format!("[dry-run] would run {action} via {channel}"));
    }
    let always = [
        ("to", json!(destination.target)),
        ("channel", json!(channel)),
        ("accountId", json!(destination.account)),
        ("idempotencyKey", json!(Uuid::new_v4().to_string())),
    ];
    let media = params.iter().find(|(name, _)| *name == "mediaUrl").map(|(_, url)| url.clone()).unwrap_or_default();
    let answer = remote.call(action, members(always.into_iter().chain(params))).await?;
    let mut payload = json!({"channel": channel, "via": "gateway", "to": destination.target, "mediaUrl": media});
    if let (Some(payload), Some(answer)) = (payload.as_object_mut(), answer.as_object()) {
        payload.extend(answer.clone());
    }
    let document = json!({"action": action, "channel": channel, "dryRun": false, "handledBy": "core", "payload": payload});
    remote.answer(&document, || {
        let id = Some(text(&answer, "/messageId")).filter(|id| !id.is_empty()).unwrap_or("unknown");
        let sent = format!("✅ Sent via gateway ({channel}). Message ID: {id}");
        if media.is_null() { sent } else { format!("{sent}\nMedia: {}", output::plain(&media)) }
    })
}

/// The network that was named, or the only one that is configured.
async fn channel(remote: &mut Remote<'_>, destination: &Destination) -> anyhow::Result<String> {
    if let Some(channel) = &destination.channel {
        return Ok(channel.trim().to_lowercase());
    }
    let status = remote.call("channels.status", json!({})).await?;
    let configured: Vec<&str> = status["channelOrder"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|id| status["channels"][id]["configured"] == true)
        .collect();
    match configured.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Failure::new("Channel is required (no configured channels detected).").into()),
        several => {
            let text = format!("Channel is required when multiple channels are configured: {}", several.join(", "));
            Err(Failure::new(text).into())
        }
    }
}
