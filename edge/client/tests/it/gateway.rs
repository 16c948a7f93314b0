//! A scripted peer on a free port of the loopback.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async};
use verso_client::{Client, Options};

pub(crate) struct Gateway {
    url: String,
    script: JoinSet<()>,
}

impl Gateway {
    /// Accepts one connection and runs `script` on it.
    pub(crate) async fn start<S, F>(script: S) -> Self
    where
        S: FnOnce(Peer) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut script = Some(script);
        Self::start_many(1, move |peer, _| script.take().expect("one connection")(peer)).await
    }

    /// Accepts connections one after the other and runs `script` on each, with its number.
    pub(crate) async fn start_many<S, F>(count: usize, mut script: S) -> Self
    where
        S: FnMut(Peer, usize) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let mut task = JoinSet::new();
        task.spawn(async move {
            for turn in 0..count {
                let (stream, _) = listener.accept().await.unwrap();
                script(Peer { socket: accept_async(stream).await.unwrap() }, turn).await;
            }
        });
        Self { url, script: task }
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(&self.url)
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.options()).await.unwrap()
    }

    /// Waits for the script's end and repeats its panic.
    pub(crate) async fn finished(mut self) {
        self.script.join_next().await.unwrap().unwrap();
    }
}

pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
}

impl Peer {
    /// Lets the client in.
    pub(crate) async fn accept(&mut self) {
        self.send(challenge("nonce", 1)).await;
        let request = self.request().await;
        assert_eq!(request["method"], "connect");
        self.send(ok(&request, &hello(&Value::Null))).await;
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_message(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    pub(crate) async fn message(&mut self) -> Message {
        self.socket.next().await.unwrap().unwrap()
    }

    /// The next request frame.
    pub(crate) async fn request(&mut self) -> Value {
        serde_json::from_str(self.message().await.to_text().unwrap()).unwrap()
    }

    pub(crate) async fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.socket.close(Some(CloseFrame { code, reason: reason.into() })).await.unwrap();
        self.end().await;
    }

    /// Reads until the client says goodbye, and returns how.
    pub(crate) async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            if let Message::Close(frame) = self.message().await {
                return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
        }
    }

    /// Reads until the client has gone.
    pub(crate) async fn end(&mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

pub(crate) fn challenge(nonce: &str, ts: i64) -> Value {
    event("connect.challenge", &json!({"nonce": nonce, "ts": ts}), None)
}

pub(crate) fn hello(auth: &Value) -> Value {
    json!({
        "type": "hello-ok", "protocol": 4, "server": {"version": "1", "connId": "c"}, "features": {"methods": ["health"], "events": []},
        "auth": auth, "policy": {"maxPayload": 1000, "tickIntervalMs": 30000},
    })
}

pub(crate) fn ok(request: &Value, payload: &Value) -> Value {
    json!({"type": "res", "id": request["id"], "ok": true, "payload": payload})
}

pub(crate) fn error(request: &Value, detail: &Value) -> Value {
    json!({"type": "res", "id": request["id"], "ok": false, "error": detail})
}

pub(crate) fn event(name: &str, payload: &Value, seq: Option<u64>) -> Value {
    let mut frame = json!({"type": "event", "event": name, "payload": payload});
    if let Some(seq) = seq {
        frame["seq"] = json!(seq);
    }
    frame
}
