//! Frames that nobody would send, to a gateway that must not mind.
//!
//! `PROPTEST_CASES` sets how many; the default is what a build server can afford.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use verso_proto::methods::METHODS;
use verso_tests::Gateway;

use crate::raw::{Raw, connect_params, request};

/// Memory that the edge may gain over all the frames, in KiB.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// Any JSON value, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{0,12}", inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

/// A frame: text without sense, JSON without sense, or a request with parameters without sense.
fn any_frame() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = METHODS.iter().map(|method| method.name).filter(|name| !name.is_empty()).collect();
    prop_oneof![
        ".{0,200}",
        any_json().prop_map(|value| value.to_string()),
        ("[a-z0-9]{0,8}", prop::sample::select(names), any_json()).prop_map(|(id, name, params)| request(&id, name, params)),
        (any_json(), any_json(), any_json())
            .prop_map(|(id, method, params)| { json!({"type": "req", "id": id, "method": method, "params": params}).to_string() }),
    ]
}

/// A first frame: any frame, or `connect` with one member replaced.
fn any_first_frame() -> impl Strategy<Value = String> {
    let members = vec!["minProtocol", "maxProtocol", "client", "role", "scopes", "device", "caps", "permissions", "auth", "extra"];
    let connect = (prop::sample::select(members), any_json(), 3_u32..5).prop_map(|(member, value, version)| {
        let mut params = connect_params(version);
        params[member] = value;
        request("1", "connect", params)
    });
    prop_oneof![any_frame(), connect]
}

fn samples<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, divisor: u32) -> Vec<T> {
    let mut runner = TestRunner::new(ProptestConfig::default());
    let count = (runner.config().cases / divisor).max(1);
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a sample").current()).collect()
}

async fn healthy(raw: &mut Raw, id: &str) {
    raw.send(request(id, "health", json!({}))).await;
    loop {
        let answer = raw.response().await.expect("an established connection is kept");
        if answer["id"] == id {
            // A frame may have asked for less than reading, or for the role of a node; then the refusal is the answer.
            let refused = ["missing scope", "unauthorized role"].iter().any(|words| answer["error"]["message"].to_string().contains(words));
            return assert!(answer["ok"] == true || refused, "{answer}");
        }
    }
}

#[tokio::test]
async fn sec_29_frames_without_sense_leave_an_established_connection_open() {
    let gateway = Gateway::start().await;
    let edge = gateway.service("edge").await.pid.expect("a running edge");
    let mut raw = Raw::open(&gateway).await;
    let mut params = connect_params(4);
    // What it may call only reads: fuzz must not change anything.
    params["scopes"] = json!(["operator.read"]);
    raw.send(request("c", "connect", params)).await;
    raw.response().await.expect("a hello");
    let before_kib = verso_tests::process::rss_kib(edge);
    for (number, frame) in samples(&any_frame(), 1).into_iter().enumerate() {
        raw.send(frame).await;
        healthy(&mut raw, &format!("probe-{number}")).await;
    }
    let grown_kib = verso_tests::process::rss_kib(edge).saturating_sub(before_kib);
    assert!(grown_kib < GROWTH_KIB_MAX, "the edge grew by {grown_kib} KiB");
    assert_eq!(gateway.service("edge").await.pid, Some(edge), "the edge did not fall");
}

#[tokio::test]
async fn sec_29_first_frames_without_sense_close_as_specified() {
    let gateway = Gateway::start().await;
    let edge = gateway.service("edge").await.pid.expect("a running edge");
    for frame in samples(&any_first_frame(), 4) {
        let mut raw = Raw::open(&gateway).await;
        raw.send(frame.clone()).await;
        match raw.response().await {
            Ok(answer) if answer["ok"] == true => healthy(&mut raw, "after-hello").await,
            Ok(answer) => {
                assert!(answer["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{frame}: {answer}");
                let (code, _) = raw.closed().await;
                assert!([1002, 1008].contains(&code), "{frame}: {answer}, then {code}");
            }
            Err((code, reason)) => {
                let expected = (code, reason.as_str()) == (1000, "") || (code, reason.as_str()) == (1008, "invalid request frame");
                assert!(expected, "{frame}: {code} {reason}");
            }
        }
    }
    assert_eq!(gateway.service("edge").await.pid, Some(edge), "the edge did not fall");
}
