//! What tools see from outside: health, reflection, one trace through every process, metrics and logs at a collector.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use verso_client::{Client, Events};
use verso_kit::peer::Peer;
use verso_tests::bot_api::BotApi;
use verso_tests::collector::{Collector, From, attributes};
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, PATIENCE, Provider, eventually};

use crate::http::http;
use crate::raw::Raw;

const TRACE_ID: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE_ID:032x}-b7ad6b7169203331-{flags}")
}

/// The configuration of a gateway that sends everything to a collector over gRPC.
fn sent_to(address: std::net::SocketAddr, mut config: Value, more: Value) -> Value {
    let mut otel = json!({"endpoint": format!("http://{address}"), "protocol": "grpc", "flushIntervalMs": 1_000});
    if let (Some(otel), Value::Object(more)) = (otel.as_object_mut(), more) {
        otel.extend(more);
    }
    config["diagnostics"] = json!({"otel": otel});
    config
}

async fn send_frame(client: &Client, method: &str, params: &Value, traceparent: &str) {
    let frame = json!({"type": "req", "id": "t", "method": method, "params": params, "traceparent": traceparent});
    client.send_raw(frame.to_string()).await.expect("an open socket");
}

async fn ended(events: &mut Events, run_id: &str) -> Value {
    loop {
        let event = timeout(PATIENCE, events.next_named("chat")).await.expect("a chat event in time").expect("an open socket");
        if event.payload["runId"] == run_id && event.payload["state"] != "delta" {
            return event.payload.clone();
        }
    }
}

/// The spans by service and name.
fn named(spans: &[From<Span>]) -> BTreeMap<(String, String), &Span> {
    spans.iter().map(|span| ((span.service().to_owned(), span.item.name.clone()), &span.item)).collect()
}

#[tokio::test]
async fn one_turn_is_one_connected_trace_over_four_services() {
    let (collector, address) = Collector::over_grpc().await;
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"]}))["channels"].clone();
    let gateway = Gateway::start_with(sent_to(address, config, json!({}))).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let send = r#"{"action":"send","channel":"telegram","target":"42","message":"word-of-mouth"}"#;
    let message = format!("whisper-it [[call=nodes args={{\"action\":\"status\"}} call2=message args2={send}]]");
    let params = json!({"sessionKey": "agent:main:traced", "message": message, "idempotencyKey": "run-traced"});
    send_frame(&client, "chat.send", &params, &traceparent("01")).await;
    assert_eq!(ended(&mut events, "run-traced").await["state"], "final");
    eventually("the message", async || api.sent_to(42).pop()).await;

    let wanted = [
        ("verso-edge", "ws.request chat.send"),
        ("verso-agent", "openclaw.run"),
        ("verso-agent", "openclaw.model.call"),
        ("verso-agent", "openclaw.tool.execution"),
        ("verso-agent", "openclaw.model.usage"),
        ("verso-node", "verso.node.v1.Node/List"),
        ("verso-channel", "openclaw.message.delivery"),
    ];
    let spans = eventually("the spans of all processes", async || {
        let spans = collector.trace(&TRACE_ID.to_be_bytes());
        let names: BTreeSet<_> = named(&spans).into_keys().collect();
        wanted.iter().all(|(service, name)| names.contains(&((*service).to_owned(), (*name).to_owned()))).then_some(spans)
    })
    .await;
    let services: BTreeSet<_> = spans.iter().map(From::service).collect();
    assert!(services.len() >= 4, "{services:?}");
    // Connected: whoever has a parent has one of this trace; the one above all is the client's.
    let ids: BTreeSet<_> = spans.iter().map(|span| span.item.span_id.clone()).collect();
    let outside: BTreeSet<_> = spans.iter().map(|span| span.item.parent_span_id.clone()).filter(|id| !ids.contains(id)).collect();
    assert_eq!(outside, BTreeSet::from([0xb7ad_6b71_6920_3331_u64.to_be_bytes().to_vec()]), "{:?}", named(&spans).keys());
    // The conventions: rpcs, generative models, messages.
    let by_name = named(&spans);
    let of = |service: &str, name: &str| attributes(&by_name[&(service.to_owned(), name.to_owned())].attributes);
    let rpc = of("verso-node", "verso.node.v1.Node/List");
    assert_eq!((rpc["rpc.system"].as_str(), rpc["rpc.method"].as_str(), rpc["rpc.grpc.status_code"].as_str()), ("grpc", "List", "0"));
    let call = of("verso-agent", "openclaw.model.call");
    assert_eq!((call["gen_ai.operation.name"].as_str(), call["gen_ai.request.model"].as_str()), ("chat", "model-1"));
    assert!(call.contains_key("gen_ai.usage.input_tokens"), "{call:?}");
    let delivery = of("verso-channel", "openclaw.message.delivery");
    assert_eq!((delivery["messaging.system"].as_str(), delivery["messaging.operation.type"].as_str()), ("telegram", "send"));
    // Who says it.
    for span in &spans {
        assert!(span.resource["service.instance.id"].len() == 36 && span.resource["verso.epoch"] != "0", "{:?}", span.resource);
        assert_eq!(span.resource["service.namespace"], "verso");
    }
    // The provider is in the same trace.
    assert!(
        provider.calls().iter().all(|call| call.traceparent.as_deref().is_some_and(|trace| trace.contains(&format!("{TRACE_ID:032x}"))))
    );
    sec_79_nothing_private(&format!("{:?}", collector.spans()));
}

