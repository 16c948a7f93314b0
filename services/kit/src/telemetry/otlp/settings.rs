//! Where telemetry goes: `diagnostics.otel`, and the standard variables below it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::transport::Signal;
use crate::config::{Env, File};

/// How often metrics are sent when nobody says how often.
const INTERVAL: Duration = Duration::from_mins(1);

/// The shortest interval, in milliseconds.
const INTERVAL_MIN_MS: u64 = 1_000;

/// The `diagnostics.otel` section.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Section {
    /// Default: true once there is an endpoint.
    enabled: Option<bool>,
    /// Where everything goes, such as `http://127.0.0.1:4318`. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`.
    endpoint: Option<String>,
    /// Exact URLs for one signal each.
    traces_endpoint: Option<String>,
    metrics_endpoint: Option<String>,
    logs_endpoint: Option<String>,
    /// `http/protobuf` or `grpc`. Default: `OTEL_EXPORTER_OTLP_PROTOCOL`, or `http/protobuf`.
    protocol: Option<String>,
    headers: BTreeMap<String, String>,
    /// The first part of `service.name`. Default: `OTEL_SERVICE_NAME`, or `verso`.
    service_name: Option<String>,
    /// Default true.
    traces: Option<bool>,
    /// Default true.
    metrics: Option<bool>,
    /// Default false.
    logs: Option<bool>,
    /// The share of traces that is kept, from 0 to 1. Default 1.
    sample_rate: Option<f64>,
    /// How often metrics are sent, in milliseconds. Default: a minute.
    flush_interval_ms: Option<u64>,
}

/// What the exporter works with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) is_grpc: bool,
    /// The URL of each signal; none for one that is not sent.
    pub(super) endpoints: [Option<String>; 3],
    pub(super) headers: Vec<(String, String)>,
    pub(super) prefix: String,
    pub(super) share: f64,
    pub(super) interval: Duration,
}

impl Settings {
    /// Reads them; none when telemetry goes nowhere.
    pub(super) fn of(config: &File, env: &Env) -> Result<Option<Self>, String> {
        let section: Section = config.section("diagnostics.otel").map_err(|error| error.to_string())?;
        if section.enabled == Some(false) || env.get("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let protocol = section.protocol.as_deref().or_else(|| env.get("OTEL_EXPORTER_OTLP_PROTOCOL")).unwrap_or("http/protobuf");
        let is_grpc = match protocol {
            "grpc" => true,
            "http/protobuf" => false,
            other => return Err(format!("{other} is no protocol of OTLP that is spoken here")),
        };
        let base = section.endpoint.as_deref().or_else(|| env.get("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let endpoint = |signal: Signal, own: Option<&str>, variable: &str, wanted: bool| {
            let exact = own.or_else(|| env.get(variable)).map(str::to_owned);
            exact.or_else(|| base.map(|base| if is_grpc { base.to_owned() } else { for_signal(base, signal) })).filter(|_| wanted)
        };
        let traces = (section.traces_endpoint.as_deref(), section.traces.unwrap_or(true));
        let metrics = (section.metrics_endpoint.as_deref(), section.metrics.unwrap_or(true));
        let logs = (section.logs_endpoint.as_deref(), section.logs.unwrap_or(false));
        let endpoints = [
            endpoint(Signal::Traces, traces.0, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces.1),
            endpoint(Signal::Metrics, metrics.0, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", metrics.1),
            endpoint(Signal::Logs, logs.0, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", logs.1),
        ];
        if endpoints.iter().all(Option::is_none) {
            return Ok(None);
        }
        let of_environment = env.get("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        let named = of_environment.split(',').filter_map(|pair| pair.split_once('='));
        let mut headers: BTreeMap<String, String> = named.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
        headers.extend(section.headers);
        let share = section.sample_rate.or_else(|| env.get("OTEL_TRACES_SAMPLER_ARG")?.parse().ok()).unwrap_or(1.0);
        Ok(Some(Self {
            is_grpc,
            endpoints,
            headers: headers.into_iter().collect(),
            prefix: section.service_name.as_deref().or_else(|| env.get("OTEL_SERVICE_NAME")).unwrap_or("verso").to_owned(),
            share,
            interval: section.flush_interval_ms.map_or(INTERVAL, |ms| Duration::from_millis(ms.max(INTERVAL_MIN_MS))),
        }))
    }

    pub(super) fn sends(&self, signal: Signal) -> bool {
        self.endpoints[signal as usize].is_some()
    }
}

/// The URL of one signal below a base, or in the place of another signal's.
fn for_signal(base: &str, signal: Signal) -> String {
    let base = base.trim_end_matches('/');
    let root = Signal::ALL.iter().find_map(|other| base.strip_suffix(&format!("/v1/{}", other.name()))).unwrap_or(base);
    format!("{root}/v1/{}", signal.name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(otel: &serde_json::Value, env: &[(&str, &str)]) -> Option<Settings> {
        let file = File::from_value(json!({"diagnostics": {"otel": otel}}));
        Settings::of(&file, &Env::from_pairs(env.iter().copied())).unwrap()
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        assert!(settings(&json!({}), &[]).is_none());
        let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert!(settings(&json!({"enabled": false}), &[variable]).is_none());
        assert!(settings(&json!({}), &[variable, ("OTEL_SDK_DISABLED", "true")]).is_none());
        let found = settings(&json!({}), &[variable]).unwrap();
        assert_eq!(found.endpoints[0].as_deref(), Some("http://127.0.0.1:4318/v1/traces"));
        assert_eq!(found.endpoints[2], None, "logs are asked for by name");
    }

    #[test]
    fn each_signal_has_its_place() {
        let of = |endpoint: &str| settings(&json!({"endpoint": endpoint, "logs": true}), &[]).unwrap().endpoints;
        for base in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces", "http://c:4318/v1/logs"] {
            assert_eq!(
                of(base).map(Option::unwrap),
                ["traces", "metrics", "logs"].map(|name| format!("http://c:4318/v1/{name}")),
                "{base}"
            );
        }
        let grpc = settings(&json!({"endpoint": "http://c:4317", "protocol": "grpc", "metrics": false}), &[]).unwrap();
        assert_eq!((grpc.endpoints[0].as_deref(), grpc.endpoints[1].as_deref()), (Some("http://c:4317"), None));
        assert!(Settings::of(&File::from_value(json!({"diagnostics": {"otel": {"protocol": "smoke"}}})), &Env::default()).is_err());
    }
}
