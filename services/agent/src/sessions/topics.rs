//! What connections can follow: the names by which the edge knows who wants which event.

use crate::keys::SessionKey;

/// The list of sessions.
pub(crate) const SESSIONS: &str = "sessions";

/// One session.
pub(crate) fn session(key: &SessionKey) -> String {
    format!("session:{key}")
}
