//! From what we have to the messages of OTLP.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use verso_proto::supervisor::v1::{MetricFamily, MetricKind, MetricSeries};

use super::settings::Settings;
use crate::clock::Clock;
use crate::config::Env;

/// Who says all this, by the conventions for services.
pub(super) fn resource(service: &str, settings: &Settings, env: &Env) -> Resource {
    let epoch = env.get("VERSO_EPOCH").unwrap_or("0");
    let attributes = [
        ("service.name", format!("{}-{service}", settings.prefix)),
        ("service.namespace", settings.prefix.clone()),
        ("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("verso.epoch", epoch.to_owned()),
        ("host.name", rustix::system::uname().nodename().to_string_lossy().into_owned()),
        ("process.pid", rustix::process::getpid().as_raw_pid().to_string()),
    ];
    // Of a process that is for one account alone.
    let account = [("verso.channel", "VERSO_CHANNEL"), ("verso.account", "VERSO_ACCOUNT")];
    let account = account.into_iter().filter_map(|(key, variable)| Some((key, env.get(variable)?.to_owned())));
    let attributes = attributes.into_iter().chain(account).map(|(key, value)| text(key, value));
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Any::StringValue(value.into())) }), ..KeyValue::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "verso".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), ..Default::default() }
}

/// Returns the message with spans.
pub(super) fn spans(resource: &Resource, spans: Vec<SpanData>) -> Vec<u8> {
    let spans = spans.into_iter().map(Into::into).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let of_us = ResourceSpans { resource: Some(resource.clone()), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![of_us] }.encode_to_vec()
}

/// Returns the message with log records.
pub(super) fn records(resource: &Resource, log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
    let of_us = ResourceLogs { resource: Some(resource.clone()), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![of_us] }.encode_to_vec()
}

/// Returns the message with everything that is counted.
pub(super) fn metrics(resource: &Resource, families: Vec<MetricFamily>) -> Vec<u8> {
    let now_ns = u64::try_from(Clock::system().now_ms()).unwrap_or_default() * 1_000_000;
    let metrics = families.into_iter().filter(|family| !family.series.is_empty()).map(|family| metric(&family, now_ns)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let of_us = ResourceMetrics { resource: Some(resource.clone()), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![of_us] }.encode_to_vec()
}

fn metric(family: &MetricFamily, time_unix_nano: u64) -> Metric {
    let name = if family.otlp_name.is_empty() { family.name.clone() } else { family.otlp_name.clone() };
    // Where the reference counts milliseconds, so do we.
    let scale = if name.ends_with("_ms") { 1_000.0 } else { 1.0 };
    let number = |series: &MetricSeries| NumberDataPoint {
        attributes: attributes(family, series, &name),
        time_unix_nano,
        value: Some(Number::AsDouble(series.value * scale)),
        ..NumberDataPoint::default()
    };
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let data = match family.kind() {
        MetricKind::Counter => {
            Data::Sum(Sum { data_points: family.series.iter().map(number).collect(), aggregation_temporality, is_monotonic: true })
        }
        MetricKind::Histogram => {
            let point = |series: &MetricSeries| HistogramDataPoint {
                attributes: attributes(family, series, &name),
                time_unix_nano,
                count: series.buckets.iter().sum(),
                sum: Some(series.value * scale),
                bucket_counts: series.buckets.clone(),
                explicit_bounds: family.bounds.iter().map(|bound| bound * scale).collect(),
                ..HistogramDataPoint::default()
            };
            Data::Histogram(Histogram { data_points: family.series.iter().map(point).collect(), aggregation_temporality })
        }
        MetricKind::Gauge | MetricKind::Unspecified => Data::Gauge(Gauge { data_points: family.series.iter().map(number).collect() }),
    };
    Metric { unit: unit(&name).to_owned(), name, description: family.help.clone(), data: Some(data), ..Metric::default() }
}

fn unit(name: &str) -> &'static str {
    let ends = |ending: &str| name.ends_with(ending);
    match () {
        () if ends("_ms") => "ms",
        () if ends("_seconds") || ends(".duration") => "s",
        () if ends("_bytes") => "By",
        () => "1",
    }
}

/// The labels of a series; whose process it is says the resource.
fn attributes(family: &MetricFamily, series: &MetricSeries, name: &str) -> Vec<KeyValue> {
    let prefix = if name.starts_with("openclaw.") { "openclaw." } else { "" };
    let labels = family.labels.iter().zip(&series.values).filter(|(label, _)| *label != "service");
    labels.map(|(label, value)| text(format!("{prefix}{label}"), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reference_counts_in_milliseconds_is_sent_in_milliseconds() {
        let family = MetricFamily {
            name: "openclaw_run_duration_seconds".to_owned(),
            kind: MetricKind::Histogram.into(),
            labels: vec!["channel".to_owned(), "service".to_owned()],
            bounds: vec![0.5],
            otlp_name: "openclaw.run.duration_ms".to_owned(),
            series: vec![MetricSeries { values: vec!["web".to_owned(), "agent".to_owned()], value: 1.5, buckets: vec![1, 2] }],
            ..MetricFamily::default()
        };
        let metric = metric(&family, 7);
        assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("openclaw.run.duration_ms", "ms"));
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, point.explicit_bounds.as_slice()), (3, Some(1_500.0), [500.0].as_slice()));
        assert_eq!(point.attributes, [text("openclaw.channel", "web")]);
    }
}