fn sec_79_nothing_private(everything: &str) {
    for private in ["whisper-it", "word-of-mouth", "agent:main", TOKEN, verso_tests::bot_api::TOKEN, "made-up-key", "\"42\""] {
        assert!(!everything.contains(private), "{private} is in what is exported");
    }
}

#[tokio::test]
async fn a_webhook_is_a_span_of_the_name_that_dashboards_know() {
    let (collector, address) = Collector::over_grpc().await;
    let config = json!({"hooks": {"enabled": true, "token": "made-up-hook-token"}});
    let gateway = Gateway::start_with(sent_to(address, config, json!({}))).await;
    let call = async |body: Value| {
        let asked = http().post(gateway.http("/hooks/wake")).bearer_auth("made-up-hook-token").json(&body);
        asked.send().await.expect("an answer").status()
    };
    assert_eq!(call(json!({"text": "whisper-it", "mode": "next-heartbeat"})).await, StatusCode::OK);
    assert_eq!(call(json!({})).await, StatusCode::BAD_REQUEST);
    for (name, error) in [("openclaw.webhook.processed", None), ("openclaw.webhook.error", Some("Bad Request"))] {
        let span = eventually(name, async || collector.spans().into_iter().find(|span| span.item.name == name)).await;
        let attributes = attributes(&span.item.attributes);
        assert_eq!(attributes["openclaw.webhook"], "wake");
        assert_eq!(attributes.get("openclaw.error").map(String::as_str), error);
    }
    sec_79_nothing_private(&format!("{:?}", collector.spans()));
}

#[tokio::test]
async fn a_message_of_a_chat_network_and_its_answer_are_one_trace() {
    let (collector, address) = Collector::over_grpc().await;
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"]}))["channels"].clone();
    let _gateway = Gateway::start_with(sent_to(address, config, json!({}))).await;
    api.write(42, "whisper-it [[tokens=2]]");
    let spans = eventually("the way in and the way out", async || {
        let spans = collector.spans();
        let delivery = spans.iter().find(|span| span.item.name == "openclaw.message.delivery")?;
        let spans = collector.trace(&delivery.item.trace_id);
        let names: BTreeSet<_> = named(&spans).into_keys().map(|(_, name)| name).collect();
        ["openclaw.message.processed", "openclaw.run", "openclaw.model.call"].iter().all(|name| names.contains(*name)).then_some(spans)
    })
    .await;
    let roots: Vec<_> = spans.iter().filter(|span| span.item.parent_span_id.is_empty()).map(|span| span.item.name.as_str()).collect();
    assert_eq!(roots, ["openclaw.message.processed"], "{:?}", named(&spans).keys());
    sec_79_nothing_private(&format!("{:?}", collector.spans()));
}

