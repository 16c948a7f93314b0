//! What a failed attempt means for the next one.

use std::time::Duration;

use serde_json::Value;

use crate::{CallError, Error};

/// Refusals that no repetition will mend: somebody must change something first.
const FINAL: [&str; 16] = [
    "AUTH_TOKEN_MISSING",
    "AUTH_TOKEN_MISMATCH",
    "AUTH_TOKEN_NOT_CONFIGURED",
    "AUTH_PASSWORD_MISSING",
    "AUTH_PASSWORD_MISMATCH",
    "AUTH_PASSWORD_NOT_CONFIGURED",
    "AUTH_DEVICE_TOKEN_MISMATCH",
    "AUTH_SCOPE_MISMATCH",
    "AUTH_RATE_LIMITED",
    "AUTH_REQUIRED",
    "AUTH_UNAUTHORIZED",
    "CONTROL_UI_ORIGIN_NOT_ALLOWED",
    "DEVICE_IDENTITY_REQUIRED",
    "DEVICE_AUTH_SIGNATURE_INVALID",
    "DEVICE_AUTH_PUBLIC_KEY_INVALID",
    "PROTOCOL_MISMATCH",
];

/// A device that somebody must approve first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingRequest {
    /// What to approve: `verso devices approve <id>`.
    pub request_id: String,
    /// Why: `not-paired`, `role-upgrade`, `scope-upgrade` or `metadata-upgrade`; empty if the gateway does not say.
    pub reason: String,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again, not before this long.
    Again(Duration),
    /// Wait for the approval.
    Pairing(PairingRequest),
    /// It is of no use.
    GiveUp,
}

impl Error {
    /// The approval that the gateway waits for, if that is why it refused.
    pub fn pairing_request(&self) -> Option<PairingRequest> {
        let Self::Refused(refused) = self else { return None };
        let text = |name: &str| detail(refused, name).and_then(Value::as_str).map(str::to_owned);
        let waits = refused.code == "NOT_PAIRED" || text("code").as_deref() == Some("PAIRING_REQUIRED");
        let request_id = text("requestId").filter(|_| waits)?;
        Some(PairingRequest { request_id, reason: text("reason").unwrap_or_default() })
    }
}

/// Judges an attempt that failed.
pub(crate) fn of(error: &Error) -> Verdict {
    if let Some(request) = error.pairing_request() {
        return Verdict::Pairing(request);
    }
    match error {
        Error::Refused(refused) => {
            let code = detail(refused, "code").and_then(Value::as_str).unwrap_or_default();
            if refused.code == "NOT_PAIRED" || FINAL.contains(&code) {
                return Verdict::GiveUp;
            }
            Verdict::Again(Duration::from_millis(refused.retry_after_ms.unwrap_or_default()))
        }
        Error::InvalidUrl { .. } | Error::NoAuthorities => Verdict::GiveUp,
        Error::Unreachable { .. } | Error::Closed(_) | Error::TimedOut { .. } | Error::Protocol { .. } => Verdict::Again(Duration::ZERO),
    }
}

fn detail<'a>(refused: &'a CallError, name: &str) -> Option<&'a Value> {
    refused.details.as_ref()?.get(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Closed;
    use crate::error::WireError;

    fn refused(error: Value) -> Error {
        let error: WireError = serde_json::from_value(error).unwrap();
        Error::Refused(CallError::answered(Some(error), None))
    }

    #[test]
    fn an_approval_is_waited_for_and_a_wrong_secret_is_not_repeated() {
        let details = json!({"code": "PAIRING_REQUIRED", "reason": "not-paired", "requestId": "r"});
        let waiting = refused(json!({"code": "NOT_PAIRED", "message": "pairing required", "details": details}));
        let request = PairingRequest { request_id: "r".to_owned(), reason: "not-paired".to_owned() };
        assert_eq!(of(&waiting), Verdict::Pairing(request));
        let older = refused(json!({"code": "NOT_PAIRED", "message": "pairing required", "details": {"requestId": "q"}}));
        assert_eq!(older.pairing_request().unwrap().request_id, "q");

        let wrong = refused(json!({"code": "INVALID_REQUEST", "message": "x", "details": {"code": "AUTH_TOKEN_MISMATCH"}}));
        assert_eq!(of(&wrong), Verdict::GiveUp);
        assert_eq!(of(&refused(json!({"code": "NOT_PAIRED", "message": "device identity required"}))), Verdict::GiveUp);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let busy = refused(json!({"code": "UNAVAILABLE", "message": "starting", "retryAfterMs": 70}));
        assert_eq!(of(&busy), Verdict::Again(Duration::from_millis(70)));
        assert_eq!(of(&Error::Closed(Closed { code: 1012, reason: String::new() })), Verdict::Again(Duration::ZERO));
        assert_eq!(of(&Error::TimedOut { timeout_ms: 1 }), Verdict::Again(Duration::ZERO));
    }
}
