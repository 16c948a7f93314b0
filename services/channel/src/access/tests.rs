use serde_json::json;

use super::*;

fn profile(settings: Value) -> Profile {
    serde_json::from_value(settings).unwrap()
}

fn incoming(chat: ChatKind, peer: &str, sender: &str, mentioned: bool) -> Incoming {
    let base = Incoming::new("1".into(), EventKind::Message, (chat, peer.into()), sender.into(), "hi".into());
    Incoming { title: Some("42".into()), sender_name: Some("Ann".into()), mentioned, ..base }
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

const KINDS: [EventKind; 6] =
    [EventKind::Message, EventKind::Button, EventKind::Edit, EventKind::Reaction, EventKind::Vote, EventKind::Service];

#[test]
fn sec_64_every_kind_of_event_passes_the_policy_of_messages() {
    let listed = json!({"dmPolicy": "allowlist", "allowFrom": ["42"], "groupAllowFrom": ["42"]});
    for kind in KINDS {
        for (settings, sender, direct_is_heard, group_is_heard) in [
            (listed.clone(), "42", true, true),
            (listed.clone(), "7", false, false),
            (json!({"dmPolicy": "disabled", "groupPolicy": "disabled", "allowFrom": ["42"]}), "42", false, false),
            (json!({"allowFrom": ["42"], "groups": {"-200": {}}}), "42", true, false),
            (json!({"allowFrom": ["42"], "groups": {"-100": {"allowFrom": ["8"]}}}), "42", true, false),
            (json!({"allowFrom": ["42"], "groups": {"-100": {"topics": {"5": {"enabled": false}}}}}), "42", true, false),
            (json!({"dmPolicy": "pairing", "groupPolicy": "allowlist"}), "7", false, false),
        ] {
            let direct = Incoming { kind, ..incoming(ChatKind::Direct, sender, sender, true) };
            let heard = |verdict| matches!(verdict, Verdict::Admit { .. });
            assert_eq!(heard(judge(&profile(settings.clone()), &direct, false)), direct_is_heard, "{kind:?} {settings}");
            let group = Incoming { thread: Some("5".into()), ..Incoming { kind, ..incoming(ChatKind::Group, "-100", sender, true) } };
            assert_eq!(heard(judge(&profile(settings.clone()), &group, true)), group_is_heard, "{kind:?} {settings}");
        }
        let stranger = Incoming { kind, ..incoming(ChatKind::Direct, "7", "7", true) };
        let offers = judge(&profile(json!({})), &stranger, false) == Verdict::OfferPairing;
        assert_eq!(offers, kind == EventKind::Message, "only who says something is offered a code: {kind:?}");
    }
}

#[test]
fn sec_52_a_button_counts_for_who_presses_it() {
    let press = |chat, peer: &str, sender: &str, says: &str| Incoming {
        kind: EventKind::Button,
        text: says.into(),
        ..incoming(chat, peer, sender, true)
    };
    let approve = "/approve 12345678 allow-once";
    // The group hears everybody; only one of them may approve.
    let settings = json!({"allowFrom": ["42"], "groupPolicy": "open", "capabilities": {"inlineButtons": "all"}});
    assert_eq!(judge(&profile(settings.clone()), &press(ChatKind::Group, "-100", "42", approve), false), OWNER);
    for says in [approve, " /approve 12345678 deny", "/status"] {
        let verdict = judge(&profile(settings.clone()), &press(ChatKind::Group, "-100", "7", says), false);
        assert_eq!(verdict, Verdict::Ignore("the sender may not give commands"), "{says}");
    }
    assert_eq!(judge(&profile(settings), &press(ChatKind::Group, "-100", "7", "more, please"), false), GUEST);
    // A wildcard makes nobody an approver.
    let open = json!({"dmPolicy": "open", "allowFrom": ["*"], "capabilities": {"inlineButtons": "all"}});
    assert!(matches!(judge(&profile(open), &press(ChatKind::Direct, "7", "7", approve), false), Verdict::Ignore(_)));
    for (buttons, chat, heard) in [
        ("off", ChatKind::Direct, false),
        ("dm", ChatKind::Direct, true),
        ("dm", ChatKind::Group, false),
        ("group", ChatKind::Group, true),
        ("allowlist", ChatKind::Group, true),
    ] {
        let settings = json!({"allowFrom": ["42"], "capabilities": {"inlineButtons": buttons}});
        let peer = if chat == ChatKind::Direct { "42" } else { "-100" };
        let verdict = judge(&profile(settings), &press(chat, peer, "42", approve), false);
        assert_eq!(verdict == OWNER, heard, "{buttons} {chat:?}");
    }
}

#[test]
fn topics_differ_from_their_group_and_commands_need_no_mention() {
    let settings =
        json!({"groupPolicy": "open", "groupAllowFrom": ["42"], "groups": {"-100": {"topics": {"5": {"requireMention": false}}}}});
    let in_topic = |thread: &str, sender: &str, text: &str| Incoming {
        thread: Some(thread.into()),
        text: text.into(),
        ..incoming(ChatKind::Group, "-100", sender, false)
    };
    assert_eq!(judge(&profile(settings.clone()), &in_topic("5", "7", "hi"), false), GUEST);
    assert_eq!(judge(&profile(settings.clone()), &in_topic("6", "7", "hi"), false), Verdict::Overhear);
    assert_eq!(judge(&profile(settings.clone()), &in_topic("6", "42", "/status"), false), OWNER);
    assert_eq!(judge(&profile(settings), &in_topic("6", "7", "/status"), false), Verdict::Overhear);
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
fn a_group_s_own_word_on_mentions_comes_before_the_configuration_and_lets_nobody_in() {
    let quiet = |settings: Value, sender: &str, told| {
        let message = incoming(ChatKind::Group, "-100", sender, false);
        let verdict = judge(&profile(settings.clone()), &message, false);
        if hangs_on_mention(&message, verdict) { judge_with(&profile(settings), &message, false, told) } else { verdict }
    };
    let listed = json!({"groupAllowFrom": ["42"]});
    assert_eq!(quiet(listed.clone(), "42", Some(false)), OWNER);
    assert_eq!(quiet(listed.clone(), "42", Some(true)), Verdict::Overhear);
    assert!(matches!(quiet(listed, "7", Some(false)), Verdict::Ignore(_)), "somebody who is not listed stays so");
    let open = json!({"groupPolicy": "open", "groups": {"-100": {"requireMention": false}}});
    assert_eq!((quiet(open.clone(), "7", Some(true)), quiet(open, "7", None)), (Verdict::Overhear, GUEST));
}

#[test]
fn telephone_numbers_are_listed_as_people_write_them() {
    let verdict = |listed: Value, sender: &str| {
        let settings = profile(json!({"dmPolicy": "allowlist", "allowFrom": [listed]}));
        judge(&settings, &incoming(ChatKind::Direct, sender, sender, true), false)
    };
    for listed in [json!("+4930123456"), json!("whatsapp:+49 30 123456"), json!("49 (30) 123-456"), json!(4_930_123_456_u64)] {
        assert_eq!(verdict(listed.clone(), "+4930123456"), OWNER, "{listed}");
    }
    for listed in [json!("+493012345"), json!("Ann 4930123456"), json!("")] {
        assert!(matches!(verdict(listed.clone(), "+4930123456"), Verdict::Ignore(_)), "{listed}");
    }
    assert!(matches!(verdict(json!("4-2"), "42"), Verdict::Ignore(_)), "other ids are compared as they are");
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
