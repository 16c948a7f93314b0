//! What the edge grants to its clients; each limit has a name here, and what `verso_protocol::limits` says of its reason.

use std::time::Duration;

use serde::Deserialize;
use verso_kit::config::Error;
use verso_protocol::limits as wire;

/// The limits of one edge, and where it is counted that one was reached.
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
    /// The same of all addresses.
    pub(crate) unauthenticated_max: usize,
    /// Sockets of one address, before and after the handshake. This machine and declared proxies are excepted.
    pub(crate) connections_per_address_max: usize,
    /// The same of all addresses.
    pub(crate) connections_max: usize,
    /// TCP connections of one address that speak HTTP. This machine and declared proxies are excepted.
    pub(crate) http_per_address_max: usize,
    /// TCP connections that speak HTTP, in all.
    pub(crate) http_max: usize,
    /// Requests of one connection that are being answered; more wait in the socket.
    pub(crate) requests_per_connection_max: usize,
    /// Calls that one service is answering, for all clients together; more are refused at once.
    pub(crate) calls_per_service_max: usize,
    /// Calls of one method that changes how the gateway runs, by one client in a minute.
    pub(crate) control_writes_per_minute_max: usize,
    /// Calls in a row that the connection's role does not allow.
    pub(crate) unauthorized_calls_max: u32,
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
            unauthenticated_max: 2_048,
            connections_per_address_max: 1_024,
            connections_max: 20_000,
            http_per_address_max: 128,
            http_max: 4_096,
            requests_per_connection_max: 128,
            calls_per_service_max: 8_192,
            control_writes_per_minute_max: 30,
            unauthorized_calls_max: wire::UNAUTHORIZED_CALLS_MAX,
            close_grace: Duration::from_millis(wire::CLOSE_GRACE_MS),
        }
    }
}

/// `gateway.limits`: what users may set. Each is the default when it is absent.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsConfig {
    /// Largest frame after the handshake, in bytes. Default 26,214,400.
    pub payload_bytes: Option<usize>,
    /// What may wait for one slow reader, in bytes. Default 12,582,912.
    pub buffered_bytes: Option<usize>,
    /// From the opened socket to the end of the handshake, in milliseconds. Default 15,000.
    pub handshake_ms: Option<u64>,
    /// Between two pings, in milliseconds. Default 25,000.
    pub ping_ms: Option<u64>,
    /// Sockets of one address that wait for the end of their handshake. Default 32.
    pub unauthenticated_per_address: Option<usize>,
    /// The same of all addresses. Default 2,048.
    pub unauthenticated: Option<usize>,
    /// Sockets of one address, before and after the handshake. Default 1,024.
    pub connections_per_address: Option<usize>,
    /// The same of all addresses. Default 20,000.
    pub connections: Option<usize>,
    /// TCP connections of one address that speak HTTP. Default 128.
    pub http_per_address: Option<usize>,
    /// TCP connections that speak HTTP, in all. Default 4,096.
    pub http: Option<usize>,
    /// Requests of one connection that are being answered. Default 128.
    pub requests_per_connection: Option<usize>,
    /// Calls that one service is answering, for all clients together. Default 8,192.
    pub calls_per_service: Option<usize>,
    /// Calls of one method that changes how the gateway runs, by one client in a minute. Default 30.
    pub control_writes_per_minute: Option<usize>,
}

impl LimitsConfig {
    /// Refuses limits under which no client could work, and waits that are none.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let counts = [
            ("unauthenticatedPerAddress", self.unauthenticated_per_address),
            ("unauthenticated", self.unauthenticated),
            ("connectionsPerAddress", self.connections_per_address),
            ("connections", self.connections),
            ("httpPerAddress", self.http_per_address),
            ("http", self.http),
            ("requestsPerConnection", self.requests_per_connection),
            ("callsPerService", self.calls_per_service),
            ("controlWritesPerMinute", self.control_writes_per_minute),
        ];
        let too_small = |name: &str, least: u64| {
            Err(Error::Value { key: format!("gateway.limits.{name}"), reason: format!("must be at least {least}") })
        };
        for (name, value) in counts {
            if value == Some(0) {
                return too_small(name, 1);
            }
        }
        let sizes = [("payloadBytes", self.payload_bytes), ("bufferedBytes", self.buffered_bytes)];
        for (name, value) in sizes {
            if value.is_some_and(|value| value < wire::PREAUTH_PAYLOAD_BYTES_MAX) {
                return too_small(name, wire::PREAUTH_PAYLOAD_BYTES_MAX as u64);
            }
        }
        for (name, value) in [("handshakeMs", self.handshake_ms), ("pingMs", self.ping_ms)] {
            if value.is_some_and(|value| value < 1_000) {
                return too_small(name, 1_000);
            }
        }
        Ok(())
    }

    /// Returns the limits that these come to.
    pub(crate) fn limits(&self) -> Limits {
        let known = Limits::default();
        Limits {
            payload_bytes_max: self.payload_bytes.unwrap_or(known.payload_bytes_max),
            buffered_bytes_max: self.buffered_bytes.unwrap_or(known.buffered_bytes_max),
            handshake: self.handshake_ms.map_or(known.handshake, Duration::from_millis),
            ping: self.ping_ms.map_or(known.ping, Duration::from_millis),
            unauthenticated_per_address_max: self.unauthenticated_per_address.unwrap_or(known.unauthenticated_per_address_max),
            unauthenticated_max: self.unauthenticated.unwrap_or(known.unauthenticated_max),
            connections_per_address_max: self.connections_per_address.unwrap_or(known.connections_per_address_max),
            connections_max: self.connections.unwrap_or(known.connections_max),
            http_per_address_max: self.http_per_address.unwrap_or(known.http_per_address_max),
            http_max: self.http.unwrap_or(known.http_max),
            requests_per_connection_max: self.requests_per_connection.unwrap_or(known.requests_per_connection_max),
            calls_per_service_max: self.calls_per_service.unwrap_or(known.calls_per_service_max),
            control_writes_per_minute_max: self.control_writes_per_minute.unwrap_or(known.control_writes_per_minute_max),
            ..known
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn users_set_what_they_may_and_nothing_that_locks_everybody_out() {
        let read = |value| serde_json::from_value::<LimitsConfig>(value).unwrap();
        let limits = read(json!({"connections": 5, "handshakeMs": 2_000})).limits();
        assert_eq!((limits.connections_max, limits.handshake), (5, Duration::from_secs(2)));
        assert_eq!(limits.payload_bytes_max, wire::PAYLOAD_BYTES_MAX);
        for (value, key) in [
            (json!({"connections": 0}), "gateway.limits.connections"),
            (json!({"payloadBytes": 100}), "gateway.limits.payloadBytes"),
            (json!({"pingMs": 1}), "gateway.limits.pingMs"),
        ] {
            assert!(read(value).check().unwrap_err().to_string().starts_with(key), "{key}");
        }
        assert!(serde_json::from_value::<LimitsConfig>(json!({"conections": 5})).is_err());
    }
}
