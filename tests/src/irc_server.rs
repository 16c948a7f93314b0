//! An IRC server for one client at a time: it lets him in, says what a test tells it, and keeps what he says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

/// A running server; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct IrcServer {
    address: SocketAddr,
    lines: broadcast::Sender<String>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl IrcServer {
    /// Starts a server on a free port.
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = Self { address, lines: broadcast::Sender::new(64), heard: Arc::default() };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = accepting.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        server
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The server sends a line.
    pub fn say(&self, line: &str) {
        drop(self.lines.send(line.to_owned()));
    }

    /// What the client has sent so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no test panics while it holds the lock").clone()
    }

    async fn serve(&self, stream: TcpStream) {
        let mut lines = self.lines.subscribe();
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader).lines();
        loop {
            let answer = tokio::select! {
                line = reader.next_line() => {
                    let Ok(Some(line)) = line else { return };
                    self.heard.lock().expect("no test panics while it holds the lock").push(line.clone());
                    answer(&line)
                }
                line = lines.recv() => line.ok(),
            };
            if let Some(answer) = answer
                && writer.write_all(format!("{answer}\r\n").as_bytes()).await.is_err()
            {
                return;
            }
        }
    }
}

fn answer(line: &str) -> Option<String> {
    if line.starts_with("CAP LS") {
        return Some(":irc.test CAP * LS :multi-prefix account-tag sasl=PLAIN".to_owned());
    }
    if let Some(names) = line.strip_prefix("CAP REQ :") {
        return Some(format!(":irc.test CAP * ACK :{names}"));
    }
    let token = line.strip_prefix("PING ").map(|token| format!("PONG irc.test {token}"));
    token.or_else(|| line.starts_with("CAP END").then(|| ":irc.test 001 verso :Welcome".to_owned()))
}
