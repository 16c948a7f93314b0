use std::sync::Arc;

use verso_proto::adapter::v1::MediaKind;
use whatsapp_rust::proto_helpers::MessageBuilderExt as _;
use whatsapp_rust::wacore::types::message::{MessageInfo, MessageSource};
use whatsapp_rust::waproto::buffa::MessageField;

use super::*;
use crate::files::Reference;

const GROUP: &str = "120363021033254949@g.us";

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn me() -> Me {
    Me { number: Some(jid("491701@s.whatsapp.net")), lid: Some(jid("77@lid")) }
}

fn from(chat: &str, sender: &str, message: wa::Message) -> InboundMessage {
    let (chat, sender) = (jid(chat), jid(sender));
    let source = MessageSource { is_group: chat.is_group_chat(), is_from_me: me().is(&sender), chat, sender, ..MessageSource::default() };
    let timestamp = whatsapp_rust::wacore::time::from_millis(1_700_000_000_000).unwrap();
    let info = MessageInfo { source, id: "M1".into(), push_name: "Ada".into(), timestamp, ..MessageInfo::default() };
    InboundMessage::builder().message(Arc::new(message)).info(Arc::new(info)).build()
}

fn who(message: &InboundMessage) -> Who {
    let source = &message.info.source;
    Who { me: me(), sender: source.sender.to_non_ad(), chat: source.chat.to_non_ad(), title: Some("Family".into()), self_chat: false }
}

fn heard(message: &InboundMessage) -> Option<Inbound> {
    read(message, &who(message))
}

fn direct(message: wa::Message) -> Inbound {
    heard(&from("491555@s.whatsapp.net", "491555:3@s.whatsapp.net", message)).unwrap()
}

fn in_group(context: wa::ContextInfo) -> Inbound {
    heard(&from(GROUP, "491555@s.whatsapp.net", wa::Message::text_with_context("hi", context))).unwrap()
}

#[test]
fn a_direct_message_is_named_by_what_the_network_never_says_twice() {
    let inbound = direct(wa::Message::text("hello"));
    assert_eq!(inbound.event, "+491555:+491555:M1");
    assert_eq!((inbound.kind(), inbound.chat(), inbound.mentioned), (InboundKind::Message, ChatKind::Direct, true));
    assert_eq!((inbound.peer.as_str(), inbound.sender.as_str(), inbound.sender_name.as_deref()), ("+491555", "+491555", Some("Ada")));
    assert_eq!((inbound.text.as_str(), inbound.message_id.as_deref(), inbound.at_ms), ("hello", Some("M1"), 1_700_000_000_000));
    assert_eq!((inbound.title, inbound.thread), (None, None));
}

#[test]
fn a_group_is_spoken_to_by_a_mention_of_either_id_or_by_an_answer() {
    let named = |id: &str| wa::ContextInfo { mentioned_jid: vec![id.to_owned()], ..wa::ContextInfo::default() };
    let answer = |participant: &str| wa::ContextInfo {
        stanza_id: Some("Q1".into()),
        participant: Some(participant.to_owned()),
        quoted_message: MessageField::some(wa::Message::text("what was said")),
        ..wa::ContextInfo::default()
    };
    assert!(in_group(named("491701@s.whatsapp.net")).mentioned && in_group(named("77@lid")).mentioned);
    assert!(!in_group(named("491555@s.whatsapp.net")).mentioned && !in_group(wa::ContextInfo::default()).mentioned);
    let answered = in_group(answer("491701:2@s.whatsapp.net"));
    assert!(answered.mentioned && !in_group(answer("491555@s.whatsapp.net")).mentioned);
    assert_eq!(answered.text, "hi\n\n[Replying to +491701 id:Q1]\nwhat was said\n[/Replying]");
    assert_eq!((answered.peer.as_str(), answered.title.as_deref(), answered.chat()), (GROUP, Some("Family"), ChatKind::Group));
    let message = from(GROUP, "491555@s.whatsapp.net", wa::Message::text_with_context("hi", named("77@lid")));
    assert!(
        !read(&message, &Who { self_chat: true, ..who(&message) }).unwrap().mentioned,
        "an owner who writes to himself mentions nobody"
    );
}

#[test]
fn what_the_account_itself_wrote_concerns_it_only_when_it_wrote_to_itself() {
    let concerned = |chat: &str, sender: &str| concerns(&from(chat, sender, wa::Message::text("x")), &me());
    assert!(concerned("491701@s.whatsapp.net", "491701@s.whatsapp.net") && concerned("77@lid", "77:4@lid"));
    assert!(!concerned("491555@s.whatsapp.net", "491701@s.whatsapp.net") && !concerned(GROUP, "77@lid"));
    assert!(concerned(GROUP, "491555@s.whatsapp.net"));
    assert!(!concerned("status@broadcast", "491555@s.whatsapp.net") && !concerned("1@newsletter", "491555@s.whatsapp.net"));
}

