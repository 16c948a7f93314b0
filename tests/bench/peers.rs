//! The other ends, each in a process of its own so that its work is not counted: a bare echo and a model provider.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use verso_tests::Provider;

/// A process of this program in another role.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `host:port`.
    pub(crate) address: String,
    child: Child,
}

impl Peer {
    /// Starts the program in a role and waits for its address.
    pub(crate) async fn start(role: &'static str) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            let own = std::env::current_exe().expect("a path of its own");
            let mut child = Command::new(own).arg(role).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a second process");
            let mut address = String::new();
            BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut address).expect("an address");
            Self { address: address.trim().to_owned(), child }
        });
        started.await.expect("a task")
    }

    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends every text back.
#[allow(clippy::disallowed_methods, reason = "a process that ends by being killed")]
pub(crate) async fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream.set_nodelay(true));
        tokio::spawn(async move {
            let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(4 << 10);
            let Ok(mut socket) = accept_async_with_config(stream, Some(config)).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() && socket.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Answers like a model.
pub(crate) async fn provider() {
    let provider = Provider::start().await;
    println!("{}", provider.address());
    std::future::pending::<()>().await;
}
