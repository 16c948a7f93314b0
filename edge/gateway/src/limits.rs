//! What the edge grants to its clients; each limit has a name here and a reason in `verso_protocol::limits`.

use std::time::Duration;

use verso_protocol::limits as wire;

/// The limits of one edge.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Largest frame before the handshake is done, in bytes.
    pub(crate) preauth_payload_bytes_max: usize,
    /// Largest frame after it, in bytes.
    pub(crate) payload_bytes_max: usize,
    /// What may wait for one slow reader, in bytes.
    pub(crate) buffered_bytes_max: usize,
    /// From the opened socket to `hello-ok`.
    pub(crate) handshake: Duration,
    /// Between two `tick` events.
    pub(crate) tick: Duration,
    /// Between two pings.
    pub(crate) ping: Duration,
    /// Sockets of one address that wait for `hello-ok`.
    pub(crate) unauthenticated_per_address_max: usize,
    /// Requests of one connection that are being answered; more wait in the socket.
    pub(crate) requests_per_connection_max: usize,
    /// From our close frame to the end of the TCP connection.
    pub(crate) close_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            preauth_payload_bytes_max: wire::PREAUTH_PAYLOAD_BYTES_MAX,
            payload_bytes_max: wire::PAYLOAD_BYTES_MAX,
            // A quarter of the reference's: a hundred stuck readers must not exhaust the host. It is what `hello-ok` advertises.
            buffered_bytes_max: 12 << 20,
            handshake: Duration::from_millis(wire::HANDSHAKE_TIMEOUT_MS),
            tick: Duration::from_millis(wire::TICK_INTERVAL_MS),
            ping: Duration::from_millis(wire::PING_INTERVAL_MS),
            unauthenticated_per_address_max: wire::UNAUTHENTICATED_PER_ADDRESS_MAX,
            requests_per_connection_max: 128,
            close_grace: Duration::from_millis(wire::CLOSE_GRACE_MS),
        }
    }
}
