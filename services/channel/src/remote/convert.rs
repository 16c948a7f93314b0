//! Between the contract's messages and ours.

use verso_kit::trace::TraceContext;
use verso_proto::adapter::v1 as wire;
use verso_proto::adapter::v1::{ChatKind as WireChat, InboundKind};

use crate::adapter::{Ability, Wellbeing};
use crate::message::{Address, Attached, Button, ChatKind, Enclosed, EventKind, Incoming, MediaKind, Part, Question};

/// Reads a message. None when it lacks what it is judged by.
pub(crate) fn incoming(inbound: wire::Inbound) -> Option<Incoming> {
    let kind = match inbound.kind() {
        InboundKind::Message => EventKind::Message,
        InboundKind::Button => EventKind::Button,
        InboundKind::Edit => EventKind::Edit,
        InboundKind::Reaction => EventKind::Reaction,
        InboundKind::Vote => EventKind::Vote,
        InboundKind::Service => EventKind::Service,
        InboundKind::Unspecified => return None,
    };
    let chat = match inbound.chat() {
        WireChat::Direct => ChatKind::Direct,
        WireChat::Group => ChatKind::Group,
        WireChat::Unspecified => return None,
    };
    if inbound.event.is_empty() || inbound.peer.trim().is_empty() || inbound.sender.trim().is_empty() {
        return None;
    }
    Some(Incoming {
        event: inbound.event,
        kind,
        chat,
        peer: inbound.peer,
        thread: inbound.thread,
        title: inbound.title,
        sender: inbound.sender,
        sender_name: inbound.sender_name,
        text: inbound.text,
        message_id: inbound.message_id,
        mentioned: inbound.mentioned,
        at_ms: inbound.at_ms,
        media: inbound.media.into_iter().map(attached).collect(),
        album: inbound.album,
        may_go_on: inbound.may_go_on,
        traceparent: inbound.traceparent.as_deref().and_then(TraceContext::parse).map(|trace| trace.to_string()),
    })
}

/// Writes a message as it is received.
pub(crate) fn inbound(incoming: &Incoming, position: Option<i64>) -> wire::Inbound {
    let kind = match incoming.kind {
        EventKind::Message => InboundKind::Message,
        EventKind::Button => InboundKind::Button,
        EventKind::Edit => InboundKind::Edit,
        EventKind::Reaction => InboundKind::Reaction,
        EventKind::Vote => InboundKind::Vote,
        EventKind::Service => InboundKind::Service,
    };
    let chat = match incoming.chat {
        ChatKind::Direct => WireChat::Direct,
        ChatKind::Group => WireChat::Group,
    };
    wire::Inbound {
        event: incoming.event.clone(),
        kind: kind.into(),
        chat: chat.into(),
        peer: incoming.peer.clone(),
        thread: incoming.thread.clone(),
        title: incoming.title.clone(),
        sender: incoming.sender.clone(),
        sender_name: incoming.sender_name.clone(),
        text: incoming.text.clone(),
        message_id: incoming.message_id.clone(),
        mentioned: incoming.mentioned,
        at_ms: incoming.at_ms,
        media: incoming.media.iter().map(media_ref).collect(),
        position,
        album: incoming.album.clone(),
        may_go_on: incoming.may_go_on,
        traceparent: incoming.traceparent.clone(),
    }
}

fn attached(media: wire::MediaRef) -> Attached {
    Attached {
        kind: media_kind(media.kind()),
        reference: media.id,
        mime_type: Some(media.mime).filter(|mime| !mime.is_empty()),
        file_name: Some(media.name).filter(|name| !name.is_empty()),
        bytes: Some(media.bytes).filter(|bytes| *bytes > 0),
    }
}

fn media_ref(media: &Attached) -> wire::MediaRef {
    wire::MediaRef {
        id: media.reference.clone(),
        kind: wire_kind(media.kind).into(),
        mime: media.mime_type.clone().unwrap_or_default(),
        name: media.file_name.clone().unwrap_or_default(),
        bytes: media.bytes.unwrap_or_default(),
    }
}

pub(crate) fn media_kind(kind: wire::MediaKind) -> MediaKind {
    match kind {
        wire::MediaKind::Image => MediaKind::Image,
        wire::MediaKind::Animation => MediaKind::Animation,
        wire::MediaKind::Video => MediaKind::Video,
        wire::MediaKind::Audio => MediaKind::Audio,
        wire::MediaKind::Voice => MediaKind::Voice,
        wire::MediaKind::Sticker => MediaKind::Sticker,
        // What a file is, its bytes tell; until then it is a file.
        wire::MediaKind::Document | wire::MediaKind::Unspecified => MediaKind::Document,
    }
}

