//! Scopes: their names, what one implies, and what a peer is granted.

use verso_proto::methods::Scope;

use super::PeerRole;
use crate::Version;

const ADMIN: &str = "operator.admin";

/// Every scope that is known, with those that it implies. Admin implies all and stands apart.
const IMPLIED: &[(&str, &[&str])] = &[
    ("operator.read", &["operator.sessions.read"]),
    ("operator.write", &["operator.read", "operator.talk", "operator.sessions.read", "operator.sessions.write"]),
    ("operator.approvals", &[]),
    ("operator.pairing", &[]),
    ("operator.questions", &[]),
    ("operator.rescue", &[]),
    ("operator.talk", &[]),
    ("operator.talk.secrets", &[]),
    ("operator.sessions.read", &[]),
    ("operator.sessions.write", &["operator.sessions.read"]),
];

/// The wire name of a contract scope; none for the one that asks for nothing.
pub const fn scope_name(scope: Scope) -> Option<&'static str> {
    match scope {
        Scope::Any => None,
        Scope::Read => Some("operator.read"),
        Scope::Write => Some("operator.write"),
        Scope::Approvals => Some("operator.approvals"),
        Scope::Pairing => Some("operator.pairing"),
        Scope::Rescue => Some("operator.rescue"),
        // A method without a scope does not build; if one did, it would not be open.
        Scope::Admin | Scope::Unspecified => Some(ADMIN),
    }
}

/// Whether `granted` covers all of `requested`, with implications.
pub fn covers<G: AsRef<str>, R: AsRef<str>>(granted: &[G], requested: &[R]) -> bool {
    requested.iter().all(|wanted| granted.iter().any(|have| implies(have.as_ref(), wanted.as_ref())))
}

fn implies(have: &str, wanted: &str) -> bool {
    have == ADMIN || have == wanted || IMPLIED.iter().any(|(name, implied)| *name == have && implied.contains(&wanted))
}

/// The scopes that a client of `version` asks for. Clients of protocol 3 that do not mention scopes mean admin; an empty list means
/// none. Unknown names are dropped for protocol 4 and kept, without effect, for 3.
pub fn requested_scopes(version: Version, role: PeerRole, sent: Option<&[String]>) -> Vec<String> {
    match (role, sent) {
        (PeerRole::Operator, None) if version == Version::V3 => vec![ADMIN.to_owned()],
        (PeerRole::Operator, Some(sent)) => sent.iter().filter(|scope| version == Version::V3 || is_known(scope)).cloned().collect(),
        (PeerRole::Operator, None) | (PeerRole::Node, _) => Vec::new(),
    }
}

fn is_known(scope: &str) -> bool {
    scope == ADMIN || IMPLIED.iter().any(|(name, _)| *name == scope)
}

/// Granted scopes with all that they imply, ready to be asked on every request and every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeSet {
    bits: u8,
}

impl ScopeSet {
    const CONTRACT: [Scope; 6] = [Scope::Read, Scope::Write, Scope::Approvals, Scope::Pairing, Scope::Admin, Scope::Rescue];

    /// The set that the granted names stand for.
    pub fn from_names<S: AsRef<str>>(granted: &[S]) -> Self {
        let holds = |scope: &Scope| scope_name(*scope).is_none_or(|name| covers(granted, &[name]));
        Self { bits: Self::CONTRACT.iter().filter(|scope| holds(scope)).fold(0, |bits, scope| bits | Self::bit(*scope)) }
    }

    /// Whether the set includes `scope`. Every set includes [`Scope::Any`].
    pub const fn holds(self, scope: Scope) -> bool {
        matches!(scope, Scope::Any) || self.bits & Self::bit(scope) != 0
    }

    const fn bit(scope: Scope) -> u8 {
        match scope {
            Scope::Any => 0,
            Scope::Read => 1,
            Scope::Write => 2,
            Scope::Approvals => 4,
            Scope::Pairing => 8,
            Scope::Admin | Scope::Unspecified => 16,
            Scope::Rescue => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_itself_and_what_it_implies() {
        let table: &[(&str, &[&str], bool)] = &[
            ("operator.admin", &["operator.pairing", "operator.talk.secrets", "operator.future"], true),
            ("operator.write", &["operator.read", "operator.talk", "operator.sessions.write"], true),
            ("operator.write", &["operator.approvals"], false),
            ("operator.write", &["operator.read", "operator.admin"], false),
            ("operator.read", &["operator.sessions.read"], true),
            ("operator.read", &["operator.write"], false),
            ("operator.sessions.write", &["operator.sessions.read"], true),
            ("operator.talk", &["operator.talk.secrets"], false),
            ("operator.custom", &["operator.custom"], true),
            ("operator.pairing", &[], true),
        ];
        for (have, wanted, expected) in table {
            assert_eq!(covers(&[have], wanted), *expected, "{have} {wanted:?}");
        }
    }

    #[test]
    fn a_set_answers_as_the_names_do() {
        for (names, held) in [
            (
                vec!["operator.admin"],
                vec![Scope::Any, Scope::Read, Scope::Write, Scope::Approvals, Scope::Pairing, Scope::Admin, Scope::Rescue],
            ),
            (vec!["operator.rescue"], vec![Scope::Any, Scope::Rescue]),
            (vec!["operator.write"], vec![Scope::Any, Scope::Read, Scope::Write]),
            (vec!["operator.read", "operator.pairing"], vec![Scope::Any, Scope::Read, Scope::Pairing]),
            (vec!["operator.questions", "nonsense"], vec![Scope::Any]),
            (vec![], vec![Scope::Any]),
        ] {
            let set = ScopeSet::from_names(&names);
            for scope in [Scope::Any, Scope::Read, Scope::Write, Scope::Approvals, Scope::Pairing, Scope::Admin, Scope::Rescue] {
                assert_eq!(set.holds(scope), held.contains(&scope), "{names:?} {scope:?}");
            }
        }
    }

    #[test]
    fn only_protocol_3_takes_silence_for_admin() {
        let asked = ["operator.read".to_owned(), "operator.custom".to_owned()];
        let table = [
            (Version::V3, PeerRole::Operator, None, vec!["operator.admin"]),
            (Version::V4, PeerRole::Operator, None, vec![]),
            (Version::V3, PeerRole::Operator, Some(&[][..]), vec![]),
            (Version::V3, PeerRole::Operator, Some(&asked[..]), vec!["operator.read", "operator.custom"]),
            (Version::V4, PeerRole::Operator, Some(&asked[..]), vec!["operator.read"]),
            (Version::V3, PeerRole::Node, None, vec![]),
            (Version::V3, PeerRole::Node, Some(&asked[..]), vec![]),
        ];
        for (version, role, sent, expected) in table {
            assert_eq!(requested_scopes(version, role, sent), expected, "{version:?} {role:?} {sent:?}");
        }
    }
}
