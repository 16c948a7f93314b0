//! The client against a scripted peer: what it does with close codes, second answers, pings and events.

#![allow(clippy::unwrap_used, reason = "a test binary: its fixture may panic like its tests")]

mod gateway;
mod returning;
mod secrets;

use gateway::{Gateway, challenge, error, event, hello, ok};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use verso_client::{CallErrorKind, Client, Closed, Error, EventError, Identity, Options};
use verso_protocol::Version;
use verso_protocol::auth::{Challenge, verify_device};

const NOW_MS: i64 = 1_700_000_000_000;

#[tokio::test]
async fn a_call_returns_its_own_answer() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let (first, second) = (peer.request().await, peer.request().await);
        peer.send(ok(&second, &json!("second"))).await;
        peer.send(ok(&first, &json!("first"))).await;
        peer.end().await;
    })
    .await;
    let client = gateway.client().await;
    let (first, second) = tokio::join!(client.call("a", json!({})), client.call("b", json!({"x": 1})));
    assert_eq!((first.unwrap(), second.unwrap()), (json!("first"), json!("second")));
}

#[tokio::test]
async fn an_error_keeps_all_that_the_gateway_said() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let request = peer.request().await;
        let detail = json!({"code": "UNAVAILABLE", "message": "later", "details": {"a": 1}, "retryable": true, "retryAfterMs": 20});
        peer.send(error(&request, &detail)).await;
        peer.end().await;
    })
    .await;
    let failed = gateway.client().await.call("a", json!({})).await.unwrap_err();
    assert_eq!((failed.kind, failed.code.as_str(), failed.message.as_str()), (CallErrorKind::Answered, "UNAVAILABLE", "later"));
    assert_eq!((failed.details.as_deref(), failed.retryable, failed.retry_after_ms), (Some(&json!({"a": 1})), true, Some(20)));
}

#[tokio::test]
async fn a_run_is_answered_twice() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let run = peer.request().await;
        peer.send(ok(&run, &json!({"status": "accepted"}))).await;
        peer.send(ok(&run, &json!({"status": "ok"}))).await;
        peer.end().await;
    })
    .await;
    let client = gateway.client().await;
    let mut run = client.call_streaming("agent", json!({})).await.unwrap();
    assert_eq!(run.next().await.unwrap().unwrap()["status"], "accepted");
    assert_eq!(run.next().await.unwrap().unwrap()["status"], "ok");
    assert!(run.next().await.is_none());
}

#[tokio::test]
async fn a_run_that_fails_says_how_far_it_came() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let run = peer.request().await;
        peer.send(ok(&run, &json!({"status": "accepted"}))).await;
        let id = &run["id"];
        let detail = json!({"code": "UNAVAILABLE", "message": "no model"});
        peer.send(json!({"type": "res", "id": id, "ok": false, "payload": {"status": "error"}, "error": detail})).await;
        peer.end().await;
    })
    .await;
    let client = gateway.client().await;
    let mut run = client.call_streaming("agent", json!({})).await.unwrap();
    assert!(run.next().await.unwrap().is_ok());
    let failed = run.next().await.unwrap().unwrap_err();
    assert_eq!((failed.message.as_str(), failed.payload.as_deref()), ("no model", Some(&json!({"status": "error"}))));
    assert!(run.next().await.is_none());
}

#[tokio::test]
async fn a_call_in_flight_fails_with_the_words_of_the_close() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        peer.request().await;
        peer.close(CloseCode::Restart, "service restart").await;
    })
    .await;
    let client = gateway.client().await;
    let failed = client.call("a", json!({})).await.unwrap_err();
    assert_eq!((failed.kind, failed.message.as_str()), (CallErrorKind::Closed, "gateway closed (1012): service restart"));
    assert_eq!(client.closed().await, Closed { code: 1012, reason: "service restart".to_owned() });
    let after = client.call("a", json!({})).await.unwrap_err();
    assert_eq!(after.message, "gateway closed (1012): service restart");
}

#[tokio::test]
async fn a_run_cut_short_by_the_end_of_the_connection_fails_once() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let run = peer.request().await;
        peer.send(ok(&run, &json!({"status": "accepted"}))).await;
    })
    .await;
    let client = gateway.client().await;
    let mut run = client.call_streaming("agent", json!({})).await.unwrap();
    assert!(run.next().await.unwrap().is_ok());
    assert_eq!(run.next().await.unwrap().unwrap_err().kind, CallErrorKind::Closed);
    assert!(run.next().await.is_none());
}

