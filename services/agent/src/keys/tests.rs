use super::*;

fn naming() -> Naming {
    Naming::new(AgentId::normalize("main"), None, None)
}

#[test]
fn normalizes_agent_ids() {
    for (raw, id) in [
        ("Ops Bot!", "ops-bot"),
        ("--a--", "a"),
        ("ÄÖ", "main"),
        ("A_b-9", "a_b-9"),
        ("_x", "_x"),
        ("9.a", "9-a"),
        ("  ", "main"),
        ("", "main"),
    ] {
        assert_eq!(AgentId::normalize(raw).as_str(), id, "{raw:?}");
    }
    assert_eq!(AgentId::normalize(&"x".repeat(70)).as_str(), "x".repeat(64));
}

#[test]
fn parses_only_agent_keys() {
    for key in ["agent::main", "agent:main", "main", "AGENT:x:y", "", "agent"] {
        assert_eq!(parse(key), None, "{key:?}");
    }
    assert_eq!(parse("agent:Main:Foo:Bar"), Some(("Main", "Foo:Bar")));
    assert_eq!(naming().agent_of("agent:Main:Foo:Bar").as_str(), "main");
    assert_eq!(naming().agent_of("AGENT:x:y").as_str(), "main");
}

#[test]
fn brings_request_keys_into_canonical_form() {
    let ops = AgentId::normalize("ops");
    for (raw, key) in [
        ("main", "agent:ops:main"),
        ("MAIN", "agent:ops:main"),
        ("", "agent:ops:main"),
        ("foo", "agent:ops:foo"),
        ("hook:abc", "agent:ops:hook:abc"),
        ("subagent:x", "agent:ops:subagent:x"),
        ("agent:ops:Foo:BAR", "agent:ops:foo:bar"),
        ("global", "global"),
        ("Unknown", "unknown"),
        ("telegram:group:-100", "agent:ops:telegram:group:-100"),
    ] {
        assert_eq!(naming().resolve(raw, &ops).unwrap().as_str(), key, "{raw:?}");
    }
}

#[test]
fn every_alias_of_the_main_session_is_one_key() {
    let naming = Naming::new(AgentId::normalize("main"), Some(" Home "), None);
    for raw in ["main", "home", "agent:main:main", "agent:main:home", "AGENT:main:HOME"] {
        let key = naming.resolve(raw, &naming.default_agent).unwrap();
        assert_eq!(key.as_str(), "agent:main:home", "{raw:?}");
    }
    let shared = Naming::new(AgentId::normalize("main"), None, Some("global"));
    for raw in ["main", "agent:main:main", "agent:second:main"] {
        assert_eq!(shared.resolve(raw, &shared.default_agent).unwrap().as_str(), "global", "{raw:?}");
    }
}

#[test]
fn tells_what_a_session_is() {
    for (key, kind, channel) in [
        ("global", "global", None),
        ("unknown", "unknown", None),
        ("agent:main:main", "direct", None),
        ("agent:main:telegram:group:-100", "group", Some("telegram")),
        ("agent:main:slack:channel:c1:thread:1700.5", "group", Some("slack")),
    ] {
        let key = SessionKey::stored(key);
        assert_eq!((key.kind(), key.channel()), (kind, channel), "{key}");
    }
}

#[test]
fn refuses_a_key_without_end() {
    assert!(naming().resolve(&"k".repeat(513), &AgentId::normalize("main")).is_err());
}
