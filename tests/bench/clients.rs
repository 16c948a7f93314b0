//! Clients that cost as little as a client can.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use verso_tests::gateway::TOKEN;

/// Connections that are opened at the same time: below the limit on strangers of one address.
const OPENING_AT_ONCE: usize = 16;

/// One WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub(crate) async fn open(url: &str) -> Option<Self> {
        let config = WebSocketConfig::default().read_buffer_size(8 << 10).write_buffer_size(4 << 10);
        let (stream, _) = connect_async_with_config(url, Some(config), true).await.ok()?;
        Some(Self { stream })
    }

    /// Opens a socket and shakes hands as a backend client.
    pub(crate) async fn connect(url: &str) -> Option<Self> {
        let mut socket = Self::open(url).await?;
        let params = json!({
            "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": ["operator.admin"], "auth": {"token": TOKEN},
            "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
        });
        let answer = socket.call("connect", "c", &params).await?;
        answer.contains("hello-ok").then_some(socket)
    }

    /// Connects as soon as somebody answers.
    pub(crate) async fn connect_patiently(url: &str) -> Self {
        loop {
            if let Some(socket) = Self::connect(url).await {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends a request and returns the text of its (last) answer.
    pub(crate) async fn call(&mut self, method: &str, id: &str, params: &Value) -> Option<String> {
        let frame = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        self.send(&frame).await?;
        self.response(id).await
    }

    pub(crate) async fn send(&mut self, text: &str) -> Option<()> {
        self.stream.send(Message::text(text)).await.ok()
    }

    /// Reads until the response of a request.
    pub(crate) async fn response(&mut self, id: &str) -> Option<String> {
        let head = format!("{{\"type\":\"res\",\"id\":\"{id}\"");
        loop {
            let text = self.text().await?;
            if text.starts_with(&head) {
                return Some(text);
            }
        }
    }

    pub(crate) async fn text(&mut self) -> Option<String> {
        loop {
            match self.stream.next().await?.ok()? {
                Message::Text(text) => return Some(text.as_str().to_owned()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Reads until `count` texts have begun with `head`.
    pub(crate) async fn count(&mut self, head: &str, count: usize) -> Option<()> {
        let mut seen = 0;
        while seen < count {
            if let Message::Text(text) = self.stream.next().await?.ok()? {
                seen += usize::from(text.as_str().starts_with(head));
            }
        }
        Some(())
    }
}

/// Opens many connections.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
pub(crate) async fn many(url: &str, count: usize) -> Vec<Socket> {
    let mut opening = JoinSet::new();
    let mut sockets = Vec::with_capacity(count);
    for opener in 0..OPENING_AT_ONCE {
        let (url, share) = (url.to_owned(), count / OPENING_AT_ONCE + usize::from(opener < count % OPENING_AT_ONCE));
        opening.spawn(async move {
            let mut opened = Vec::with_capacity(share);
            for _ in 0..share {
                opened.extend(Socket::connect(&url).await);
            }
            opened
        });
    }
    while let Some(Ok(opened)) = opening.join_next().await {
        sockets.extend(opened);
    }
    sockets
}
