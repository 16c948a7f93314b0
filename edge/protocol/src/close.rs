//! Close codes and reasons. The reason is text that a user sees: clients print it when a pending request fails.

use std::borrow::Cow;

use crate::ErrorShape;

/// Bytes of a reason. A close frame holds 125 with its code; the rest is margin that all known peers keep.
pub const REASON_BYTES_MAX: usize = 120;

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code.
    pub code: u16,
    /// At most [`REASON_BYTES_MAX`] bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// A normal end, a handshake that took too long, or text before `connect` that is not JSON.
    pub const NORMAL: Self = Self::fixed(1000, "");
    /// The client speaks no version that is served.
    pub const PROTOCOL_MISMATCH: Self = Self::fixed(1002, "protocol mismatch");
    /// The first frame is JSON but not a request.
    pub const INVALID_FRAME: Self = Self::fixed(1008, "invalid request frame");
    /// More than [`PREAUTH_FRAMES_MAX`](crate::limits::PREAUTH_FRAMES_MAX) frames before `hello-ok`.
    pub const TOO_MANY_PENDING: Self = Self::fixed(1008, "too many pending handshake frames");
    /// The peer reads more slowly than events arrive.
    pub const SLOW_CONSUMER: Self = Self::fixed(1008, "slow consumer");
    /// The peer keeps calling what its role does not allow.
    pub const REPEATED_UNAUTHORIZED: Self = Self::fixed(1008, "repeated unauthorized calls");
    /// A frame above the limit.
    pub const TOO_BIG: Self = Self::fixed(1009, "");
    /// The handshake failed by a fault of ours.
    pub const INTERNAL: Self = Self::fixed(1011, "internal error");
    /// The gateway stops or is replaced.
    pub const SERVICE_RESTART: Self = Self::fixed(1012, "service restart");
    /// The token of a live connection was rotated or revoked.
    pub const AUTH_CHANGED: Self = Self::fixed(4001, "gateway auth changed");
    /// The device of a live connection was removed.
    pub const DEVICE_REMOVED: Self = Self::fixed(4001, "device removed");

    const fn fixed(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// The close that follows the refusal of `connect`: its reason is the error's message.
    pub fn refused(error: &ErrorShape) -> Self {
        Self::policy(&error.message)
    }

    /// A close with code 1008 and as much of `reason` as fits.
    pub fn policy(reason: &str) -> Self {
        Self { code: 1008, reason: Cow::Owned(cut(reason).to_owned()) }
    }
}

/// The longest start of `reason` that fits a close frame and ends between two characters.
pub fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_short_reason() {
        assert_eq!(cut("invalid role"), "invalid role");
        assert_eq!(cut(""), "");
    }

    #[test]
    fn cuts_between_characters() {
        let text = format!("{}é and more", "x".repeat(REASON_BYTES_MAX - 1));
        assert_eq!(cut(&text), "x".repeat(REASON_BYTES_MAX - 1));
        assert_eq!(Close::policy(&"é".repeat(100)).reason, "é".repeat(60));
    }
}
