//! What open pages hear, and what they get besides their files.

use std::fs;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::fixture::{Host, host};

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(host: &Host, path: &str, origin: Option<&str>) -> Result<Socket, u16> {
    let mut request = format!("ws://127.0.0.1:{}{path}", host.port).into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// How long anything may take; test machines are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than changes are waited for before they are told.
const QUIET: Duration = Duration::from_millis(600);

async fn frame(socket: &mut Socket) -> String {
    let next = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
    next.unwrap().unwrap().to_text().unwrap().to_owned()
}

/// Waits until the host counts an open page.
async fn open(host: &mut Host, path: &str) -> Socket {
    let socket = socket(host, path, None).await.unwrap();
    while host.client.status(verso_proto::canvas::v1::StatusRequest {}).await.unwrap().into_inner().pages == 0 {
        tokio::task::yield_now().await;
    }
    socket
}

#[tokio::test]
async fn several_changes_at_once_make_a_page_load_again_once() {
    let mut host = host(json!({}), &[]).await;
    let mut page = open(&mut host, "/__openclaw__/ws").await;
    fs::write(host.root().join(".hidden"), "x").unwrap();
    for name in ["a.css", "b.js", "c.html", "d.txt", "e.png"] {
        fs::write(host.root().join(name), "x").unwrap();
    }
    assert_eq!(frame(&mut page).await, "reload");
    assert!(tokio::time::timeout(QUIET, page.next()).await.is_err(), "one frame for the five files");
    fs::create_dir(host.root().join("deep")).unwrap();
    assert_eq!(frame(&mut page).await, "reload");
    fs::write(host.root().join("deep/page.html"), "x").unwrap();
    assert_eq!(frame(&mut page).await, "reload", "new folders are watched, too");
}

#[tokio::test]
async fn a_folder_that_comes_back_is_watched_again() {
    let mut host = host(json!({}), &[]).await;
    let mut page = open(&mut host, "/__verso__/ws").await;
    let (root, away) = (host.root(), host.state().join("away"));
    fs::rename(&root, &away).unwrap();
    assert_eq!(frame(&mut page).await, "reload");
    fs::create_dir(&root).unwrap();
    assert_eq!(frame(&mut page).await, "reload");
}

#[tokio::test]
async fn without_live_reload_there_is_no_socket_and_pages_get_no_client() {
    let host = host(json!({"liveReload": false}), &[]).await;
    assert_eq!(socket(&host, "/__verso__/ws", None).await.err(), Some(404));
    assert_eq!(host.get("/__verso__/ws").await.status, 404);
    let page = host.get("/").await.body;
    assert!(page.contains("sendUserAction") && !page.contains("WebSocket"));
}

#[tokio::test]
async fn a_plain_request_for_the_socket_is_told_to_upgrade() {
    let host = host(json!({}), &[]).await;
    let answer = host.get("/__openclaw__/ws").await;
    assert_eq!((answer.status, answer.body.as_str()), (426, "upgrade required"));
}

#[tokio::test]
async fn sec_36_surfaces_are_for_pages_of_this_host_only() {
    let host = host(json!({}), &[]).await;
    let path = "/__verso__/ws?session=agent%3Amain%3Amain";
    for foreign in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
        assert_eq!(socket(&host, path, Some(foreign)).await.err(), Some(403), "{foreign}");
    }
    let own = format!("http://127.0.0.1:{}", host.port);
    let mut page = socket(&host, path, Some(&own)).await.unwrap();
    assert_eq!(frame(&mut page).await, r#"{"a2ui":{"reset":true,"messages":[]}}"#);
}

#[tokio::test]
async fn the_page_that_shows_surfaces_is_served_whole() {
    let host = host(json!({}), &[]).await;
    assert_eq!(host.get("/__verso__/a2ui?session=main").await.header("location"), "a2ui/?session=main");
    let page = host.get("/__openclaw__/a2ui/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.contains("<openclaw-a2ui-host>"));
    for (name, kind) in [("a2ui.bundle.js", "text/javascript; charset=utf-8"), ("a2ui.css", "text/css; charset=utf-8")] {
        let file = host.get(&format!("/__openclaw__/a2ui/{name}")).await;
        assert_eq!((file.status, file.header("content-type")), (200, kind));
    }
}

#[tokio::test]
async fn documents_are_confined_as_their_manifests_say() {
    let host = host(json!({}), &[]).await;
    for (id, manifest) in [("plain", "{}"), ("boxed", r#"{"cspSandbox":"scripts"}"#), ("broken", "{")] {
        let folder = host.root().join("documents").join(id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), manifest).unwrap();
        fs::write(folder.join("view.html"), "<p>view").unwrap();
    }
    for (id, confined) in [("plain", false), ("boxed", true), ("broken", true)] {
        let answer = host.get(&format!("/__openclaw__/canvas/documents/{id}/view.html")).await;
        assert_eq!(answer.body, "<p>view", "nothing is put into a document");
        assert_eq!(answer.header("content-security-policy").contains("sandbox allow-scripts"), confined, "{id}");
    }
}
