//! Secret addresses of the canvas outlive the processes behind them, and nothing else.

use reqwest::StatusCode;
use serde_json::{Value, json};
use verso_client::{Client, Identity};
use verso_tests::{Gateway, eventually};

use crate::handover::replace;
use crate::http::http;

/// What is asked for, as somebody from elsewhere asks.
async fn status(url: &str) -> Option<StatusCode> {
    http().get(url).header("host", "den.example").send().await.ok().map(|answer| answer.status())
}

async fn works(url: &str) {
    eventually("the page", async || (status(url).await == Some(StatusCode::OK)).then_some(())).await;
}

/// The address of a page below a canvas's address.
fn page(base: &Value) -> String {
    format!("{}/__openclaw__/canvas/", base.as_str().expect("an address"))
}

async fn node(gateway: &Gateway) -> Client {
    let mut options = gateway.options().with_client("node-host", "node").with_identity(Identity::generate(0)).with_protocol(4..=4);
    (options.role, options.scopes) = ("node".to_owned(), None);
    gateway.connect(options).await
}

#[tokio::test]
async fn addresses_of_the_canvas_outlive_the_processes_behind_them() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let gateway = Gateway::start_with(json!({"canvasHost": {"enabled": true, "root": "pages", "port": port}})).await;
    std::fs::write(gateway.state_dir().join("pages/index.html"), "<p>drawn</p>").expect("a page");
    let client = gateway.client().await;
    let opened = client.call("canvas.open", json!({"page": "canvas"})).await.expect("an address");
    let open = opened["url"].as_str().expect("an address").to_owned();
    let node = node(&gateway).await;
    let bound = page(&node.hello().payload["pluginSurfaceUrls"]["canvas"]);
    works(&open).await;
    works(&bound).await;
    for service in ["canvas", "node"] {
        let pid = gateway.kill(service).await;
        gateway.recovered(service, pid).await;
        works(&open).await;
        works(&bound).await;
    }
    // The node's connection goes on in the next edge, and its address with it.
    replace(&gateway).await;
    works(&open).await;
    works(&bound).await;
    // With an edge that is killed the connection ends, and with that its address; the other one goes on.
    let pid = gateway.kill("edge").await;
    gateway.recovered("edge", pid).await;
    works(&open).await;
    assert_eq!(status(&bound).await, Some(StatusCode::UNAUTHORIZED));
    let folder = gateway.state_dir().join("edge/canvas-addresses");
    let secret = open.split_once("/cap/").and_then(|(_, rest)| rest.split('/').next()).expect("a secret");
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("a file");
        let shown = format!("{} {}", path.display(), String::from_utf8_lossy(&bytes));
        assert!(!shown.contains(secret), "what is kept opens nothing");
    }
}
