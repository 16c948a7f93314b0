//! Connections that break again and again leave nothing open behind them.
//!
//! `VERSO_RECONNECTS` sets how often; the default keeps the suite quick.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::config::Secret;
use verso_kit::peer::Peer;
use verso_kit::tasks::Tasks;

use crate::adapter::Adapter as _;
use crate::irc::Session;
use crate::link::{Link, Pulse};
use crate::media::Shelf;
use crate::profile::Profile;
use crate::store::{AccountKey, Store};
use crate::telegram::{Bot, Surroundings};
use crate::webhooks::Webhooks;

/// Reconnects, unless set.
const RECONNECTS_DEFAULT: usize = 300;

/// What other tests of this process may open meanwhile.
const SLACK: usize = 100;

#[allow(clippy::disallowed_methods, reason = "a test asks its surroundings")]
fn reconnects() -> usize {
    std::env::var("VERSO_RECONNECTS").ok().and_then(|count| count.parse().ok()).unwrap_or(RECONNECTS_DEFAULT)
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

async fn link(folder: &std::path::Path) -> Link {
    let store = Store::open(folder.join("channel.sqlite"), 1).await.unwrap();
    let key = AccountKey { channel: "x".into(), account: "default".into() };
    Link::new(key, store, Clock::system(), Arc::new(Pulse::default()), Arc::new(Notify::new()))
}

fn profile(settings: serde_json::Value) -> Profile {
    serde_json::from_value(settings).unwrap()
}

/// Lets a client in and leaves.
async fn meet(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("USER") {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(b":irc.test 001 verso :Welcome\r\n").await
}

#[tokio::test]
async fn sec_88_an_irc_connection_that_breaks_leaves_no_descriptor() {
    let (folder, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    let session = Session::new(&profile(json!({"host": "127.0.0.1", "port": port, "tls": false, "nick": "verso"}))).unwrap();
    let (link, stop) = (link(folder.path()).await, CancellationToken::new());
    let before = open_files();
    for _ in 0..reconnects() {
        let accept = async { meet(listener.accept().await?.0).await };
        let (ended, met) = tokio::join!(session.receive(&link, &stop), accept);
        assert!(ended.is_err(), "the server has gone");
        met.unwrap();
    }
    let after = open_files();
    assert!(after <= before + SLACK, "{before} files were open before, {after} after {} reconnects", reconnects());
}

/// Answers one call of the Bot API and closes the connection.
async fn answer(mut stream: TcpStream, number: usize) -> std::io::Result<bool> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(false);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let asks_for_updates = head.contains("/getupdates");
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
    // What is left unread would break the connection before its answer is there.
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await?;
    let result = if asks_for_updates { json!([{"update_id": number}]) } else { json!({"id": 1, "username": "bot"}) };
    let body = json!({"ok": true, "result": result}).to_string();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    Ok(asks_for_updates)
}

#[tokio::test]
async fn sec_88_a_bot_api_that_closes_every_connection_leaves_no_descriptor() {
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    let (folder, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let root = format!("http://{}", listener.local_addr().unwrap());
    let (link, stop) = (link(folder.path()).await, CancellationToken::new());
    let surroundings = Surroundings {
        shelf: Shelf::open(folder.path().join("media")).await.unwrap(),
        webhooks: Webhooks::new(Tasks::new(stop.clone())),
        agent: Peer::unix(folder.path().join("nobody.sock")),
    };
    let bot = Bot::new(Secret::new("1:x".into()), &profile(json!({"apiRoot": root, "commands": {"native": false}})), surroundings).unwrap();
    let before = open_files();
    let serving = async {
        let mut asked = 0;
        while asked < reconnects() {
            let (stream, _) = listener.accept().await.unwrap();
            asked += usize::from(answer(stream, asked + 1).await.unwrap());
        }
        stop.cancel();
    };
    let (received, ()) = tokio::join!(bot.receive(&link, &stop), serving);
    received.unwrap();
    let after = open_files();
    assert!(after <= before + SLACK, "{before} files were open before, {after} after {} reconnects", reconnects());
}
