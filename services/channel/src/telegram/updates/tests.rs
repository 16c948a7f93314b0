use serde_json::json;

use super::*;

fn me() -> Me {
    Me { id: 99, username: Some("Verso_bot".into()) }
}

fn read(message: &Value) -> Option<Incoming> {
    Update::read(json!({"update_id": 7, "message": message}))?.incoming(&me(), &["hey verso".to_owned()])
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
    let update = Update::read(json!({"update_id": 8, "callback_query": {
        "id": "q", "from": {"id": 7}, "data": "yes", "message": {"message_id": 3, "chat": {"id": -100, "type": "group"}, "from": {"id": 99, "is_bot": true}},
    }}));
    let incoming = update.unwrap().incoming(&me(), &[]).unwrap();
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