#[test]
fn files_are_told_with_all_that_fetching_them_takes() {
    let image = wa::message::ImageMessage {
        direct_path: Some("/v/t62".into()),
        media_key: Some(vec![1; 32]),
        file_sha256: Some(vec![2; 32]),
        file_enc_sha256: Some(vec![3; 32]),
        file_length: Some(4_096),
        mimetype: Some("image/jpeg".into()),
        caption: Some("look".into()),
        ..Default::default()
    };
    let inbound = direct(wa::Message { image_message: MessageField::some(image), ..Default::default() });
    assert_eq!(inbound.text, "look\n<media:image>");
    let media = inbound.media.first().unwrap();
    assert_eq!((media.kind(), media.mime.as_str(), media.bytes), (MediaKind::Image, "image/jpeg", 4_096));
    let params = Reference::read(&media.id).unwrap().params().unwrap();
    assert_eq!((params.direct_path.as_str(), params.media_key.as_deref(), params.file_length), ("/v/t62", Some(&[1; 32][..]), 4_096));
    assert!(Reference::read("{}").is_none());
    let lost = wa::message::AudioMessage { ptt: Some(true), ..Default::default() };
    let lost = from(
        "491555@s.whatsapp.net",
        "491555@s.whatsapp.net",
        wa::Message { audio_message: MessageField::some(lost), ..Default::default() },
    );
    assert_eq!(heard(&lost), None, "a file that nobody can fetch says nothing");
}

#[test]
fn marks_changes_and_things_that_were_taken_back_are_told_in_words() {
    let key = |id: &str| MessageField::some(wa::MessageKey { id: Some(id.to_owned()), ..Default::default() });
    let reaction = |emoji: &str| wa::Message {
        reaction_message: MessageField::some(wa::message::ReactionMessage {
            key: key("T1"),
            text: Some(emoji.into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let marked = direct(reaction("👍"));
    assert_eq!(
        (marked.kind(), marked.text.as_str(), marked.message_id.as_deref()),
        (InboundKind::Reaction, "[reacted to message T1 with 👍]", Some("T1"))
    );
    assert_eq!(heard(&from("491555@s.whatsapp.net", "491555@s.whatsapp.net", reaction(""))), None);
    let protocol = |kind, edited: Option<wa::Message>| wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage {
            key: key("T2"),
            r#type: Some(kind),
            edited_message: edited.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let edited = direct(protocol(Protocol::MessageEdit, Some(wa::Message::text("better"))));
    assert_eq!((edited.kind(), edited.text.as_str(), edited.message_id.as_deref()), (InboundKind::Edit, "better", Some("T2")));
    let revoked = direct(protocol(Protocol::Revoke, None));
    assert_eq!((revoked.kind(), revoked.text.as_str()), (InboundKind::Service, "[took message T2 back]"));
}

#[test]
fn wrapped_messages_and_things_are_read() {
    let inner = MessageField::some(wa::Message::text("soon gone"));
    let wrapped =
        wa::Message { ephemeral_message: MessageField::some(wa::message::FutureProofMessage { message: inner }), ..Default::default() };
    assert_eq!(direct(wrapped).text, "soon gone");
    let place = wa::message::LocationMessage {
        degrees_latitude: Some(52.5),
        degrees_longitude: Some(13.4),
        name: Some("Gate".into()),
        ..Default::default()
    };
    let place = wa::Message { location_message: MessageField::some(place), ..Default::default() };
    assert_eq!(direct(place).text, "[location 52.500000, 13.400000 Gate]");
    let contact = wa::message::ContactMessage {
        display_name: Some("Bob".into()),
        vcard: Some("BEGIN:VCARD\nTEL;waid=491:+49 1\nEND:VCARD".into()),
        ..Default::default()
    };
    let contact = wa::Message { contact_message: MessageField::some(contact), ..Default::default() };
    assert_eq!(direct(contact).text, "[contact: Bob +49 1]");
    assert_eq!(heard(&from("491555@s.whatsapp.net", "491555@s.whatsapp.net", wa::Message::default())), None);
}

#[test]
fn a_vote_says_what_was_chosen() {
    let update = wa::message::PollUpdateMessage {
        poll_creation_message_key: MessageField::some(wa::MessageKey { id: Some("P1".into()), ..Default::default() }),
        ..Default::default()
    };
    let message =
        from(GROUP, "491555@s.whatsapp.net", wa::Message { poll_update_message: MessageField::some(update), ..Default::default() });
    assert_eq!(heard(&message), None, "a vote in somebody else's poll cannot be read");
    let voted = vote(&message, &who(&message), &["tea".to_owned(), "milk".to_owned()]).unwrap();
    assert_eq!((voted.kind(), voted.text.as_str(), voted.message_id.as_deref()), (InboundKind::Vote, "[voted for: tea; milk]", Some("P1")));
    assert_eq!(vote(&message, &who(&message), &[]).unwrap().text, "[took a vote back]");
}
