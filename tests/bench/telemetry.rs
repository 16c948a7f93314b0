//! What telemetry costs: the same load without it, with one trace in a hundred, and with every trace, metrics and logs at a collector.

use serde_json::{Value, json};
use verso_tests::Gateway;
use verso_tests::collector::Collector;

use crate::load;
use crate::report::Report;

/// Sessions that turns are measured with.
const SESSIONS: usize = 8;

/// Measures each of them with a gateway of its own.
pub(crate) async fn costs(config: &Value, report: &mut Report) {
    let (_collector, address) = Collector::over_grpc().await;
    let endpoint = format!("http://{address}");
    let kinds = [
        ("off", Value::Null),
        ("1 % of traces", json!({"endpoint": endpoint, "protocol": "grpc", "sampleRate": 0.01})),
        ("every trace, metrics, logs", json!({"endpoint": endpoint, "protocol": "grpc", "logs": true, "flushIntervalMs": 1_000})),
    ];
    let mut off = None;
    for (name, otel) in kinds {
        let mut config = config.clone();
        if !otel.is_null() {
            config["diagnostics"] = json!({"otel": otel});
        }
        let gateway = Gateway::start_with(config).await;
        let request_us = load::request_cost_us(&gateway, "node.list").await;
        let turn_ms = load::turn_cost_ms(&gateway, SESSIONS).await;
        report.note(&format!("telemetry {name}: CPU per request (node.list)"), "us", request_us);
        report.note(&format!("telemetry {name}: CPU per turn"), "ms", turn_ms);
        let (request_off, turn_off) = *off.get_or_insert((request_us, turn_ms));
        report.note(&format!("telemetry {name}: per request, against off"), "times", request_us / request_off);
        report.note(&format!("telemetry {name}: per turn, against off"), "times", turn_ms / turn_off);
    }
}
