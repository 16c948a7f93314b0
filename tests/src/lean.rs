//! Clients that cost as little as a client can: beside the gateway on the same machine, what they take is missing there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::gateway::TOKEN;

/// Connections that are opened at the same time: below the limit on strangers of one address.
const OPENING_AT_ONCE: usize = 16;

/// One WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Opens a socket, and says nothing.
    pub async fn open(url: &str) -> Option<Self> {
        let config = WebSocketConfig::default().read_buffer_size(8 << 10).write_buffer_size(4 << 10);
        let (stream, _) = connect_async_with_config(url, Some(config), true).await.ok()?;
        Some(Self { stream })
    }

    /// Opens a socket and shakes hands as a backend client.
    pub async fn connect(url: &str) -> Option<Self> {
        Self::connect_as(url, 4).await
    }

    /// The same, in a version of the protocol.
    pub async fn connect_as(url: &str, protocol: u32) -> Option<Self> {
        let mut socket = Self::open(url).await?;
        let params = json!({
            "minProtocol": protocol, "maxProtocol": protocol, "role": "operator", "scopes": ["operator.admin"], "auth": {"token": TOKEN},
            "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
        });
        let answer = socket.call("connect", "c", &params).await?;
        answer.contains("hello-ok").then_some(socket)
    }

    /// Connects as soon as somebody answers.
    pub async fn connect_patiently(url: &str) -> Self {
        loop {
            if let Some(socket) = Self::connect(url).await {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends a request and returns the text of its (last) answer.
    pub async fn call(&mut self, method: &str, id: &str, params: &Value) -> Option<String> {
        let frame = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        self.send(&frame).await?;
        self.response(id).await
    }

    /// Sends a text.
    pub async fn send(&mut self, text: &str) -> Option<()> {
        self.stream.send(Message::text(text)).await.ok()
    }

    /// Reads until the response of a request.
    pub async fn response(&mut self, id: &str) -> Option<String> {
        let head = format!("{{\"type\":\"res\",\"id\":\"{id}\"");
        loop {
            let text = self.text().await?;
            if text.starts_with(&head) {
                return Some(text);
            }
        }
    }

    /// Returns the next text; none when the socket is closed.
    pub async fn text(&mut self) -> Option<String> {
        loop {
            match self.stream.next().await?.ok()? {
                Message::Text(text) => return Some(text.as_str().to_owned()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Reads until `count` texts have begun with `head`.
    pub async fn count(&mut self, head: &str, count: usize) -> Option<()> {
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
#[allow(clippy::disallowed_methods, reason = "tasks of a test or the benchmark")]
pub async fn many(url: &str, count: usize) -> Vec<Socket> {
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

/// What an event begins with.
const EVENT: &str = "{\"type\":\"event\",\"event\":\"";

/// What a response begins with.
const RESPONSE: &str = "{\"type\":\"res\",\"id\":\"";

/// What is in the first of two responses.
const ACCEPTED: &str = "\"status\":\"accepted\"";

/// What is before the number of an event, and what may follow it.
const SEQ: &str = ",\"seq\":";
const VERSIONS: &str = ",\"stateVersion\":";

/// What a connection has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Events.
    pub events: AtomicU64,
    /// What may not be: events out of order, a word to leave.
    pub wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn fail(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

/// A response.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// Whether it carries a payload, and no error.
    pub ok: bool,
    /// What was asked for, unread.
    pub payload: Option<Box<RawValue>>,
    /// Why there is none.
    pub error: Option<Refusal>,
}

/// The error of a response.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
}

/// What is to be sent, and who waits for the answers.
type Ask = (String, String, mpsc::UnboundedSender<Response>);

/// A connection with many requests under way, which looks at the numbers of events and reads nothing else of them.
#[derive(Debug)]
pub struct Client {
    asks: mpsc::Sender<Ask>,
    requests: AtomicU64,
    /// What it has seen.
    pub seen: Arc<Seen>,
    open: watch::Receiver<bool>,
}

impl Client {
    /// Connects in a version of the protocol. None: nobody has said hello.
    #[allow(clippy::disallowed_methods, reason = "tasks of a test or the benchmark")]
    pub async fn connect(url: &str, protocol: u32) -> Option<Self> {
        let socket = Socket::connect_as(url, protocol).await?;
        let (asks, queue) = mpsc::channel(64);
        let (closed, open) = watch::channel(true);
        let seen = Arc::new(Seen::default());
        let work = serve(socket, queue, Arc::clone(&seen));
        tokio::spawn(async move {
            work.await;
            closed.send_replace(false);
        });
        Some(Self { asks, requests: AtomicU64::default(), seen, open })
    }

    /// Sends a request. Its responses end when the socket is closed.
    pub async fn ask(&self, method: &str, params: &Value) -> mpsc::UnboundedReceiver<Response> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed).to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        let (sender, responses) = mpsc::unbounded_channel();
        // A closed socket drops the sender, which is what the receiver hears.
        drop(self.asks.send((id, frame, sender)).await);
        responses
    }

    /// Asks for one response. None: the socket is closed.
    pub async fn call(&self, method: &str, params: &Value) -> Option<Response> {
        self.ask(method, params).await.recv().await
    }

    /// Whether the socket is open.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }
}

/// Carries a connection until it is closed or nobody asks any more.
async fn serve(mut socket: Socket, mut queue: mpsc::Receiver<Ask>, seen: Arc<Seen>) {
    let (mut waiting, mut expected) = (HashMap::new(), None);
    loop {
        tokio::select! {
            text = socket.text() => {
                let Some(text) = text else { return };
                hear(&text, &mut waiting, &mut expected, &seen);
            }
            ask = queue.recv() => {
                let Some((id, frame, sender)) = ask else { return };
                waiting.insert(id, sender);
                if socket.send(&frame).await.is_none() {
                    return;
                }
            }
        }
    }
}

fn hear(text: &str, waiting: &mut HashMap<String, mpsc::UnboundedSender<Response>>, expected: &mut Option<u64>, seen: &Seen) {
    if let Some(event) = text.strip_prefix(EVENT) {
        seen.events.fetch_add(1, Ordering::Relaxed);
        if event.starts_with("shutdown\"") {
            seen.fail("a client was told to leave".to_owned());
        }
        let Some(seq) = seq(text) else { return };
        if expected.is_some_and(|expected| expected != seq) {
            seen.fail(format!("events: {seq} came instead of {expected:?}: {}", text.chars().take(200).collect::<String>()));
        }
        *expected = Some(seq + 1);
    } else if let Some(response) = text.strip_prefix(RESPONSE) {
        let Some((id, _)) = response.split_once('"') else { return };
        let Some(sender) = waiting.remove(id) else { return };
        match serde_json::from_str(text) {
            // Nobody waits any more for what came too late.
            Ok(response) => drop(sender.send(response)),
            Err(error) => seen.fail(format!("a response cannot be read: {error}")),
        }
        if text.contains(ACCEPTED) {
            waiting.insert(id.to_owned(), sender);
        }
    }
}

/// Returns the number of an event, if it is one of those that are counted: it stands last, or before the versions.
fn seq(text: &str) -> Option<u64> {
    let tail = &text[text.rfind(SEQ)? + SEQ.len()..];
    let end = tail.find(|end: char| !end.is_ascii_digit())?;
    // What a payload calls so ends with the payload.
    let counted = tail[end..] == *"}" || tail[end..].starts_with(VERSIONS);
    tail[..end].parse().ok().filter(|_| counted)
}

#[cfg(test)]
mod tests {
    use verso_protocol::frames;

    use super::*;

    #[test]
    fn the_number_of_an_event_is_that_of_its_connection() {
        assert_eq!(seq(&frames::event("agent", "{\"seq\":3}", Some(7), None)), Some(7));
        assert_eq!(seq(&frames::event("health", "{\"seq\":3}", Some(8), Some((1, 2)))), Some(8));
        assert_eq!(seq(&frames::event("agent", "{\"a\":1,\"seq\":3}", None, None)), None);
        assert_eq!(seq(&frames::event("tick", "{\"ts\":1}", None, None)), None);
    }

    #[test]
    fn an_event_that_is_missing_is_seen() {
        let (seen, mut waiting, mut expected) = (Seen::default(), HashMap::new(), None);
        for number in [4, 5, 7] {
            hear(&frames::event("agent", "{}", Some(number), None), &mut waiting, &mut expected, &seen);
        }
        let wrong = seen.wrong.into_inner().unwrap();
        assert!(wrong.len() == 1 && wrong[0].starts_with("events: 7 came instead of Some(6)"), "{wrong:?}");
        assert_eq!(seen.events.into_inner(), 3);
    }
}
