use serde_json::{Value, json};

use super::*;

const ALL: [&str; 16] = [
    "read",
    "write",
    "edit",
    "apply_patch",
    "exec",
    "process",
    "web_search",
    "web_fetch",
    "memory_search",
    "memory_get",
    "sessions_list",
    "sessions_spawn",
    "session_status",
    "cron",
    "message",
    "mcp__files__list",
];

fn rules(value: Value) -> Rules {
    serde_json::from_value(value).unwrap()
}

fn permitted(situation: &Situation<'_>) -> Vec<String> {
    situation.permitted(&ALL)
}

fn under(global: Value) -> Vec<String> {
    permitted(&Situation { provider: "mock", model: "m-1", global: rules(global), ..Situation::default() })
}

#[test]
fn profiles_are_those_of_the_reference() {
    assert_eq!(under(json!({"profile": "minimal"})), ["session_status"]);
    assert_eq!(under(json!({"profile": "messaging"})), ["sessions_list", "session_status", "message"]);
    let coding = under(json!({"profile": "coding"}));
    assert!(coding.contains(&"exec".to_owned()) && coding.contains(&"memory_get".to_owned()));
    assert!(!coding.contains(&"web_fetch".to_owned()) && !coding.contains(&"cron".to_owned()));
    assert_eq!(under(json!({"profile": "full"})), ALL);
    assert_eq!(under(json!({"profile": "unheard-of"})), ["session_status"]);
    assert_eq!(under(json!({"profile": "minimal", "alsoAllow": ["group:web"]})), ["web_search", "web_fetch", "session_status"]);
}

#[test]
fn deny_wins_and_an_empty_list_allows_all() {
    assert_eq!(under(json!({"allow": []})), ALL);
    assert_eq!(under(json!({"allow": ["read", "exec"], "deny": ["READ"]})), ["apply_patch", "exec"]);
    assert_eq!(under(json!({"allow": ["bash"]})), ["apply_patch", "exec"]);
    assert_eq!(under(json!({"allow": ["web_*"]})), ["web_search", "web_fetch"]);
    assert_eq!(under(json!({"deny": ["*"]})), Vec::<String>::new());
    assert_eq!(under(json!({"allow": ["made-up-plugin"]})), ALL, "a list of unknown names is ignored");
    assert!(!under(json!({"deny": ["group:plugins"]})).contains(&"mcp__files__list".to_owned()));
}

#[test]
fn a_provider_and_a_model_have_rules_of_their_own() {
    let by_provider = json!({"byProvider": {"mock": {"deny": ["exec"]}, "mock/m-1": {"profile": "minimal", "alsoAllow": ["read"]}}});
    assert_eq!(under(by_provider.clone()), ["read", "session_status"]);
    let other = permitted(&Situation { provider: "mock", model: "m-2", global: rules(by_provider), ..Situation::default() });
    assert!(!other.contains(&"exec".to_owned()) && other.contains(&"write".to_owned()));
}

#[test]
fn every_stage_can_only_narrow() {
    let situation = Situation {
        global: rules(json!({"deny": ["exec"]})),
        agent: rules(json!({"allow": ["exec", "read", "cron"]})),
        group: vec![rules(json!({"deny": ["cron"]})), rules(json!({"allow": ["*"]}))],
        ..Situation::default()
    };
    assert_eq!(permitted(&situation), ["read", "apply_patch"], "whoever may run programs may patch files");
}

#[test]
fn subagents_and_sandboxes_have_limits_that_can_be_lifted_by_name() {
    let situation = Situation { subagent: Some(Rules::default()), ..Situation::default() };
    let names = permitted(&situation);
    for denied in ["sessions_spawn", "sessions_list", "session_status", "cron", "memory_search"] {
        assert!(!names.contains(&denied.to_owned()), "{denied}");
    }
    let lifted = Situation { subagent: Some(rules(json!({"alsoAllow": ["memory_search"]}))), ..Situation::default() };
    assert!(permitted(&lifted).contains(&"memory_search".to_owned()));
    let sandboxed = permitted(&Situation { sandbox: Some(Rules::default()), ..Situation::default() });
    assert!(
        sandboxed.contains(&"exec".to_owned()) && !sandboxed.contains(&"web_fetch".to_owned()) && !sandboxed.contains(&"cron".to_owned())
    );
}

#[test]
fn sec_23_http_callers_reach_no_tool_that_runs_writes_or_administers() {
    for name in ["exec", "bash", "read", "write", "process", "sessions_spawn", "sessions_send", "cron", "gateway", "nodes", "Apply-Patch"] {
        assert!(!http_permits(name, false, &[], &[]), "{name}");
    }
    for name in ["session_status", "web_fetch", "memory_search"] {
        assert!(http_permits(name, false, &[], &[]), "{name}");
    }
    assert!(http_permits("cron", true, &[], &[]) && http_permits("cron", false, &[], &["cron".to_owned()]));
    assert!(!http_permits("exec", true, &[], &["exec".to_owned()]), "no setting brings the host's own tools to HTTP");
    assert!(!http_permits("web_fetch", true, &["web_fetch".to_owned()], &[]));
}

#[test]
fn a_star_stands_for_anything_in_between() {
    for (pattern, name, fits) in [
        ("a*c", "abc", true),
        ("a*c", "abcc", true),
        ("a*c", "abcd", false),
        ("*", "", true),
        ("a", "ab", false),
        ("*b*", "abc", true),
        ("ab*ab", "ab", false),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
    }
}
