//! Chat networks that nobody here wrote, each started for one test: two Bot API emulators and an IRC server.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::{eventually, peers};

/// A program that is ended when this is dropped.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `lo-bot-api-emulator`: long polling with offsets, webhooks with secrets, files; it checks what it is sent and keeps no texts.
#[derive(Debug)]
pub struct LoEmulator {
    port: u16,
    client: reqwest::Client,
    _running: Running,
}

impl LoEmulator {
    /// Starts it, or `None` when this test is to be skipped.
    pub async fn start() -> Option<Self> {
        let python = peers::python()?;
        let program = python.with_file_name("lo-bot-api-emulator");
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--enable-control", "--allow-insecure-loopback-webhooks"]);
        let running = start(&mut command);
        listening(port).await;
        Some(Self { port, client: client(), _running: running })
    }

    /// Its root.
    pub fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Something happens that the bot of `token` is told.
    pub async fn update(&self, token: &str, update: Value) -> Value {
        self.control("updates", json!({"token": token, "update": update})).await
    }

    /// Somebody writes to the bot in a private chat.
    pub async fn write(&self, token: &str, person: i64, number: i64, text: &str) {
        let message = json!({
            "message_id": number, "date": 1_790_000_000 + number, "text": text,
            "chat": {"id": person, "type": "private", "first_name": "Ann"},
            "from": {"id": person, "is_bot": false, "first_name": "Ann"},
        });
        let answer = self.update(token, json!({"message": message})).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }

    /// What was not delivered to a webhook is delivered again.
    pub async fn deliver(&self, token: &str) -> Value {
        self.control("deliver", json!({"token": token})).await
    }

    async fn control(&self, what: &str, body: Value) -> Value {
        let answer = self.client.post(format!("{}/__fixture/{what}", self.root())).json(&body).send().await.expect("the emulator");
        answer.json().await.expect("JSON")
    }
}

/// `telegram-test-api`: no long polling, no offsets, no secrets, errors without codes.
#[derive(Debug)]
pub struct TestApi {
    port: u16,
    client: reqwest::Client,
    _running: Running,
}

impl TestApi {
    /// Starts it, or `None` when this test is to be skipped.
    pub async fn start() -> Option<Self> {
        let (node, packages) = peers::node()?;
        let port = free_port();
        let mut command = Command::new(node);
        command
            .arg(peers::scripts().join("telegram_test_api.cjs"))
            .arg(packages.join("node_modules/telegram-test-api"))
            .arg(port.to_string());
        let running = start(&mut command);
        listening(port).await;
        Some(Self { port, client: client(), _running: running })
    }

    /// Its root.
    pub fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Somebody writes to the bot in a private chat.
    pub async fn write(&self, token: &str, person: i64, text: &str) -> u16 {
        let message = json!({
            "botToken": token, "date": 1_790_000_000, "text": text,
            "chat": {"id": person, "type": "private", "first_name": "Ann"},
            "from": {"id": person, "is_bot": false, "first_name": "Ann"},
        });
        let answer = self.client.post(format!("{}/sendMessage", self.root())).json(&message).send().await.expect("the emulator");
        answer.status().as_u16()
    }

    /// What the bot has written to somebody since this was asked last.
    pub async fn read(&self, token: &str, person: i64) -> Vec<Value> {
        let asked = json!({"token": token, "chatId": person});
        let answer = self.client.post(format!("{}/getUpdates", self.root())).json(&asked).send().await.expect("the emulator");
        let answer: Value = answer.json().await.expect("JSON");
        answer["result"].as_array().cloned().unwrap_or_default()
    }
}

/// `ngircd`, an IRC server.
#[derive(Debug)]
pub struct Ngircd {
    port: u16,
    _folder: TempDir,
    _running: Running,
}

impl Ngircd {
    /// Starts a network of one server, or `None` when this test is to be skipped.
    pub async fn start(name: &str) -> Option<Self> {
        let program = peers::program("ngircd")?;
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("verso-irc-").tempdir().expect("a temporary folder");
        let config = format!(
            "[Global]\nName = irc.{name}.test\nInfo = {name}\nListen = 127.0.0.1\nPorts = {port}\nMotdPhrase = hello\n\
             [Limits]\nMaxNickLength = 24\nMaxPenaltyTime = 0\nMaxConnectionsIP = 0\nPingTimeout = 120\n\
             [Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        let path = folder.path().join("ngircd.conf");
        std::fs::write(&path, config).expect("a configuration");
        readable(folder.path());
        let mut command = Command::new(program);
        command.arg("--nodaemon").arg("--config").arg(&path);
        let running = start(&mut command);
        listening(port).await;
        Some(Self { port, _folder: folder, _running: running })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Somebody connects.
    pub async fn visit(&self, nick: &str) -> Visitor {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("the server");
        let (reader, writer) = stream.into_split();
        let mut visitor = Visitor { lines: BufReader::new(reader).lines(), writer };
        visitor.say(&format!("NICK {nick}\r\nUSER {nick} 0 * :{nick}")).await;
        visitor.hear(" 001 ").await;
        visitor
    }
}

/// Somebody on an IRC network.
#[derive(Debug)]
pub struct Visitor {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Visitor {
    /// Sends a line.
    pub async fn say(&mut self, line: &str) {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).await.expect("the connection holds");
    }

    /// Waits for a line that holds `words`.
    pub async fn hear(&mut self, words: &str) -> String {
        let heard = async {
            loop {
                let line = self.lines.next_line().await.expect("the connection holds").expect("the server is there");
                if let Some(token) = line.strip_prefix("PING ") {
                    self.writer.write_all(format!("PONG {token}\r\n").as_bytes()).await.expect("the connection holds");
                }
                if line.contains(words) {
                    return line;
                }
            }
        };
        let heard = tokio::time::timeout(crate::PATIENCE, heard).await;
        heard.unwrap_or_else(|_| panic!("waited too long for {words:?}"))
    }
}

/// The server gives its rights away and reads its configuration again as nobody.
fn readable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("own folder");
}

fn start(command: &mut Command) -> Running {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", command.get_program().display())))
}

fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client")
}

async fn listening(port: u16) {
    eventually("a program to listen", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
}

/// A port that nobody listens on at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
