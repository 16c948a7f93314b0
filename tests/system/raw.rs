//! A WebSocket without any manners: for what no client of ours would send.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use verso_tests::{Gateway, PATIENCE};

pub(crate) struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Raw {
    pub(crate) async fn open(gateway: &Gateway) -> Self {
        Self::open_with(gateway, &[]).await.expect("an upgrade")
    }

    pub(crate) async fn open_with(gateway: &Gateway, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let mut request = gateway.url().into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"));
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        Ok(Self { socket })
    }

    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.expect("an open socket");
    }

    /// Sends a frame that the peer may refuse to take.
    pub(crate) async fn try_send(&mut self, text: String) {
        drop(self.socket.send(Message::text(text)).await);
    }

    /// The bytes of a text frame, masked as clients do.
    #[allow(clippy::unused_self, reason = "reads better")]
    pub(crate) fn frame(&self, text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).expect("a short text");
        let mut frame = vec![0x81, 0x80 | 0x7e];
        frame.extend(length.to_be_bytes());
        let mask = [7, 1, 3, 9];
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// Sends bytes past the WebSocket library.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let MaybeTlsStream::Plain(stream) = self.socket.get_mut() else { panic!("a plain connection") };
        tokio::io::AsyncWriteExt::write_all(stream, bytes).await.expect("an open socket");
    }

    /// Reads the next JSON frame, or how the socket was closed.
    pub(crate) async fn next(&mut self) -> Result<Value, (u16, String)> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(Some(frame)))) => return Err((frame.code.into(), frame.reason.to_string())),
                Some(Ok(Message::Close(None))) => return Err((1005, String::new())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err((1006, error.to_string())),
                None => return Err((1006, String::new())),
            }
        }
    }

    /// Reads frames until one of them is a response.
    pub(crate) async fn response(&mut self) -> Result<Value, (u16, String)> {
        loop {
            let frame = self.next().await?;
            if frame["type"] == "res" {
                return Ok(frame);
            }
        }
    }

    /// Reads until the socket is closed, and says how.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(closed) = self.next().await {
                return closed;
            }
        }
    }

    /// Shakes hands in one version.
    pub(crate) async fn connect(&mut self, version: u32) -> Value {
        self.send(request("c", "connect", connect_params(version))).await;
        self.response().await.expect("an answer to connect")
    }
}

/// A request frame.
#[allow(clippy::needless_pass_by_value, reason = "reads better with json!")]
pub(crate) fn request(id: &str, method: &str, params: Value) -> String {
    json!({"type": "req", "id": id, "method": method, "params": params}).to_string()
}

/// `connect` as a backend client without a device.
pub(crate) fn connect_params(version: u32) -> Value {
    json!({
        "minProtocol": version, "maxProtocol": version,
        "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
        "role": "operator", "scopes": ["operator.admin"],
        "auth": {"token": verso_tests::gateway::TOKEN},
    })
}