/// A gateway whose Telegram account is a process of its own, and what it is spoken to with.
async fn set_apart(address: std::net::SocketAddr, more: Value) -> (Gateway, BotApi, Provider) {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"], "isolate": true}))["channels"].clone();
    (Gateway::start_with(sent_to(address, config, more)).await, api, provider)
}

#[tokio::test]
async fn a_message_of_an_account_in_a_process_of_its_own_is_one_trace_with_that_process() {
    let (collector, address) = Collector::over_grpc().await;
    let (gateway, api, _provider) = set_apart(address, json!({"headers": {"x-key": "made-up-collector-key"}})).await;
    api.write(42, "whisper-it [[tokens=2]]");
    let wanted = [
        ("verso-channel-account", "openclaw.message.received"),
        ("verso-channel", "openclaw.message.processed"),
        ("verso-agent", "openclaw.run"),
        ("verso-agent", "openclaw.model.call"),
        ("verso-channel", "openclaw.message.delivery"),
        ("verso-channel-account", "verso.adapter.v1.Adapter/Send"),
    ];
    let spans = eventually("the way in and the way out", async || {
        let received = collector.spans().into_iter().find(|span| span.item.name == "openclaw.message.received")?;
        let spans = collector.trace(&received.item.trace_id);
        let names: BTreeSet<_> = named(&spans).into_keys().collect();
        wanted.iter().all(|(service, name)| names.contains(&((*service).to_owned(), (*name).to_owned()))).then_some(spans)
    })
    .await;
    // Connected: one root, and every other's parent is there.
    let ids: BTreeSet<_> = spans.iter().map(|span| span.item.span_id.clone()).collect();
    let outside = spans.iter().filter(|span| !ids.contains(&span.item.parent_span_id));
    let outside: Vec<_> = outside.map(|span| (span.item.name.as_str(), span.item.parent_span_id.len())).collect();
    assert_eq!(outside, [("openclaw.message.received", 0)], "{:?}", named(&spans).keys());
    let by_name = named(&spans);
    let of = |at: usize| by_name[&(wanted[at].0.to_owned(), wanted[at].1.to_owned())];
    assert_eq!((&of(1).parent_span_id, &of(5).parent_span_id), (&of(0).span_id, &of(4).span_id));
    let resource = |service: &str| &spans.iter().find(|span| span.service() == service).expect("a span").resource;
    let (account, channel) = (resource("verso-channel-account"), resource("verso-channel"));
    assert_eq!((account["verso.channel"].as_str(), account["verso.account"].as_str()), ("telegram", "default"));
    assert_ne!(account["service.instance.id"], channel["service.instance.id"]);
    assert_eq!(account["verso.epoch"], channel["verso.epoch"]);
    // What is asked of the account besides begins no traces.
    let background = ["Hello", "Run", "Acknowledge"].map(|call| format!("verso.adapter.v1.Adapter/{call}"));
    assert!(!collector.spans().iter().any(|span| background.contains(&span.item.name)), "{:?}", named(&collector.spans()).keys());
    eventually("the memory of the account's process", async || {
        let mut of_account = collector.metrics().into_iter().filter(|metric| metric.service() == "verso-channel-account");
        of_account.any(|metric| metric.item.name == "openclaw.memory.rss_bytes").then_some(())
    })
    .await;
    let page = eventually("the account's numbers", async || {
        let asked = crate::http::http().get(gateway.http("/metrics")).bearer_auth(TOKEN).send().await.ok()?;
        let page = asked.text().await.ok()?;
        page.contains("verso_channel_account_sent_total{account=\"default\",channel=\"telegram\",outcome=\"sent\"} 1\n").then_some(page)
    })
    .await;
    let labels = "{account=\"default\",channel=\"telegram\"}";
    for one in ["received_total", "running", "connected"] {
        assert!(page.contains(&format!("verso_channel_account_{one}{labels} 1\n")), "{one}: {page}");
    }
    let memory = page.lines().find_map(|line| line.strip_prefix(&format!("verso_channel_account_memory_bytes{labels} ")));
    assert!(memory.and_then(|bytes| bytes.parse::<f64>().ok()).is_some_and(|bytes| bytes > 1e6), "{memory:?}");
    sec_79_nothing_private(&format!("{:?}", collector.spans()));
}

