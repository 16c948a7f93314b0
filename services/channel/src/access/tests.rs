use serde_json::json;

use super::*;
use crate::message::EventKind;

fn profile(settings: Value) -> Profile {
    serde_json::from_value(settings).unwrap()
}

fn incoming(chat: ChatKind, peer: &str, sender: &str, mentioned: bool) -> Incoming {
    Incoming {
        event: "1".into(),
        kind: EventKind::Message,
        chat,
        peer: peer.into(),
        thread: None,
        title: Some("42".into()),
        sender: sender.into(),
        sender_name: Some("Ann".into()),
        text: "hi".into(),
        message_id: None,
        mentioned,
        at_ms: 0,
        media: Vec::new(),
        album: None,
        may_go_on: false,
    }
}

const OWNER: Verdict = Verdict::Admit { authorized: true };
const GUEST: Verdict = Verdict::Admit { authorized: false };

#[test]
fn direct_messages_follow_their_policy() {
    for (settings, paired, expected) in [
        (json!({}), false, Verdict::OfferPairing),
        (json!({}), true, OWNER),
        (json!({"allowFrom": ["42"]}), false, OWNER),
        (json!({"allowFrom": [42]}), false, OWNER),
        (json!({"allowFrom": ["tg:42"]}), false, OWNER),
        (json!({"dmPolicy": "allowlist", "allowFrom": ["43"]}), true, Verdict::Ignore("the sender is not in allowFrom")),
        (json!({"dmPolicy": "open"}), false, Verdict::Ignore("the sender is not in allowFrom")),
        (json!({"dmPolicy": "open", "allowFrom": ["*"]}), false, GUEST),
        (json!({"dmPolicy": "disabled", "allowFrom": ["42"]}), true, Verdict::Ignore("direct messages are turned off")),
    ] {
        assert_eq!(
            judge(&profile(settings.clone()), &incoming(ChatKind::Direct, "42", "42", true), paired),
            expected,
            "{settings} {paired}"
        );
    }
}

#[test]
fn sec_62_names_that_people_choose_let_nobody_in() {
    for listed in ["Ann", "@ann", "ann", "42 ", "the group"] {
        let settings = profile(json!({"dmPolicy": "allowlist", "allowFrom": [listed], "groupAllowFrom": [listed]}));
        let mut message = incoming(ChatKind::Direct, "7", "7", true);
        message.sender_name = Some(listed.to_owned());
        message.title = Some(listed.to_owned());
        assert!(matches!(judge(&settings, &message, false), Verdict::Ignore(_)), "{listed}");
        message.chat = ChatKind::Group;
        assert!(matches!(judge(&settings, &message, false), Verdict::Ignore(_)), "{listed}");
    }
}

#[test]
fn sec_63_a_code_opens_no_group_and_a_wildcard_makes_nobody_an_owner() {
    let group = incoming(ChatKind::Group, "-100", "42", true);
    assert!(matches!(judge(&profile(json!({})), &group, true), Verdict::Ignore(_)));
    for settings in [json!({"groupAllowFrom": ["*"]}), json!({"groupPolicy": "open"})] {
        assert_eq!(judge(&profile(settings.clone()), &group, true), GUEST, "{settings}");
    }
}

#[test]
fn sec_64_buttons_pass_the_policy_of_messages() {
    for kind in [EventKind::Message, EventKind::Button] {
        let stranger = Incoming { kind, ..incoming(ChatKind::Direct, "7", "7", true) };
        assert_eq!(
            judge(&profile(json!({"dmPolicy": "allowlist", "allowFrom": ["42"]})), &stranger, false),
            Verdict::Ignore("the sender is not in allowFrom")
        );
        let stranger = Incoming { chat: ChatKind::Group, peer: "-100".into(), ..stranger };
        assert!(matches!(judge(&profile(json!({"groupAllowFrom": ["42"]})), &stranger, false), Verdict::Ignore(_)), "{kind:?}");
    }
}

#[test]
fn groups_are_listened_to_when_listed_and_mentioned() {
    let message = |mentioned| incoming(ChatKind::Group, "-100", "42", mentioned);
    for (settings, mentioned, expected) in [
        (json!({"groupAllowFrom": ["42"]}), true, OWNER),
        (json!({"groupAllowFrom": ["42"]}), false, Verdict::Overhear),
        (json!({"allowFrom": ["42"]}), true, OWNER),
        (json!({"groupPolicy": "open", "groups": {"-100": {"requireMention": false}}}), false, GUEST),
        (json!({"groupPolicy": "open", "groups": {"-200": {}}}), true, Verdict::Ignore("the group is not in groups")),
        (json!({"groupPolicy": "open", "groups": {"*": {}}}), true, GUEST),
        (json!({"groupPolicy": "open", "groups": {"-100": {"enabled": false}}}), true, Verdict::Ignore("the group is turned off")),
        (
            json!({"groupPolicy": "open", "groups": {"-100": {"allowFrom": ["7"]}}}),
            true,
            Verdict::Ignore("the sender is not in groupAllowFrom"),
        ),
        (json!({"groupPolicy": "disabled", "groupAllowFrom": ["42"]}), true, Verdict::Ignore("groups are turned off")),
    ] {
        assert_eq!(judge(&profile(settings.clone()), &message(mentioned), false), expected, "{settings} {mentioned}");
    }
}

#[test]
fn sec_65_a_message_that_names_no_sender_or_chat_is_not_let_in() {
    let open = profile(json!({"dmPolicy": "open", "allowFrom": ["*"], "groupPolicy": "open"}));
    for (peer, sender) in [("", "42"), ("42", ""), (" ", " ")] {
        for chat in [ChatKind::Direct, ChatKind::Group] {
            assert!(matches!(judge(&open, &incoming(chat, peer, sender, true), true), Verdict::Ignore(_)));
        }
    }
}
