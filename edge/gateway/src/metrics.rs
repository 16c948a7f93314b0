//! What the edge counts, for Prometheus.
//!
//! Labels take few values: methods of the contract, codes of the protocol, names of limits. A client cannot make up a series.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use verso_kit::telemetry::DURATION_BUCKETS_SECONDS;
use verso_proto::methods::find;
use verso_proto::supervisor::v1::ServiceInfo;

use crate::gateway::Gateway;

/// How the metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// Prometheus' own text, version 0.0.4.
    Text,
    OpenMetrics,
}

impl Exposition {
    /// Returns the media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

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
    CallsPerService,
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
            Self::CallsPerService => "calls_per_service",
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

/// An HTTP request that was answered: by what, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Served {
    /// The route's pattern, never what a client wrote.
    pub(crate) route: String,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
}

impl Served {
    /// Returns a method's name; what nobody has heard of is one of its kind.
    pub(crate) fn method(method: &http::Method) -> &'static str {
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    method: &'static str,
}

fn seconds() -> Histogram {
    Histogram::new(DURATION_BUCKETS_SECONDS)
}

/// Histograms of durations by what took them.
type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The counters. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    reached: Family<Reached, Counter>,
    requests: Family<Request, Counter>,
    refused: Family<Refused, Counter>,
    opened: Counter,
    dropped: Counter,
    http_requests: Counter,
    served: Durations<Served>,
    handled: Durations<Handled>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reached: Family::default(),
            requests: Family::default(),
            refused: Family::default(),
            opened: Counter::default(),
            dropped: Counter::default(),
            http_requests: Counter::default(),
            served: Family::new_with_constructor(seconds),
            handled: Family::new_with_constructor(seconds),
        }
    }
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

    /// Takes down how long an HTTP request took until its answer began.
    pub(crate) fn served(&self, served: &Served, elapsed: Duration) {
        self.served.get_or_create(served).observe(elapsed.as_secs_f64());
    }

    /// Takes down how long a request of the protocol took.
    pub(crate) fn handled(&self, method: &str, elapsed: Duration) {
        let method = find(method).map_or(UNKNOWN, |method| method.name);
        self.handled.get_or_create(&Handled { method }).observe(elapsed.as_secs_f64());
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

/// The last line of `OpenMetrics`.
const END: &str = "# EOF";

/// Writes everything that is counted.
/// `others` is what another service counts, as `OpenMetrics`.
pub(crate) fn render(gateway: &Gateway, exposition: Exposition, services: &[ServiceInfo], others: &str) -> Result<String, fmt::Error> {
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
    registry.register("verso_http_request_duration_seconds", "HTTP requests until their answer began, by route", metrics.served.clone());
    registry.register("openclaw_gateway_rpc_handler_seconds", "Requests of the protocol until their answer", metrics.handled.clone());
    let (up, restarts) = processes(gateway, services);
    registry.register("verso_service_up", "Whether a service answers", up);
    registry.register("verso_service_restarts", "Times that a service was started again", restarts);
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
    if !others.is_empty() {
        out.truncate(out.trim_end().trim_end_matches(END).len());
        out.push_str(others);
    }
    Ok(if exposition == Exposition::Text { as_text(&out) } else { out })
}

/// From `OpenMetrics` to the older text: there, a counter's family has the name of its samples, and nothing marks the end.
fn as_text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let counters: Vec<&str> = openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in openmetrics.lines() {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match described.and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) if counters.contains(&name) => {
                out.push_str(&line[..7]);
                out.push_str(name);
                out.push_str("_total ");
                out.push_str(rest);
            }
            _ if line == END || line.starts_with("# UNIT ") => continue,
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// What the supervisor says of its processes; without one, what the edge has found out by itself.
fn processes(gateway: &Gateway, services: &[ServiceInfo]) -> (Family<Service, Gauge>, Family<Service, Counter>) {
    let (up, restarts) = (Family::<Service, Gauge>::default(), Family::<Service, Counter>::default());
    for service in services {
        let label = Service { service: service.name.clone() };
        up.get_or_create(&label).set(i64::from(service.state == "serving"));
        restarts.get_or_create(&label).inc_by(service.starts.saturating_sub(1));
    }
    if services.is_empty() {
        let health = gateway.health.latest();
        for service in ["agent", "channel"] {
            let answers = !health.json.is_empty() && !health.response.unavailable.iter().any(|name| name == service);
            up.get_or_create(&Service { service: service.to_owned() }).set(i64::from(answers));
        }
    }
    (up, restarts)
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

#[cfg(test)]
mod tests {
    use super::as_text;

    #[test]
    fn the_older_text_names_counters_like_their_samples() {
        let openmetrics = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\ng 1\n# EOF\n";
        let expected = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\ng 1\n";
        assert_eq!(as_text(openmetrics), expected);
    }
}
