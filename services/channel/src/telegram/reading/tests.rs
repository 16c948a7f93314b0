use serde_json::{Value, json};

use super::*;

fn reader() -> Reader {
    Reader { me: Me { id: 99, username: Some("Verso_bot".into()) }, mentions: Mentions::new(["hey verso".to_owned()].iter()) }
}

fn read(message: &Value) -> Option<Incoming> {
    read_update(&json!({"update_id": 7, "message": message}))
}

fn read_update(update: &Value) -> Option<Incoming> {
    reader().incoming(Update::read(update.clone())?, None)
}

#[test]
fn a_private_message_is_its_writers() {
    let incoming = read(&json!({
        "message_id": 3, "date": 5, "text": "hello", "chat": {"id": 42, "type": "private"},
        "from": {"id": 42, "first_name": "Ann", "last_name": "Lee", "username": "ann"},
    }))
    .unwrap();
    assert_eq!((incoming.event.as_str(), incoming.peer.as_str(), incoming.sender.as_str()), ("update:7", "42", "42"));
    assert_eq!((incoming.chat, incoming.at_ms, incoming.mentioned), (ChatKind::Direct, 5_000, true));
    assert_eq!(incoming.sender_name.as_deref(), Some("Ann Lee"));
}

#[test]
fn a_group_is_spoken_to_by_name_by_reply_or_by_pattern() {
    let message = |text: &str, more: Value| {
        let mut message = json!({
            "message_id": 3, "date": 5, "text": text, "from": {"id": 42, "first_name": "Ann"},
            "chat": {"id": -100, "type": "supergroup", "title": "Den", "is_forum": true}, "is_topic_message": true, "message_thread_id": 9,
        });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&message).unwrap()
    };
    let by_name = message("ü @verso_BOT hi", json!({"entities": [{"type": "mention", "offset": 2, "length": 10}]}));
    assert!(by_name.mentioned);
    assert_eq!((by_name.thread.as_deref(), by_name.order_key().as_str()), (Some("9"), "-100:topic:9"));
    let quoted = json!({"message_id": 1, "chat": {"id": -100}, "from": {"id": 99}, "text": "earlier"});
    let by_reply = message("yes", json!({"reply_to_message": quoted}));
    assert!(by_reply.mentioned && by_reply.text.contains("earlier"));
    assert!(message("Hey Verso!", json!({})).mentioned);
    assert!(!message("hello @verso_bot2", json!({"entities": [{"type": "mention", "offset": 6, "length": 11}]})).mentioned);
}

#[test]
fn what_has_no_writer_or_no_kind_is_not_read() {
    for message in [
        json!({"message_id": 1, "chat": {"id": 1, "type": "private"}, "text": "x"}),
        json!({"message_id": 1, "chat": {"id": 1}, "from": {"id": 2}, "text": "x"}),
        json!({"message_id": 1, "chat": {"id": 1, "type": "channel"}, "from": {"id": 2}, "text": "x"}),
        json!({"message_id": 1, "chat": {"id": 1, "type": "private"}, "from": {"id": 99, "is_bot": true}, "text": "x"}),
        json!({"message_id": 1, "chat": {"id": 1, "type": "private"}, "from": {"id": 2}}),
        json!("nonsense"),
    ] {
        assert_eq!(read(&message), None, "{message}");
    }
}

#[test]
fn a_button_is_a_message_of_who_pressed_it() {
    let update = read_update(&json!({"update_id": 8, "callback_query": {
        "id": "q", "from": {"id": 7}, "data": "yes", "message": {"message_id": 3, "chat": {"id": -100, "type": "group"}, "from": {"id": 99, "is_bot": true}},
    }}));
    let incoming = update.unwrap();
    assert_eq!((incoming.kind, incoming.sender.as_str(), incoming.text.as_str()), (EventKind::Button, "7", "yes"));
}

#[test]
fn links_behind_words_are_told() {
    let incoming = read(&json!({
        "message_id": 3, "date": 5, "text": "see this now", "chat": {"id": 42, "type": "private"}, "from": {"id": 42},
        "entities": [{"type": "text_link", "offset": 4, "length": 4, "url": "https://x.y"}],
    }));
    assert_eq!(incoming.unwrap().text, "see this (https://x.y) now");
}

