//! What the edge counts, for Prometheus.
//!
//! Labels take few values: methods of the contract, codes of the protocol, names of limits. A client cannot make up a series.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use verso_proto::methods::find;

use crate::gateway::Gateway;

/// The media type of [`render`]'s text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    PreauthPayload,
    Payload,
    BufferedBytes,
    Handshake,
    Ping,
    UnauthenticatedPerAddress,
    Unauthenticated,
    ConnectionsPerAddress,
    Connections,
    HttpPerAddress,
    Http,
    RequestsPerConnection,
    ControlWrites,
    UnauthorizedCalls,
    FailedAuth,
}

impl Limit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PreauthPayload => "preauth_payload_bytes",
            Self::Payload => "payload_bytes",
            Self::BufferedBytes => "buffered_bytes",
            Self::Handshake => "handshake_time",
            Self::Ping => "ping",
            Self::UnauthenticatedPerAddress => "unauthenticated_per_address",
            Self::Unauthenticated => "unauthenticated",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::Connections => "connections",
            Self::HttpPerAddress => "http_per_address",
            Self::Http => "http",
            Self::RequestsPerConnection => "requests_per_connection",
            Self::ControlWrites => "control_writes_per_minute",
            Self::UnauthorizedCalls => "unauthorized_calls",
            Self::FailedAuth => "failed_auth",
        }
    }
}

impl EncodeLabelValue for Limit {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reached {
    limit: Limit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: String,
}

/// The counters. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    reached: Family<Reached, Counter>,
    requests: Family<Request, Counter>,
    refused: Family<Refused, Counter>,
    opened: Counter,
    dropped: Counter,
    http_requests: Counter,
}

/// The code of a request that was answered as asked.
const OK: &str = "ok";

/// Stands for every name that is not in the contract.
const UNKNOWN: &str = "unknown";

impl Metrics {
    /// Counts that a limit was reached.
    pub(crate) fn reached(&self, limit: Limit) {
        self.reached.get_or_create(&Reached { limit }).inc();
    }

    /// Counts an answer; without a code it was the one that was asked for.
    pub(crate) fn answered(&self, method: &str, code: Option<verso_protocol::Code>) {
        let method = find(method).map_or(UNKNOWN, |method| method.name);
        self.requests.get_or_create(&Request { method, code: code.map_or(OK, verso_protocol::Code::as_str) }).inc();
    }

    /// Counts a refused `connect` by the code in its details, or by its own.
    pub(crate) fn refused(&self, error: &verso_protocol::ErrorShape) {
        let code = error.detail("code").unwrap_or_else(|| error.code.as_str().to_owned());
        self.refused.get_or_create(&Refused { code }).inc();
    }

    /// Counts a connection that was let in.
    pub(crate) fn opened(&self) {
        self.opened.inc();
    }

    /// Counts an event that a slow reader missed.
    pub(crate) fn dropped(&self) {
        self.dropped.inc();
    }

    /// Counts an HTTP request.
    pub(crate) fn http_request(&self) {
        self.http_requests.inc();
    }

    #[cfg(test)]
    pub(crate) fn times_reached(&self, limit: Limit) -> u64 {
        self.reached.get_or_create(&Reached { limit }).get()
    }
}

/// Writes everything that is counted.
pub(crate) fn render(gateway: &Gateway) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let metrics = &gateway.limits.metrics;
    registry.register("verso_edge_limit_reached", "Times that a limit was reached", metrics.reached.clone());
    registry.register("openclaw_gateway_rpc_requests", "Answers to requests by method and code", metrics.requests.clone());
    registry.register("verso_edge_connect_refused", "Handshakes that were refused by code", metrics.refused.clone());
    registry.register("verso_edge_connections_opened", "Connections that were let in", metrics.opened.clone());
    registry.register("verso_edge_events_dropped", "Events that slow readers missed", metrics.dropped.clone());
    registry.register("verso_edge_http_requests", "HTTP requests", metrics.http_requests.clone());
    registry.register("verso_edge_events_delivered", "Events that were queued for connections", counter(gateway.connections.delivered()));
    let (waiting, established, http) = gateway.admission.counts();
    registry.register("verso_edge_connections", "Established connections", gauge(established));
    registry.register("verso_edge_connections_waiting", "Sockets that wait for the end of their handshake", gauge(waiting));
    registry.register("verso_edge_http_connections", "TCP connections that speak HTTP", gauge(http));
    let uptime_seconds = usize::try_from(gateway.uptime_ms() / 1_000).unwrap_or_default();
    registry.register("verso_edge_uptime_seconds", "Since the edge was started", gauge(uptime_seconds));
    registry.register("verso_service_up", "Whether a service answers", services(gateway));
    let build = Family::<Vec<(String, String)>, Gauge>::default();
    build
        .get_or_create(&vec![
            ("process_instance_id".to_owned(), gateway.boot_id.clone()),
            ("version".to_owned(), crate::VERSION.to_owned()),
        ])
        .set(1);
    registry.register("openclaw_gateway_build_info", "What runs", build);
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

fn services(gateway: &Gateway) -> Family<Service, Gauge> {
    let up = Family::<Service, Gauge>::default();
    let health = gateway.health.latest();
    for service in ["agent", "channel"] {
        let answers = !health.json.is_empty() && !health.response.unavailable.iter().any(|name| name == service);
        up.get_or_create(&Service { service: service.to_owned() }).set(i64::from(answers));
    }
    up
}

fn counter(value: u64) -> Counter<u64, AtomicU64> {
    let counter = Counter::<u64, AtomicU64>::default();
    counter.inner().store(value, Ordering::Relaxed);
    counter
}

fn gauge(value: usize) -> Gauge<i64, AtomicI64> {
    let gauge = Gauge::<i64, AtomicI64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}
