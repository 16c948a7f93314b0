//! What a connected peer may call and receive.

use serde_json::json;
use serde_json::value::RawValue;
use verso_proto::methods::{DynamicScopeRule, EventKind, Method, Role, Scope, find};

use super::{ScopeSet, scope_name};
use crate::{Code, ErrorShape, Object, Version};

/// The kind of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRole {
    /// A person's client.
    Operator,
    /// A device that offers capabilities.
    Node,
}

impl PeerRole {
    /// Reads `connect.role`; absent means operator.
    pub fn parse(role: Option<&str>) -> Result<Self, ErrorShape> {
        match role {
            None | Some("operator") => Ok(Self::Operator),
            Some("node") => Ok(Self::Node),
            Some(_) => Err(ErrorShape::invalid("invalid role")),
        }
    }

    /// The role as written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Node => "node",
        }
    }
}

/// What decides over a peer's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The negotiated version.
    pub version: Version,
    /// Its kind.
    pub role: PeerRole,
    /// What it was granted; nothing for a node.
    pub scopes: ScopeSet,
}

/// Finds the method that a peer calls, or says why it may not: role first, then scope, then existence.
///
/// The errors are in their widest form, for [`Adapter::error`](crate::Adapter::error).
pub fn authorize(peer: Peer, name: &str, params: Option<&RawValue>) -> Result<&'static Method, ErrorShape> {
    if name == "connect" {
        return Err(ErrorShape::invalid("connect is only valid as the first request"));
    }
    decide(peer, name, find(name), params)
}

fn decide<'m>(peer: Peer, name: &str, method: Option<&'m Method>, params: Option<&RawValue>) -> Result<&'m Method, ErrorShape> {
    match peer.role {
        PeerRole::Node => match method {
            Some(method) if method.role != Role::Operator => Ok(method),
            // Node hosts of protocol 4 take this text for "older gateway" and go on quietly.
            None if peer.version == Version::V4 && name.starts_with("node.") => Err(unknown(name)),
            _ => Err(unauthorized(peer.role)),
        },
        PeerRole::Operator => {
            if method.is_some_and(|method| method.role == Role::Node) {
                return Err(unauthorized(peer.role));
            }
            // A method that nobody has listed needs admin.
            let needed = method.map_or(Scope::Admin, |method| scope_of(method, peer.version, params));
            if !peer.scopes.holds(needed) {
                return Err(missing(needed));
            }
            method.ok_or_else(|| unknown(name))
        }
    }
}

/// The scope of one call: the method's own, unless the contract's rule about its content applies.
fn scope_of(method: &Method, version: Version, params: Option<&RawValue>) -> Scope {
    match &method.dynamic_scope {
        Some(rule) if applies(rule, params) => rule.scope,
        _ => method.scope_v3.filter(|_| version == Version::V3).unwrap_or(method.scope),
    }
}

fn applies(rule: &DynamicScopeRule, params: Option<&RawValue>) -> bool {
    let Some(params) = params.and_then(|params| Object::parse(params.get())) else { return false };
    let first_word_matches = || {
        let text = params.text(rule.field).unwrap_or_default();
        let word = text.split_whitespace().next().unwrap_or_default();
        rule.first_words.iter().any(|wanted| wanted.eq_ignore_ascii_case(word))
    };
    let only_listed_members = || {
        let mut changes = params.iter().map(|(name, _)| name).filter(|name| !rule.subject_members.contains(name)).peekable();
        changes.peek().is_some() && changes.all(|name| rule.only_members.contains(&name))
    };
    let by_word = !rule.first_words.is_empty();
    let by_members = !rule.only_members.is_empty();
    (by_word || by_members) && (!by_word || first_word_matches()) && (!by_members || only_listed_members())
}

/// Whether a peer may see an event of this kind.
pub const fn may_receive(peer: Peer, kind: &EventKind) -> bool {
    match (peer.role, kind.scope) {
        (_, Scope::Unspecified) => false,
        (PeerRole::Node, _) => kind.nodes,
        (PeerRole::Operator, scope) => peer.scopes.holds(scope),
    }
}

