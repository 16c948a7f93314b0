use serde_json::json;

use super::*;

fn origin<'a>(account: &'a str, kind: &'a str, peer: &'a str) -> Origin<'a> {
    Origin { channel: "telegram", account, kind, peer, thread: None }
}

fn routing(bindings: serde_json::Value) -> Routing {
    Routing { bindings: serde_json::from_value(bindings).unwrap(), ..Routing::default() }
}

#[test]
fn the_most_particular_binding_wins() {
    let routing = routing(json!([
        {"agentId": "any", "match": {"channel": "telegram", "accountId": "*"}},
        {"agentId": "home", "match": {"channel": "telegram"}},
        {"agentId": "work", "match": {"channel": "Telegram", "accountId": "work"}},
        {"agentId": "den", "match": {"channel": "telegram", "accountId": "*", "peer": {"kind": "group", "id": "-100"}}},
        {"agentId": "topic", "match": {"channel": "telegram", "accountId": "*", "peer": {"kind": "group", "id": "-100:topic:9"}}},
        {"agentId": "other", "match": {"channel": "irc", "accountId": "*"}},
    ]));
    let named = |origin: &Origin<'_>| routing.agent(origin).map(|agent| agent.to_string());
    assert_eq!(named(&origin("default", "dm", "1")).as_deref(), Some("home"));
    assert_eq!(named(&origin("work", "dm", "1")).as_deref(), Some("work"));
    assert_eq!(named(&origin("third", "dm", "1")).as_deref(), Some("any"));
    assert_eq!(named(&origin("default", "group", "-100")).as_deref(), Some("den"));
    assert_eq!(named(&Origin { thread: Some("9"), ..origin("default", "group", "-100") }).as_deref(), Some("topic"));
    assert_eq!(named(&Origin { thread: Some("8"), ..origin("default", "group", "-100") }).as_deref(), Some("den"));
    assert_eq!(named(&origin("default", "dm", "-100")).as_deref(), Some("home"));
    assert_eq!(named(&Origin { channel: "slack", ..origin("default", "dm", "1") }), None);
}

#[test]
fn direct_chats_become_conversations_by_their_scope() {
    let links = BTreeMap::from([("Ann".to_owned(), vec!["telegram:42".to_owned(), "+1555".to_owned()])]);
    for (scope, peer, expected) in [
        (DirectScope::Main, "42", None),
        (DirectScope::PerPeer, "42", Some("dm:ann")),
        (DirectScope::PerPeer, "43", Some("dm:43")),
        (DirectScope::PerChannelPeer, "+1555", Some("telegram:dm:ann")),
        (DirectScope::PerAccountChannelPeer, "AbC", Some("telegram:work:dm:abc")),
        (DirectScope::PerPeer, " ", None),
    ] {
        let routing = Routing { direct_scope: scope, identity_links: links.clone(), ..Routing::default() };
        assert_eq!(routing.conversation(&origin("Work", "dm", peer)).as_deref(), expected, "{scope:?} {peer}");
    }
}

#[test]
fn groups_have_conversations_of_their_own() {
    let routing = Routing::default();
    assert_eq!(routing.conversation(&origin("default", "group", "-100")).as_deref(), Some("telegram:group:-100"));
    let topic = Origin { thread: Some("9"), ..origin("default", "group", "-100") };
    assert_eq!(routing.conversation(&topic).as_deref(), Some("telegram:group:-100:topic:9"));
}