#[tokio::test]
async fn a_trace_that_an_account_in_a_process_of_its_own_does_not_keep_is_kept_by_nobody() {
    let (collector, address) = Collector::over_grpc().await;
    let (_gateway, api, _provider) = set_apart(address, json!({"sampleRate": 0})).await;
    api.write(42, "whisper-it [[tokens=2]]");
    eventually("the answer", async || api.sent_to(42).pop()).await;
    eventually("the numbers of the account's process", async || {
        collector.metrics().iter().any(|metric| metric.service() == "verso-channel-account").then_some(())
    })
    .await;
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
}

#[tokio::test]
async fn a_run_that_is_taken_up_again_is_linked_to_the_one_that_was_interrupted() {
    let (collector, address) = Collector::over_grpc().await;
    let provider = Provider::start().await;
    let gateway = Gateway::start_with(sent_to(address, provider.config(), json!({}))).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let params = json!({"sessionKey": "agent:main:cut", "message": "go [[tokens=30 gap=25]]", "idempotencyKey": "run-cut"});
    send_frame(&client, "chat.send", &params, &traceparent("01")).await;
    loop {
        let event = timeout(PATIENCE, events.next_named("chat")).await.expect("a chat event in time").expect("an open socket");
        if event.payload["runId"] == "run-cut" && event.payload["state"] == "delta" {
            break;
        }
    }
    let epoch = gateway.service("agent").await.epoch;
    gateway.kill("agent").await;
    assert_eq!(ended(&mut events, "run-cut").await["state"], "final");
    let resumed = eventually("the span of the second attempt", async || {
        let spans = collector.spans();
        spans.into_iter().find(|span| span.item.name == "openclaw.run" && !span.item.links.is_empty())
    })
    .await;
    assert_eq!(resumed.item.links[0].trace_id, TRACE_ID.to_be_bytes());
    assert_ne!(resumed.item.trace_id, TRACE_ID.to_be_bytes(), "the client's request is over");
    assert_eq!(resumed.resource["verso.epoch"], (epoch + 1).to_string());
}

#[tokio::test]
async fn sec_79_a_strangers_trace_context_neither_forces_a_trace_nor_may_be_long() {
    let (collector, address) = Collector::over_grpc().await;
    let gateway = Gateway::start_with(sent_to(address, json!({}), json!({"sampleRate": 0}))).await;
    let client = gateway.client().await;
    send_frame(&client, "sessions.list", &json!({}), &traceparent("01")).await;
    let long = format!("{}-{}", traceparent("01"), "0".repeat(80));
    let mut raw = Raw::open(&gateway).await;
    raw.connect(4).await;
    raw.send(json!({"type": "req", "id": "l", "method": "health", "params": {}, "traceparent": long}).to_string()).await;
    let refused = raw.response().await.expect("an answer");
    assert_eq!((&refused["ok"], &refused["error"]["code"]), (&json!(false), &json!("INVALID_REQUEST")), "{refused}");
    // Metrics say that the exporter works.
    eventually("metrics", async || (!collector.metrics().is_empty()).then_some(())).await;
    client.call("sessions.list", json!({})).await.expect("an answer");
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
}