#[tokio::test]
async fn a_call_without_an_answer_times_out() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        peer.request().await;
        let next = peer.request().await;
        peer.send(ok(&next, &json!(2))).await;
        peer.end().await;
    })
    .await;
    let client = gateway.client().await;
    let failed = client.call_within("a", json!({}), 20).await.unwrap_err();
    assert_eq!((failed.kind, failed.message.as_str()), (CallErrorKind::TimedOut, "no answer to a within 20 ms"));
    assert_eq!(client.call("b", json!({})).await.unwrap(), json!(2), "the connection is still good");
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_kept_without_end() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let run = peer.request().await;
        for _ in 0..40 {
            peer.send(ok(&run, &json!({"status": "accepted"}))).await;
        }
        let mark = peer.request().await;
        peer.send(ok(&mark, &json!("mark"))).await;
        peer.end().await;
    })
    .await;
    let client = gateway.client().await;
    let mut run = client.call_streaming("agent", json!({})).await.unwrap();
    client.call("mark", json!({})).await.unwrap();
    let mut read = 0;
    let failed = loop {
        match run.next().await.unwrap() {
            Ok(_) => read += 1,
            Err(failed) => break failed,
        }
    };
    assert_eq!((read, failed.kind), (16, CallErrorKind::Lagged));
}

#[tokio::test]
async fn a_refused_connect_says_why() {
    let gateway = Gateway::start(async |mut peer| {
        peer.send(challenge("n", NOW_MS)).await;
        let request = peer.request().await;
        peer.send(error(&request, &json!({"code": "NOT_PAIRED", "message": "pairing required"}))).await;
        peer.close(CloseCode::Policy, "pairing required").await;
    })
    .await;
    let Err(Error::Refused(refused)) = Client::connect(gateway.options()).await else { panic!("must be refused") };
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("NOT_PAIRED", "pairing required"));
}

#[tokio::test]
async fn a_close_before_the_hello_is_reported_with_its_code() {
    let gateway = Gateway::start(async |mut peer| {
        peer.send(challenge("n", NOW_MS)).await;
        peer.request().await;
        peer.close(CloseCode::Again, "gateway starting").await;
    })
    .await;
    let Err(failed) = Client::connect(gateway.options()).await else { panic!("must fail") };
    assert_eq!(failed.to_string(), "gateway closed (1013): gateway starting");
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let gateway = Gateway::start(async |mut peer| peer.end().await).await;
    let options = Options { connect_timeout_ms: 30, ..gateway.options() };
    assert_eq!(Client::connect(options).await.unwrap_err().to_string(), "no hello from the gateway within 30 ms");
}

#[tokio::test]
async fn addresses_that_cannot_work_are_named() {
    let failed = async |url: &str| Client::connect(Options::new(url)).await.unwrap_err().to_string();
    assert_eq!(failed("http://host?token=s").await, "gateway address is not a ws:// or wss:// url: http://host");
    assert_eq!(failed("host:1").await, "gateway address is not a ws:// or wss:// url: host:1");
    // A port that was free a moment ago and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(
        failed(&format!("ws://u:p@127.0.0.1:{port}/?token=s")).await,
        format!("could not connect to the gateway at ws://127.0.0.1:{port}/")
    );
}

#[tokio::test]
async fn a_device_proves_itself_with_the_gateways_own_time() {
    for protocol in [3..=3, 3..=4, 4..=4] {
        let gateway = Gateway::start(async |mut peer| {
            peer.send(challenge("nonce-7", NOW_MS)).await;
            let request = peer.request().await;
            let connect: verso_proto::edge::v1::ConnectRequest = serde_json::from_value(request["params"].clone()).unwrap();
            let proven = Challenge { nonce: "nonce-7", now_ms: NOW_MS, local: false, version: Version::V4 };
            let device = verify_device(&connect, connect.device.as_ref().unwrap(), &proven).unwrap();
            peer.send(ok(&request, &hello(&json!({"deviceToken": "t", "role": "operator", "scopes": ["operator.read"], "id": device.id}))))
                .await;
            peer.end().await;
        })
        .await;
        let identity = Identity::generate(1);
        let options = gateway.options().with_token("s").with_scopes(["operator.read"]).with_protocol(protocol);
        let client = Client::connect(options.with_identity(identity.clone())).await.unwrap();
        assert_eq!(client.hello().payload["auth"]["id"], json!(identity.device_id()));
        assert_eq!((client.hello().device_token.as_deref(), client.hello().protocol), (Some("t"), 4));
    }
}

