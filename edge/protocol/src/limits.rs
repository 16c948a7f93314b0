//! What one connection may use.

/// Largest inbound frame before `hello-ok`, in bytes: an unknown peer cannot make the edge hold more.
pub const PREAUTH_PAYLOAD_BYTES_MAX: usize = 65_536;
/// Largest inbound frame after `hello-ok`, in bytes; advertised as `policy.maxPayload`.
pub const PAYLOAD_BYTES_MAX: usize = 26_214_400;
/// Bytes that may wait for a slow reader; advertised as `policy.maxBufferedBytes`.
pub const BUFFERED_BYTES_MAX: usize = 52_428_800;
/// From the opened socket to the queued `hello-ok`, in milliseconds.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 15_000;
/// Between two `tick` events, in milliseconds. Clients hang up after two missed ones.
pub const TICK_INTERVAL_MS: u64 = 30_000;
/// Between two WebSocket pings, in milliseconds. A peer without a pong by the next one is gone.
pub const PING_INTERVAL_MS: u64 = 25_000;
/// Sockets of one address that may be waiting for `hello-ok`; the next upgrade is answered 503.
pub const UNAUTHENTICATED_PER_ADDRESS_MAX: usize = 32;
/// Frames of one connection that may wait for the end of its handshake.
pub const PREAUTH_FRAMES_MAX: usize = 16;
/// From our close frame to the end of the TCP connection, in milliseconds.
pub const CLOSE_GRACE_MS: u64 = 1_000;
/// Largest attachment of a message, in bytes; advertised as `policy.attachments.maxBytes`.
pub const ATTACHMENT_BYTES_MAX: usize = 19_464_192;
/// Largest image attachment of a message, in bytes; advertised as `policy.attachments.maxImageBytes`.
pub const ATTACHMENT_IMAGE_BYTES_MAX: usize = 6_291_456;
/// Consecutive `unauthorized role` answers after which a connection is closed.
pub const UNAUTHORIZED_CALLS_MAX: u32 = 10;