fn wire_kind(kind: MediaKind) -> wire::MediaKind {
    match kind {
        MediaKind::Image => wire::MediaKind::Image,
        MediaKind::Animation => wire::MediaKind::Animation,
        MediaKind::Video => wire::MediaKind::Video,
        MediaKind::Audio => wire::MediaKind::Audio,
        MediaKind::Voice => wire::MediaKind::Voice,
        MediaKind::Document => wire::MediaKind::Document,
        MediaKind::Sticker => wire::MediaKind::Sticker,
    }
}

/// Returns what the contract's capabilities come to.
pub(crate) fn abilities(can: &wire::Capabilities) -> Vec<Ability> {
    let all = [
        (Ability::Edits, can.edits),
        (Ability::Reactions, can.reactions),
        (Ability::Media, can.media_bytes_max > 0),
        (Ability::Polls, can.polls),
        (Ability::Buttons, can.buttons),
    ];
    all.into_iter().filter_map(|(ability, there)| there.then_some(ability)).collect()
}

pub(crate) fn destination(to: &Address) -> wire::Destination {
    wire::Destination { peer: to.peer.clone(), thread: to.thread.clone() }
}

/// Writes a message as it is sent. `media` is what its enclosed file holds.
pub(crate) fn send_request(account: &str, id: &str, part: &Part, media: Option<(&Enclosed, Vec<u8>)>) -> wire::SendRequest {
    let row = |row: &Vec<Button>| wire::ButtonRow {
        buttons: row.iter().map(|button| wire::Button { label: button.label.clone(), says: button.says.clone() }).collect(),
    };
    let media = media.map(|(enclosed, content)| wire::MediaData {
        kind: wire_kind(enclosed.kind).into(),
        mime: enclosed.mime_type.clone(),
        name: enclosed.file_name.clone(),
        content,
    });
    let poll = part.poll.as_ref().map(|poll| wire::Question {
        question: poll.asks.clone(),
        options: poll.options.clone(),
        selections_max: poll.selections_max,
        open_seconds: poll.open_seconds,
        anonymous: poll.anonymous,
    });
    wire::SendRequest {
        account_id: account.to_owned(),
        send_id: id.to_owned(),
        to: Some(destination(&part.to)),
        text: part.text.clone(),
        plain: part.plain.clone(),
        reply_to: part.reply_to.clone(),
        silent: part.silent,
        media: media.into_iter().collect(),
        buttons: part.buttons.iter().map(row).collect(),
        poll,
        replaces: part.replaces.clone(),
    }
}

/// Reads a message as it is sent; its file is kept where `enclosed` says.
pub(crate) fn part(request: &wire::SendRequest, enclosed: Option<Enclosed>) -> Option<Part> {
    let to = request.to.as_ref().filter(|to| !to.peer.is_empty())?;
    let row = |row: &wire::ButtonRow| {
        row.buttons.iter().map(|button| Button { label: button.label.clone(), says: button.says.clone() }).collect()
    };
    let poll = request.poll.as_ref().map(|poll| Question {
        asks: poll.question.clone(),
        options: poll.options.clone(),
        selections_max: poll.selections_max,
        open_seconds: poll.open_seconds,
        anonymous: poll.anonymous,
    });
    let to = Address { peer: to.peer.clone(), thread: to.thread.clone() };
    Some(Part {
        reply_to: request.reply_to.clone(),
        silent: request.silent,
        media: enclosed,
        buttons: request.buttons.iter().map(row).collect(),
        poll,
        replaces: request.replaces.clone(),
        ..Part::text(to, request.text.clone(), request.plain.clone())
    })
}

pub(crate) fn wellbeing(answer: wire::ProbeResponse) -> Wellbeing {
    // The words that clients know; a process of somebody else cannot add to them.
    let mode = answer.mode.as_deref().and_then(|mode| ["polling", "webhook", "socket"].into_iter().find(|known| *known == mode));
    let details = answer.details_json.and_then(|details| serde_json::from_str(&details).ok()).unwrap_or_default();
    Wellbeing { name: answer.name, mode, details }
}