#[test]
fn what_comes_along_is_told_by_what_it_is_fetched_by() {
    let message = |more: Value| {
        let mut message = json!({"message_id": 3, "chat": {"id": 42, "type": "private"}, "from": {"id": 42}});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&message).unwrap()
    };
    let photo =
        message(json!({"photo": [{"file_id": "small"}, {"file_id": "large", "file_size": 9}], "caption": "see", "media_group_id": "g"}));
    assert_eq!((photo.text.as_str(), photo.album.as_deref()), ("see\n<media:image>", Some("g")));
    assert_eq!((photo.media[0].kind, photo.media[0].reference.as_str(), photo.media[0].bytes), (MediaKind::Image, "large", Some(9)));
    let animation = json!({"file_id": "a", "mime_type": "video/mp4"});
    let moving = message(json!({"animation": animation, "document": animation}));
    assert_eq!(moving.media.iter().map(|media| media.kind).collect::<Vec<_>>(), [MediaKind::Animation]);
    let sticker = message(json!({"sticker": {"file_id": "s", "emoji": "🙂", "is_animated": true}}));
    assert_eq!((sticker.text.as_str(), sticker.media.len()), ("[sticker: 🙂]", 0));
    let voice = message(json!({"voice": {"file_id": "v", "mime_type": "audio/ogg"}}));
    assert_eq!((voice.text.as_str(), voice.media[0].kind), ("<media:audio>", MediaKind::Voice));
    let place = message(json!({"venue": {"title": "Inn", "address": "Road 1"}, "location": {"latitude": 1.5, "longitude": -2.0}}));
    assert_eq!(place.text, "[place: Inn, Road 1]\n[location 1.500000, -2.000000]");
}

#[test]
fn quotes_and_forwards_say_where_they_come_from() {
    let incoming = read(&json!({
        "message_id": 3, "text": "so?", "chat": {"id": 42, "type": "private"}, "from": {"id": 42},
        "forward_origin": {"type": "user", "date": 0, "sender_user": {"id": 5, "first_name": "Bob"}},
        "reply_to_message": {"message_id": 1, "chat": {"id": 42}, "from": {"id": 42, "first_name": "Ann"}, "text": "a long text"},
        "quote": {"text": "long", "position": 2},
    }));
    let expected = "[Forwarded from Bob at 1970-01-01T00:00:00Z]\nso?\n\n[Quoting Ann id:1]\nlong\n[/Quoting]";
    assert_eq!(incoming.unwrap().text, expected);
}

#[test]
fn a_command_is_for_the_bot_that_it_names() {
    let command = |text: &str| {
        let length = text.split(' ').next().unwrap().len();
        read(&json!({
            "message_id": 3, "text": text, "chat": {"id": -100, "type": "group"}, "from": {"id": 42},
            "entities": [{"type": "bot_command", "offset": 0, "length": length}],
        }))
    };
    let ours = command("/status@verso_bot now").unwrap();
    assert_eq!((ours.text.as_str(), ours.mentioned), ("/status now", true));
    assert!(!command("/status").unwrap().mentioned);
    assert_eq!(command("/status@other_bot"), None);
}

#[test]
fn what_happens_is_told_as_a_note_of_who_did_it() {
    let chat = json!({"id": -100, "type": "supergroup", "title": "Den"});
    let user = json!({"id": 7, "first_name": "Eve"});
    let message = |more: Value| {
        let mut message = json!({"message_id": 3, "chat": chat, "from": user});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let emoji = json!([{"type": "emoji", "emoji": "👍"}]);
    let reaction = |old: &Value, new: &Value| json!({"update_id": 1, "message_reaction": {"chat": chat, "message_id": 3, "user": user, "old_reaction": old, "new_reaction": new}});
    for (update, kind, text) in [
        (json!({"update_id": 1, "edited_message": message(json!({"text": "better"}))}), EventKind::Edit, "[edited message 3] better"),
        (reaction(&json!([]), &emoji), EventKind::Reaction, "[reacted to message 3 with 👍]"),
        (
            json!({"update_id": 1, "message": message(json!({"new_chat_members": [{"id": 8, "first_name": "Bob"}]}))}),
            EventKind::Service,
            "[Bob joined the group]",
        ),
        (json!({"update_id": 1, "message": message(json!({"left_chat_member": {"id": 8}}))}), EventKind::Service, "[8 left the group]"),
    ] {
        let incoming = read_update(&update).unwrap();
        assert_eq!((incoming.kind, incoming.text.as_str(), incoming.sender.as_str(), incoming.peer.as_str()), (kind, text, "7", "-100"));
        assert!(kind.is_note());
    }
    assert_eq!(read_update(&reaction(&emoji, &json!([]))), None, "what is taken back is not told");
    let vote = json!({"update_id": 1, "poll_answer": {"poll_id": "p", "user": user, "option_ids": [1, 9]}});
    assert_eq!(read_update(&vote), None, "a poll that nobody knows");
    let poll = KnownPoll { to: Address { peer: "-100".into(), thread: Some("4".into()) }, options: vec!["a".into(), "b".into()] };
    let vote = reader().incoming(Update::read(vote).unwrap(), Some(&poll)).unwrap();
    assert_eq!((vote.text.as_str(), vote.order_key().as_str(), vote.chat), ("[voted for: b]", "-100:topic:4", ChatKind::Group));
}