#[tokio::test]
async fn a_client_without_a_device_sends_what_the_contract_allows() {
    let gateway = Gateway::start(async |mut peer| {
        peer.send(challenge("n", NOW_MS)).await;
        let request = peer.request().await;
        let params = serde_json::value::to_raw_value(&request["params"]).unwrap();
        let method = verso_proto::methods::find("connect").unwrap();
        assert_eq!(verso_protocol::validation::check(Version::V4, method, Some(&params)), Ok(()));
        assert_eq!(request["params"].get("device"), None);
        peer.send(ok(&request, &hello(&request["params"]["auth"]))).await;
        peer.end().await;
    })
    .await;
    let client = Client::connect(gateway.options().with_token("s")).await.unwrap();
    assert_eq!(client.hello().payload["auth"], json!({"token": "s"}));
}

#[tokio::test]
async fn events_around_the_hello_are_not_lost() {
    let gateway = Gateway::start(async |mut peer| {
        peer.send(challenge("n", NOW_MS)).await;
        let request = peer.request().await;
        peer.send(event("early", &json!(1), None)).await;
        peer.send(ok(&request, &hello(&Value::Null))).await;
        peer.send(event("late", &json!(2), Some(1))).await;
    })
    .await;
    let client = gateway.client().await;
    let mut events = client.events();
    assert_eq!(events.next().await.unwrap().name, "early");
    let late = events.next_named("late").await.unwrap();
    assert_eq!((late.seq, &late.payload), (Some(1), &json!(2)));
    assert_eq!(events.next().await, Err(EventError::Closed));
}

#[tokio::test]
async fn a_slow_reader_of_events_is_told_what_it_lost() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        for seq in 1..=1_030 {
            peer.send(event("tick", &Value::Null, Some(seq))).await;
        }
        let mark = peer.request().await;
        peer.send(ok(&mark, &Value::Null)).await;
        peer.end().await;
    })
    .await;
    let client = gateway.client().await;
    let mut events = client.events();
    client.call("mark", json!({})).await.unwrap();
    assert_eq!(events.next().await, Err(EventError::Lagged(6)));
    assert_eq!(events.next().await.unwrap().seq, Some(7));
}

#[tokio::test]
async fn pings_are_answered() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        peer.send_message(Message::Ping(Bytes::from_static(b"are you there"))).await;
        let pong = peer.message().await;
        let same = matches!(pong, Message::Pong(data) if data.as_ref() == b"are you there");
        peer.send(event("pong", &json!(same), None)).await;
        peer.end().await;
    })
    .await;
    // The peer asks for nothing until it has the pong, so the client must send it unasked.
    let client = gateway.client().await;
    let mut events = client.events();
    assert_eq!(events.next().await.unwrap().payload, json!(true));
}

#[tokio::test]
async fn frames_that_are_not_of_the_protocol_are_ignored() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let request = peer.request().await;
        for text in ["{nope", "[]", r#"{"type":"later"}"#, r#"{"type":"res","id":"other","ok":true}"#] {
            peer.send_message(Message::text(text)).await;
        }
        peer.send(ok(&request, &json!(1))).await;
        peer.end().await;
    })
    .await;
    assert_eq!(gateway.client().await.call("a", json!({})).await.unwrap(), json!(1));
}

#[tokio::test]
async fn close_says_goodbye_and_waits_for_the_answer() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        let Message::Close(Some(frame)) = peer.message().await else { panic!("no close frame") };
        assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Normal, ""));
        peer.end().await;
    })
    .await;
    assert_eq!(gateway.client().await.close().await.code, 1000);
    gateway.finished().await;
}

#[tokio::test]
async fn a_peer_that_lingers_after_its_goodbye_is_not_waited_for() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        peer.send_message(Message::Close(None)).await;
        std::future::pending::<()>().await;
    })
    .await;
    let client = gateway.client().await;
    assert_eq!(client.closed().await.code, 1005);
    assert_eq!(client.close().await.code, 1005);
}