#[tokio::test]
async fn metrics_and_logs_reach_a_collector_over_http() {
    let (collector, address) = Collector::over_http().await;
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["diagnostics"] = json!({"otel": {"endpoint": format!("http://{address}"), "logs": true, "flushIntervalMs": 1_000}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let params = json!({"sessionKey": "agent:main:counted", "message": "whisper-it [[tokens=3]]", "idempotencyKey": "run-counted"});
    client.call("chat.send", params).await.expect("an accepted message");
    assert_eq!(ended(&mut events, "run-counted").await["state"], "final");
    let wanted = [
        ("verso-agent", "openclaw.tokens"),
        ("verso-agent", "openclaw.run.duration_ms"),
        ("verso-agent", "openclaw.queue.lane.enqueue"),
        ("verso-agent", "gen_ai.client.token.usage"),
        ("verso-agent", "rpc.server.duration"),
        ("verso-edge", "openclaw.gateway.rpc.requests"),
        ("verso-edge", "verso.ws.connections"),
        ("verso-edge", "verso.grpc.client.duration"),
        ("verso-supervisor", "verso.service.restarts"),
        ("verso-presence", "openclaw.memory.rss_bytes"),
        ("verso-canvas", "verso_runtime_busy_seconds"),
    ];
    let metrics = eventually("metrics of all processes", async || {
        let metrics = collector.metrics();
        let has = |service: &str, name: &str| metrics.iter().any(|metric| metric.service() == service && metric.item.name == name);
        wanted.iter().all(|(service, name)| has(service, name)).then(|| metrics.clone())
    })
    .await;
    let tokens = metrics.iter().rfind(|metric| metric.item.name == "openclaw.tokens").expect("tokens");
    let Some(Data::Sum(sum)) = &tokens.item.data else { panic!("{tokens:?}") };
    let labels = attributes(&sum.data_points[0].attributes);
    assert_eq!((labels["openclaw.model"].as_str(), labels["openclaw.channel"].as_str(), sum.is_monotonic), ("model-1", "webchat", true));
    let records = eventually("records of all processes", async || {
        let records = collector.records();
        let services: BTreeSet<_> = records.iter().map(From::service).map(str::to_owned).collect();
        (services.len() >= 6).then_some(records)
    })
    .await;
    assert!(records.iter().any(|record| !record.item.severity_text.is_empty()));
    sec_79_nothing_private(&format!("{:?}{:?}{:?}", collector.records(), collector.metrics(), collector.spans()));
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_harms_nobody() {
    // It accepts and never says anything.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let hanging = silent.local_addr().expect("an address");
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("an address")
    };
    for (address, protocol) in [(hanging, "grpc"), (hanging, "http/protobuf"), (gone, "grpc"), (gone, "http/protobuf")] {
        let provider = Provider::start().await;
        let more = json!({"protocol": protocol, "logs": true});
        let mut gateway = Gateway::start_with(sent_to(address, provider.config(), more)).await;
        let client = gateway.client().await;
        let mut events = client.events();
        let params = json!({"sessionKey": "agent:main:x", "message": "hi [[tokens=3]]", "idempotencyKey": "run-x"});
        client.call("chat.send", params).await.expect("an accepted message");
        assert_eq!(ended(&mut events, "run-x").await["state"], "final");
        if address == gone {
            eventually("the failures to be counted", async || {
                let asked = crate::http::http().get(gateway.http("/metrics")).bearer_auth(TOKEN).send().await.ok()?;
                let text = asked.text().await.ok()?;
                let failed = |line: &&str| line.starts_with("openclaw_telemetry_exporter_total{") && line.contains("status=\"failure\"");
                text.lines().find(failed).map(str::to_owned)
            })
            .await;
        }
        let begun = Instant::now();
        verso_tests::process::signal(gateway.pid(), rustix::process::Signal::TERM);
        assert!(gateway.ended().await.success());
        assert!(begun.elapsed() < Duration::from_secs(12), "{protocol}: the end took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn every_process_says_that_it_serves() {
    let gateway = Gateway::start().await;
    for name in ["supervisor", "edge", "presence", "node", "channel", "agent", "canvas"] {
        let peer = Peer::unix(gateway.state_dir().join(format!("run/{name}.sock")));
        let mut health = HealthClient::new(peer.channel());
        for service in [String::new(), name.to_owned()] {
            let answer = health.check(HealthCheckRequest { service: service.clone() }).await;
            assert_eq!(answer.map(|answer| answer.into_inner().status).ok(), Some(1), "{name}, asked for {service:?}");
        }
    }
}
