//! What a gateway costs while nothing happens.

use std::time::Duration;

use serde_json::json;
use verso_tests::lean::{self, Socket};
use verso_tests::{Gateway, process};

use crate::report::Report;
use crate::usage::{self, us, whole};

/// Connections that come and go before those that are counted.
const WARM_UP: usize = 64;

/// How long the gateway idles before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// How long the processor time of idle connections is added up: one tick and one ping of each fall into it.
const WATCH: Duration = Duration::from_secs(30);

/// The memory of the whole tree when nothing happens.
pub(crate) async fn memory(gateway: &Gateway, report: &mut Report) {
    tokio::time::sleep(SETTLE).await;
    let tree = process::tree(gateway.pid());
    let total_kib: u64 = tree.iter().map(|pid| process::pss_kib(*pid)).sum();
    report.at_most(&format!("idle PSS of {} processes", tree.len()), "MiB", usage::mib(total_kib), 40.0);
    for pid in tree {
        let command = process::command_line(pid);
        let name = command.split(" service ").nth(1).unwrap_or("supervisor").trim().to_owned();
        report.note(&format!("  PSS {name}"), "MiB", usage::mib(process::pss_kib(pid)));
    }
}

/// The memory and the processor time of idle connections.
pub(crate) async fn connections(report: &mut Report) {
    for count in [1_000_usize, 10_000] {
        let gateway = Gateway::start_with(json!({"agents": {"defaults": {"model": {"primary": "verso/offline"}}}})).await;
        // What the first connections cost once, such as compiled schemas, is not the price of one more.
        drop(lean::many(&gateway.url(), WARM_UP).await);
        tokio::time::sleep(SETTLE).await;
        let edge = gateway.service("edge").await.pid.unwrap_or_default();
        let before_kib = process::pss_kib(edge);
        let sockets = lean::many(&gateway.url(), count).await;
        let open = sockets.len();
        tokio::time::sleep(SETTLE).await;
        let grown_kib = process::pss_kib(edge).saturating_sub(before_kib);
        report.at_most(
            &format!("memory per idle connection, {open} connections"),
            "KiB",
            usage::mib(grown_kib) * 1024.0 / whole(open),
            12.0,
        );
        report.note(&format!("edge PSS, {open} connections"), "MiB", usage::mib(process::pss_kib(edge)));
        let share = busy_share(edge, sockets).await;
        report.at_most(&format!("edge processor share, {open} idle connections"), "% of a core", share * 100.0, 5.0);
    }
}

/// The share of one core that a process uses while its clients only answer pings.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn busy_share(edge: i64, sockets: Vec<Socket>) -> f64 {
    let mut readers = tokio::task::JoinSet::new();
    for mut socket in sockets {
        readers.spawn(async move { while socket.text().await.is_some() {} });
    }
    let before = usage::cpu(&[edge]);
    tokio::time::sleep(WATCH).await;
    us(usage::cpu(&[edge]).saturating_sub(before)) / us(WATCH)
}
