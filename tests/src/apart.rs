//! The services of one gateway in processes of their own that know each other by certificates alone, as containers run them: over TCP on
//! loopback, or each in a network namespace.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use verso_client::{Client, Options};

use crate::eventually;
use crate::gateway::{TOKEN, binary};

/// Every process.
pub const ALL: [&str; 6] = ["edge", "presence", "node", "channel", "agent", "canvas"];

/// Where a service is, seen from the others.
#[derive(Debug, Clone)]
pub struct Place {
    /// The address for other services, without its scheme.
    pub address: String,
    /// The network namespace to run in.
    pub namespace: Option<String>,
}

/// Services that nobody supervises; they are ended when this is dropped.
#[derive(Debug)]
pub struct Apart {
    folder: TempDir,
    port: u16,
    places: BTreeMap<&'static str, Place>,
    children: BTreeMap<&'static str, Child>,
}

impl Apart {
    /// Makes folders, a configuration and certificates, and starts nothing. Every service is on a port of loopback.
    pub fn prepare(extra: &Value) -> Self {
        Self::prepare_at(ALL.map(|name| (name, Place { address: format!("127.0.0.1:{}", free_port()), namespace: None })).into(), extra)
    }

    /// The same for given places.
    pub fn prepare_at(places: BTreeMap<&'static str, Place>, extra: &Value) -> Self {
        let folder = tempfile::Builder::new().prefix("verso-apart-").tempdir().expect("a temporary folder");
        let port = free_port();
        let mut config = json!({
            "gateway": {"mode": "local", "port": port, "auth": {"mode": "token", "token": TOKEN}},
            "agents": {"defaults": {"workspace": folder.path().join("workspace"), "skipBootstrap": true}},
        });
        if let (Some(config), Some(extra)) = (config.as_object_mut(), extra.as_object()) {
            config.extend(extra.clone());
        }
        std::fs::write(folder.path().join("verso.json"), config.to_string()).expect("a configuration");
        let apart = Self { folder, port, places, children: BTreeMap::new() };
        apart.certify(&[]);
        apart
    }

    /// Makes certificates anew.
    pub fn certify(&self, arguments: &[&str]) {
        let mut command = Command::new(binary());
        let output = command.args(["certificates", "--out"]).arg(self.tls_dir()).args(arguments).output().expect("the verso binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The folder with the authority, and one with certificates for each service.
    pub fn tls_dir(&self) -> PathBuf {
        self.folder.path().join("tls")
    }

    /// Starts all services and waits until the edge is ready.
    pub async fn start_all(&mut self) {
        for name in ALL {
            self.start(name);
        }
        for name in ALL {
            self.serves(name).await;
        }
    }

    /// Starts one service.
    pub fn start(&mut self, name: &'static str) {
        let child = self.command(name, &["service", name]).spawn().expect("the verso binary starts");
        self.children.insert(name, child);
    }

    /// Waits until a service says by its own socket that it serves.
    pub async fn serves(&self, name: &'static str) {
        eventually(&format!("{name} to serve: {}", self.output(name)), async || {
            let mut command = self.command(name, &["service", name, "--check"]);
            command.status().is_ok_and(|status| status.success()).then_some(())
        })
        .await;
    }

    /// The `verso` command as the service would be run.
    fn command(&self, name: &'static str, arguments: &[&str]) -> Command {
        let place = &self.places[name];
        let mut command = match &place.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        let peers: Vec<String> = self.places.iter().map(|(name, place)| format!("{name}=tcp://{}", place.address)).collect();
        let state = self.folder.path().join(name);
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "TMPDIR"));
        command.env("HOME", &state).env("NO_COLOR", "1").env("VERSO_LOCAL_MODELS", "off").env("VERSO_DISABLE_BONJOUR", "1");
        command.env("VERSO_STATE_DIR", &state).env("VERSO_RUN_DIR", state.join("run"));
        command.env("VERSO_CONFIG_PATH", self.folder.path().join("verso.json"));
        command.env("VERSO_GATEWAY_PORT", self.port.to_string()).env("VERSO_CANVAS_HOST_PORT", (self.port ^ 1).to_string());
        command.args(arguments);
        if !arguments.contains(&"--check") {
            command.args(["--listen", &format!("tcp://{}", place.address), "--peers", &peers.join(",")]);
            command.arg("--tls-dir").arg(self.tls_dir().join(name));
        }
        let output = File::options().create(true).append(true).open(self.output_path(name)).expect("an output file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
        command
    }

    /// Ends a service at once.
    pub fn kill(&mut self, name: &str) {
        if let Some(mut child) = self.children.remove(name) {
            child.kill().expect("a process of ours");
            child.wait().expect("its end");
        }
    }

    /// What a service has printed.
    pub fn output(&self, name: &str) -> String {
        std::fs::read_to_string(self.output_path(name)).unwrap_or_default()
    }

    fn output_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.txt"))
    }

    /// The address of a service for the others, without its scheme.
    pub fn address(&self, name: &str) -> &str {
        &self.places[name].address
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects as an operator with every scope.
    pub async fn client(&self) -> Client {
        let options = || Options::new(format!("ws://127.0.0.1:{}", self.port)).with_token(TOKEN);
        eventually("the edge to let its operator in", async || Client::connect(options()).await.ok()).await
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            // Some have ended by themselves.
            child.kill().unwrap_or_default();
            drop(child.wait());
        }
    }
}

/// A port that nobody listens on at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
