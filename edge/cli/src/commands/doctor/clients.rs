//! Why a client could not connect: what the gateway wrote down when it refused him, and what is known of his device.

use serde_json::Value;
use verso_kit::clock::Clock;
use verso_kit::telemetry::{Logging, Tail};
use verso_proto::edge::v1::LogsTailRequest;

use super::super::Session;
use super::{Check, Status};

/// How much of the log is looked through, in bytes.
const LOG_BYTES: i64 = 8_000_000;

/// How many refusals are told.
const TOLD: usize = 5;

/// Tells all that is known about a client: his device's id, the name of his program, or his address.
pub(super) fn replay(session: &Session, client: &str) -> Vec<Check> {
    let mut checks = device(session, client);
    let refusals = refusals(session, client);
    if refusals.is_empty() {
        checks.push(Check::ok("client.refusals", format!("the log has no refusal of {client}")));
    }
    let known: Vec<Check> = refusals.iter().rev().take(TOLD).map(|record| told(session, record)).collect();
    checks.extend(known);
    checks
}

fn refusals(session: &Session, client: &str) -> Vec<Value> {
    let logging: Logging = session.snapshot.file.section("logging").unwrap_or_default();
    let tail = Tail::current(&logging, &session.instance.state_dir, &Clock::system());
    let request = LogsTailRequest { cursor: None, limit: Some(200_000), max_bytes: Some(LOG_BYTES) };
    let lines = tail.read(&request).map(|found| found.lines).unwrap_or_default();
    let records = lines.iter().filter(|line| line.contains("connect refused")).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records
        .filter(|record| {
            let fields = &record["1"];
            ["device", "client", "address"]
                .iter()
                .any(|name| fields[name].as_str().is_some_and(|value| !value.is_empty() && value.starts_with(client)))
        })
        .collect()
}

fn told(session: &Session, record: &Value) -> Check {
    let field = |name: &str| record["1"][name].as_str().unwrap_or_default().to_owned();
    let time = record["time"].as_str().unwrap_or_default();
    let words = format!("{time}: {} at {} was refused: {} ({})", field("client"), field("address"), field("reason"), field("code"));
    let check = Check::wrong("client.refusals", Status::Warn, words);
    match advice(&field("code")) {
        Some((why, fix)) => check.because(why).mended_by(fix.replace("verso ", &session.instance.command(""))),
        None => check,
    }
}

/// What a refusal means, and what helps.
fn advice(code: &str) -> Option<(&'static str, &'static str)> {
    Some(match code {
        "AUTH_TOKEN_MISSING" => ("He sent no token.", "Give him the gateway's: verso dashboard prints an address that holds it."),
        "AUTH_TOKEN_MISMATCH" => {
            ("He sent another token than the gateway expects.", "Compare: verso doctor checks whether the environment and the file differ.")
        }
        "AUTH_TOKEN_NOT_CONFIGURED" => ("The gateway has no token.", "verso doctor --generate-gateway-token"),
        "AUTH_PASSWORD_MISSING" | "AUTH_PASSWORD_MISMATCH" => {
            ("His password is missing, or another.", "Give him the password of gateway.auth.password.")
        }
        "AUTH_DEVICE_TOKEN_MISMATCH" | "AUTH_SCOPE_MISMATCH" => {
            ("His device's token was replaced, or grants less than he asks for.", "verso devices rotate --device <id> --role operator")
        }
        "AUTH_RATE_LIMITED" => ("Too many attempts came from his address.", "Wait; gateway.auth.rateLimit says for how long."),
        "PAIRING_REQUIRED" | "NOT_PAIRED" => ("His device is not known yet.", "verso devices list, then verso devices approve <requestId>"),
        "CONTROL_UI_ORIGIN_NOT_ALLOWED" => {
            ("The page that he uses is not one of ours.", "Name its origin in gateway.controlUi.allowedOrigins.")
        }
        "DEVICE_AUTH_SIGNATURE_EXPIRED" => ("His clock, or this one, is wrong.", "Set both clocks by the network."),
        "DEVICE_IDENTITY_REQUIRED" | "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" => {
            ("A client must have a device key; browsers have one only over https or localhost.", "Use https, or ssh -L to localhost.")
        }
        _ => return None,
    })
}

fn device(session: &Session, client: &str) -> Vec<Check> {
    let load = |name: &str| -> Value {
        let text = std::fs::read_to_string(session.instance.state_dir.join("devices").join(name)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    let entries = |value: &Value| -> Vec<Value> {
        match value {
            Value::Object(members) => members.values().cloned().collect(),
            Value::Array(items) => items.clone(),
            _ => Vec::new(),
        }
    };
    let is_his = |entry: &&Value| entry["deviceId"].as_str().is_some_and(|id| id.starts_with(client));
    let mut checks = Vec::new();
    for entry in entries(&load("pending.json")).iter().filter(is_his) {
        let request = entry["requestId"].as_str().unwrap_or_default();
        let check = Check::wrong("client.device", Status::Warn, format!("the device waits for approval (request {request})"));
        checks.push(
            check
                .because("Whoever has the gateway's secret may ask; an operator lets his device in.")
                .mended_by(session.instance.command(&format!("devices approve {request}"))),
        );
    }
    for entry in entries(&load("paired.json")).iter().filter(is_his) {
        let name = entry["displayName"].as_str().unwrap_or("the device");
        checks.push(Check::ok("client.device", format!("{name} is paired")));
    }
    checks
}
