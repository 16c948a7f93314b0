//! A canvas host on a free port, and a client that sends paths as they are written.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use verso_kit::CancellationToken;
use verso_kit::config::{Env, File};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::canvas::v1::canvas_client::CanvasClient;

/// A running canvas host.
pub(crate) struct Host {
    state: TempDir,
    config: Value,
    pub(crate) port: u16,
    pub(crate) client: CanvasClient<Channel>,
    tasks: Tasks,
}

/// Starts a host with `config` as its `canvasHost`.
pub(crate) async fn host(config: Value, env: &[(&str, &str)]) -> Host {
    start(tempfile::tempdir().unwrap(), config, env).await
}

async fn start(state: TempDir, config: Value, env: &[(&str, &str)]) -> Host {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let context = Context::for_test("canvas", state.path());
    let context = Context {
        config: Arc::new(File::from_value(json!({"canvasHost": config.clone()}))),
        env: Env::from_pairs(env.iter().copied()),
        sockets: context.sockets.clone().with_tcp("canvas", vec![listener]),
        ..context
    };
    let tasks = Tasks::new(CancellationToken::new());
    let routes = verso_canvas::routes(&context, &tasks).await.unwrap();
    Host { state, config, port, client: CanvasClient::new(verso_kit::grpc::in_memory(routes)), tasks }
}

impl Host {
    /// Where the pages are.
    pub(crate) fn root(&self) -> PathBuf {
        self.state.path().join("canvas")
    }

    /// What the folder of pages lies in.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Stops, and waits until every connection has ended.
    pub(crate) async fn stop(self) -> TempDir {
        self.tasks.shutdown().cancel();
        self.tasks.join().await;
        self.state
    }

    /// Stops and starts again on the same folder.
    pub(crate) async fn again(self) -> Self {
        let config = self.config.clone();
        start(self.stop().await, config, &[]).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[]).await
    }

    /// Sends one request, byte for byte as given.
    pub(crate) async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        let mut stream = self.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Answer::read(&String::from_utf8(bytes).unwrap())
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    /// Returns a header's value; empty when it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }
}
