//! Peers that want the HTTP side to hold more than it should, or to wait for ever. Meanwhile everybody else is served.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, PATIENCE, Provider, eventually, process};

use crate::http::http;

/// Streams that are given up; `VERSO_ABORTED_STREAMS` sets another number.
const STREAMS: usize = 60;

/// What the edge may hold more than before, in bytes.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

async fn edge_bytes(gateway: &Gateway) -> u64 {
    process::rss_kib(gateway.service("edge").await.pid.expect("a running edge")) << 10
}

async fn answers(gateway: &Gateway) {
    let asked = http().get(gateway.http("/v1/models")).bearer_auth(TOKEN).send();
    assert_eq!(timeout(PATIENCE, asked).await.expect("in time").expect("an answer").status(), StatusCode::OK);
}

async fn raw(gateway: &Gateway, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("a sent head");
    stream
}

/// Reads until the other end closes; what has come until then.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    drop(timeout(Duration::from_mins(1), stream.read_to_end(&mut bytes)).await.expect("the gateway ends it"));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn sec_30_whoever_sends_slowly_or_without_end_is_cut_and_nobody_waits_for_him() {
    let config = json!({"hooks": {"enabled": true, "token": "made-up-hook-secret"}});
    let gateway = Gateway::start_with(config).await;
    let before = edge_bytes(&gateway).await;
    let head = |path: &str, secret: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\nContent-Length: {length}\r\n\r\n")
    };
    // Heads that never end, and bodies of which one byte comes.
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        heads.push(raw(&gateway, "POST /hooks/agent HTTP/1.1\r\nHost: x\r\n").await);
        bodies.push(raw(&gateway, &(head("/hooks/agent", "made-up-hook-secret", 1_000) + "{")).await);
    }
    answers(&gateway).await;
    // Too large by what it announces: refused before anything of it is read.
    let mut announced = raw(&gateway, &head("/hooks/agent", "made-up-hook-secret", 300_000)).await;
    let answer = rest(&mut announced).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("{\"ok\":false,\"error\":\"payload too large\"}"), "{answer}");
    // Too large by what comes, without any announcement.
    let chunked =
        "POST /hooks/agent HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer made-up-hook-secret\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut endless = raw(&gateway, chunked).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..64 {
        if endless.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert!(rest(&mut endless).await.starts_with("HTTP/1.1 413"));
    // A wrong secret costs nothing, however much follows.
    let mut stranger = raw(&gateway, &head("/hooks/agent", "wrong", 200_000)).await;
    stranger.write_all(b"{").await.expect("a byte");
    let mut first = [0; 12];
    stranger.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 401");
    // What a body may take is timed in `http/tests.rs`, where the clock can be turned.
    let ended = join_all(heads.iter_mut().map(rest)).await;
    assert!(ended.iter().all(|answer| answer.is_empty() || answer.contains("408")), "{ended:?}");
    answers(&gateway).await;
    let grown = edge_bytes(&gateway).await.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown}");
}

#[tokio::test]
async fn heads_bodies_and_bombs_that_are_too_large_are_refused_within_bounds() {
    let gateway = Gateway::start_with(json!({"gateway": {"http": {"endpoints": {"responses": {"enabled": true}}}}})).await;
    let before = edge_bytes(&gateway).await;
    // A flood of headers, and one that is huge.
    let many: String = (0..5_000).flat_map(|number| ["x-".to_owned(), number.to_string(), ": 1\r\n".to_owned()]).collect();
    for head in [many, format!("x-huge: {}\r\n", "x".repeat(1 << 20))] {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.expect("a connection");
        // The gateway may stop reading before the end.
        drop(stream.write_all(format!("GET /v1/models HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes()).await);
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    // A small body that would become a large one is not unpacked.
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/tools/invoke"] {
        let bomb = http().post(gateway.http(path)).bearer_auth(TOKEN).header("content-encoding", "gzip").body(vec![0x1f, 0x8b, 8, 0]);
        let answer = bomb.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}");
    }
    let large = vec![b' '; (20 << 20) + 1];
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/tools/invoke"] {
        let answer = http().post(gateway.http(path)).bearer_auth(TOKEN).body(large.clone()).send().await;
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        }
    }
    // Nested deeper than anybody writes.
    let deep = "[".repeat(200_000);
    let answer = http().post(gateway.http("/v1/responses")).bearer_auth(TOKEN).body(deep).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    answers(&gateway).await;
    eventually("the edge to let go of what it held", async || {
        (edge_bytes(&gateway).await.saturating_sub(before) < GROWTH_BYTES_MAX).then_some(())
    })
    .await;
}

#[tokio::test]
async fn streams_that_are_given_up_leave_nothing_behind() {
    let streams = verso_tests::count("VERSO_ABORTED_STREAMS", STREAMS);
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let body = json!({"model": "verso", "stream": true, "messages": [{"role": "user", "content": "go [[tokens=100000 gap=10]]"}]});
    let client = http();
    let abort = async || {
        let mut answer = client.post(gateway.http("/v1/chat/completions")).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
        // Given up when the agent is in the middle of its answer.
        let mut heard = String::new();
        while !heard.contains("word0") {
            heard.push_str(&String::from_utf8_lossy(&answer.chunk().await.expect("a chunk").expect("more")));
        }
    };
    abort().await;
    let before = edge_bytes(&gateway).await;
    let mut left = streams;
    while left > 0 {
        let batch = left.min(20);
        join_all((0..batch).map(|_| abort())).await;
        left -= batch;
    }
    let asked = json!({"model": "verso", "messages": [{"role": "user", "content": "hi [[tokens=1]]"}]});
    let answer = http().post(gateway.http("/v1/chat/completions")).bearer_auth(TOKEN).json(&asked).send().await.expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "word0", "no run that was given up holds a place: {answer}");
    eventually("the edge to let go of what it held", async || {
        (edge_bytes(&gateway).await.saturating_sub(before) < GROWTH_BYTES_MAX).then_some(())
    })
    .await;
}
