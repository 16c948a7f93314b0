//! The reference of metrics is what the processes say of themselves, and one scrape has all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use verso_kit::peer::Caller;
use verso_proto::supervisor::v1::{MeasureRequest, MetricFamily, MetricKind};
use verso_tests::Gateway;

/// The page for operators.
const PUBLISHED: &str = "../deploy/METRICS.md";

const HEAD: &str = "# Metrics\n\n\
    What `GET /metrics` of the edge shows of all processes, to whoever knows the gateway's secret, and what each process sends to an OTLP\n\
    collector by itself. Written by `cargo test -p verso-tests --test system -- metrics_reference`; do not edit.\n\n\
    Counters end in `_total` in Prometheus. Where every process has a metric, its label `service` tells whose it is. Values of labels are\n\
    names of the configuration and of the contract: what a client, a model or a chat says is `other`. A process has at most 2,048 series;\n\
    what would be one more is dropped and counted.\n";

async fn measured(gateway: &Gateway) -> BTreeMap<String, (MetricFamily, BTreeSet<&'static str>)> {
    let mut families: BTreeMap<String, (MetricFamily, BTreeSet<&'static str>)> = BTreeMap::new();
    for name in ["supervisor", "edge", "presence", "node", "channel", "agent", "canvas"] {
        let answer = gateway.process(name).call(MeasureRequest {}, &Caller::default()).await.expect("an answer");
        for family in answer.families {
            families.entry(family.name.clone()).or_insert_with(|| (family, BTreeSet::new())).1.insert(name);
        }
    }
    families
}

fn page(families: &BTreeMap<String, (MetricFamily, BTreeSet<&'static str>)>) -> String {
    let mut page = HEAD.to_owned();
    let mut owners: BTreeMap<&str, Vec<&MetricFamily>> = BTreeMap::new();
    for (family, of) in families.values() {
        let owner = if of.len() > 1 { "every process" } else { of.first().copied().unwrap_or_default() };
        owners.entry(owner).or_default().push(family);
    }
    for (owner, families) in owners {
        write!(page, "\n## {owner}\n\n| metric | kind | labels | in OTLP | meaning |\n|---|---|---|---|---|\n").expect("a string");
        for family in families {
            let (kind, ending) = match family.kind() {
                MetricKind::Counter => ("counter", "_total"),
                MetricKind::Histogram => ("histogram", ""),
                MetricKind::Gauge | MetricKind::Unspecified => ("gauge", ""),
            };
            let otlp = if family.otlp_name.is_empty() { &family.name } else { &family.otlp_name };
            let (name, labels, help) = (&family.name, family.labels.join(", "), &family.help);
            writeln!(page, "| `{name}{ending}` | {kind} | {labels} | `{otlp}` | {help}. |").expect("a string");
        }
    }
    page
}

#[tokio::test]
async fn the_reference_of_metrics_is_current() {
    let gateway = Gateway::start().await;
    let current = page(&measured(&gateway).await);
    let path = verso_tests::package().join(PUBLISHED);
    if std::fs::read_to_string(&path).unwrap_or_default() != current {
        // Left beside the published one for the next commit to take.
        let proposed = path.with_extension("proposed.md");
        std::fs::write(&proposed, &current).expect("a writable folder");
        panic!("the metrics changed: review {} and rename it to {PUBLISHED}", proposed.display());
    }
}

#[tokio::test]
async fn names_follow_the_rules_and_labels_are_few() {
    let gateway = Gateway::start().await;
    for (name, (family, _)) in measured(&gateway).await {
        assert!(["openclaw_", "verso_", "process_"].iter().any(|prefix| name.starts_with(prefix)), "{name}");
        assert!(!name.ends_with("_total"), "{name}: the ending is the exposition's");
        assert!(family.labels.len() <= 6 && family.labels.is_sorted_by(|a, b| a < b || b == "service"), "{name}: {:?}", family.labels);
        assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}");
    }
}

#[tokio::test]
async fn a_service_that_is_down_fails_no_scrape() {
    let gateway = Gateway::start().await;
    let scrape = async || {
        let asked = crate::http::http().get(gateway.http("/metrics")).bearer_auth(verso_tests::gateway::TOKEN);
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status(), reqwest::StatusCode::OK);
        answer.text().await.expect("text")
    };
    let before = scrape().await;
    let services = ["supervisor", "edge", "presence", "node", "channel", "agent", "canvas"];
    for service in services {
        assert!(before.contains(&format!("verso_service_up{{service=\"{service}\"}} 1\n")), "{service}: {before}");
        assert!(before.contains(&format!("verso_runtime_workers{{service=\"{service}\"}} ")), "{service}");
    }
    // It is drained: nobody starts it again.
    let client = gateway.client().await;
    client.call("services.drain", serde_json::json!({"name": "agent"})).await.expect("a drained service");
    let after = scrape().await;
    assert!(
        after.contains("verso_service_up{service=\"agent\"} 0\n") && after.contains("verso_service_up{service=\"node\"} 1\n"),
        "{after}"
    );
    assert!(after.contains("verso_service_state{service=\"agent\",state=\"stopped\"} 1\n"), "{after}");
    assert!(!after.contains("verso_runtime_workers{service=\"agent\"}"));
}