fn unauthorized(role: PeerRole) -> ErrorShape {
    ErrorShape::invalid(format!("unauthorized role: {}", role.as_str()))
}

fn unknown(name: &str) -> ErrorShape {
    ErrorShape::invalid(format!("unknown method: {name}"))
}

fn missing(scope: Scope) -> ErrorShape {
    missing_scope(scope_name(scope).unwrap_or_default())
}

/// The error of a caller who lacks the scope of this name.
pub fn missing_scope(name: &str) -> ErrorShape {
    ErrorShape::new(Code::Forbidden, format!("missing scope: {name}"))
        .with_details(&json!({"code": "MISSING_SCOPE", "missingScope": name, "requiredScopes": [name]}))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::value::to_raw_value;
    use verso_proto::methods::{METHODS, Retry};

    use super::*;
    use crate::Adapter;

    fn operator(scope: &str) -> Peer {
        Peer { version: Version::V4, role: PeerRole::Operator, scopes: ScopeSet::from_names(&[scope]) }
    }

    fn node(version: Version) -> Peer {
        Peer { version, role: PeerRole::Node, scopes: ScopeSet::default() }
    }

    fn row(role: Role, scope: Scope) -> Method {
        Method {
            name: "kit.row",
            service: "",
            path: "",
            scope,
            role,
            retry: Retry::Never,
            streaming: false,
            since: 3,
            listed: true,
            timeout_ms: 1,
            control_write: false,
            scope_v3: None,
            dynamic_scope: None,
            callers: &["edge"],
            params_schema: "{}",
            result_schema: "{}",
            transcode: None,
        }
    }

    fn outcome(result: Result<&Method, ErrorShape>) -> String {
        result.map_or_else(|error| error.message.into_owned(), |method| method.name.to_owned())
    }

    fn call(peer: Peer, method: &str, params: &Value) -> String {
        outcome(authorize(peer, method, Some(&to_raw_value(params).unwrap())))
    }

    #[test]
    fn asks_for_the_scope_before_existence() {
        let table = [
            ("operator.read", "node.list", "node.list"),
            ("operator.read", "chat.send", "missing scope: operator.write"),
            ("operator.write", "chat.history", "chat.history"),
            ("operator.write", "kit.nope", "missing scope: operator.admin"),
            ("operator.admin", "kit.nope", "unknown method: kit.nope"),
            ("operator.admin", "", "unknown method: "),
            ("operator.approvals", "device.pair.list", "missing scope: operator.pairing"),
            ("operator.pairing", "device.pair.list", "device.pair.list"),
            ("operator.admin", "connect", "connect is only valid as the first request"),
        ];
        for (scope, method, expected) in table {
            assert_eq!(call(operator(scope), method, &json!({})), expected, "{scope} {method}");
        }
    }

    #[test]
    fn the_command_in_a_message_can_raise_the_scope() {
        for (message, raised) in
            [("/new", true), ("  /RESET now", true), ("/new\tpage", true), ("/newer", false), ("say /new", false), ("", false)]
        {
            let expected = if raised { "missing scope: operator.admin" } else { "agent" };
            assert_eq!(call(operator("operator.write"), "agent", &json!({"message": message})), expected, "{message:?}");
            assert_eq!(call(operator("operator.admin"), "agent", &json!({"message": message})), "agent");
        }
        assert_eq!(call(operator("operator.write"), "agent", &json!([])), "agent", "left to the schema");
    }

    #[test]
    fn the_members_of_a_call_can_lower_the_scope() {
        let rule =
            DynamicScopeRule { field: "", first_words: &[], only_members: &["label"], subject_members: &["key"], scope: Scope::Write };
        let method = Method { dynamic_scope: Some(rule), ..row(Role::Operator, Scope::Admin) };
        for (params, expected) in [
            (json!({"key": "main", "label": "x"}), "kit.row"),
            (json!({"key": "main", "label": "x", "deny": true}), "missing scope: operator.admin"),
            (json!({"key": "main"}), "missing scope: operator.admin"),
        ] {
            let raw = to_raw_value(&params).unwrap();
            assert_eq!(outcome(decide(operator("operator.write"), "kit.row", Some(&method), Some(&raw))), expected, "{params}");
        }
    }

    #[test]
    fn tidying_sessions_asks_for_less_than_governing_them() {
        for (params, expected) in [
            (json!({"key": "main", "label": null}), "sessions.patch"),
            (json!({"key": "main", "agentId": "main", "model": "acme/one", "thinkingLevel": "low"}), "sessions.patch"),
            (json!({"key": "main", "sendPolicy": null}), "missing scope: operator.admin"),
            (json!({"key": "main", "label": "x", "execSecurity": "full"}), "missing scope: operator.admin"),
        ] {
            assert_eq!(call(operator("operator.write"), "sessions.patch", &params), expected, "{params}");
        }
    }

    #[test]
    fn sec_19_no_role_calls_the_methods_of_the_other() {
        for method in METHODS.iter().filter(|method| !method.name.is_empty() && method.name != "connect") {
            let expected = if method.role == Role::Operator { "unauthorized role: node" } else { method.name };
            assert_eq!(outcome(authorize(node(Version::V3), method.name, None)), expected);
            let expected = if method.role == Role::Node { "unauthorized role: operator" } else { method.name };
            assert_eq!(outcome(authorize(operator("operator.admin"), method.name, None)), expected);
        }
        let (nodes_only, both) = (row(Role::Node, Scope::Any), row(Role::Either, Scope::Read));
        assert_eq!(outcome(decide(operator("operator.admin"), "x", Some(&nodes_only), None)), "unauthorized role: operator");
        assert_eq!(outcome(decide(node(Version::V3), "x", Some(&nodes_only), None)), "kit.row");
        assert_eq!(outcome(decide(node(Version::V3), "x", Some(&both), None)), "kit.row");
    }

    #[test]
    fn sec_19_every_method_asks_for_a_scope() {
        let nobody = Peer { version: Version::V3, role: PeerRole::Operator, scopes: ScopeSet::default() };
        for method in METHODS.iter().filter(|method| !method.name.is_empty() && method.role == Role::Operator) {
            assert_ne!(method.scope, Scope::Unspecified, "{}", method.name);
            let open = authorize(nobody, method.name, None).is_ok();
            assert_eq!(open, method.scope == Scope::Any, "{}", method.name);
        }
    }

    #[test]
    fn a_node_learns_quietly_what_it_may_not_call() {
        for (version, method, expected) in [
            (Version::V4, "node.future", "unknown method: node.future"),
            (Version::V3, "node.future", "unauthorized role: node"),
            (Version::V4, "kit.nope", "unauthorized role: node"),
            (Version::V4, "node.list", "unauthorized role: node"),
        ] {
            assert_eq!(call(node(version), method, &json!({})), expected, "{version:?} {method}");
        }
    }

    #[test]
    fn a_missing_scope_is_forbidden_on_4_and_invalid_on_3() {
        let error = authorize(operator("operator.read"), "chat.send", None).unwrap_err();
        assert_eq!((error.code, error.detail("missingScope").as_deref()), (Code::Forbidden, Some("operator.write")));
        assert_eq!(Adapter::for_version(3).error(error).code, Code::InvalidRequest);
    }

    #[test]
    fn roles_other_than_two_are_invalid() {
        assert_eq!(PeerRole::parse(None).unwrap(), PeerRole::Operator);
        assert_eq!(PeerRole::parse(Some("node")).unwrap(), PeerRole::Node);
        assert_eq!(PeerRole::parse(Some("admin")).unwrap_err().message, "invalid role");
    }

    #[test]
    fn events_go_to_those_with_the_scope_and_to_nodes_that_were_named() {
        let kind = |scope, nodes| EventKind { name: "x", scope, nodes, drop_if_slow: false, payload_schema: "{}" };
        assert!(may_receive(operator("operator.write"), &kind(Scope::Read, false)));
        assert!(!may_receive(operator("operator.read"), &kind(Scope::Pairing, true)));
        assert!(may_receive(operator("operator.pairing"), &kind(Scope::Any, false)));
        assert!(may_receive(node(Version::V3), &kind(Scope::Read, true)));
        assert!(!may_receive(node(Version::V3), &kind(Scope::Any, false)));
    }
}
