//! A gateway of real processes in a folder of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use verso_client::{Client, Options};
use verso_kit::clock::Clock;
use verso_kit::credential::{self, Credential};
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::{ServiceInfo, ServicesListRequest};

use crate::{eventually, process};

/// The shared token of every test gateway.
pub const TOKEN: &str = "test-token-0123456789";

/// The services besides the edge.
pub const SERVICES: [&str; 5] = ["presence", "node", "channel", "agent", "canvas"];

/// A running gateway; it is ended when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

/// Lets services be killed as often as a test likes: the supervisor is not to take it for a fault that comes back at every start.
pub fn with_endless_restarts(mut config: Value) -> Value {
    for service in SERVICES.into_iter().chain(["edge"]) {
        config["gateway"]["services"][service]["restart"] = json!({"initialMs": 10, "maxMs": 100, "limit": 1_000_000});
    }
    config
}

impl Gateway {
    /// Starts a gateway without any model and waits until every service serves.
    pub async fn start() -> Self {
        Self::start_with(json!({})).await
    }

    /// Starts a gateway whose model is `provider`.
    pub async fn start_with_model(provider: &crate::Provider) -> Self {
        Self::start_with(provider.config()).await
    }

    /// Starts a gateway whose configuration is `extra` over the tests' own.
    pub async fn start_with(extra: Value) -> Self {
        let mut gateway = Self::prepare(extra);
        gateway.launch(&[]);
        gateway.ready().await;
        gateway
    }

    /// Makes the folder and the configuration, and starts nothing.
    pub fn prepare(extra: Value) -> Self {
        Self::prepare_at(free_port(), extra)
    }

    /// The same, for a port that is known already.
    pub fn prepare_at(port: u16, extra: Value) -> Self {
        let folder = tempfile::Builder::new().prefix("verso-test-").tempdir().expect("a temporary folder");
        let mut config = json!({
            "gateway": {"mode": "local", "port": port, "auth": {"mode": "token", "token": TOKEN}},
            "agents": {"defaults": {"workspace": folder.path().join("workspace"), "skipBootstrap": true}},
            "canvasHost": {"enabled": false},
        });
        merge(&mut config, extra);
        std::fs::create_dir_all(folder.path().join("state")).expect("a state folder");
        std::fs::write(folder.path().join("state/verso.json"), config.to_string()).expect("a configuration");
        Self { folder, port, child: None }
    }

    /// Starts the prepared gateway's supervisor with further arguments.
    pub fn launch(&mut self, arguments: &[&str]) {
        self.launch_in(arguments, &[]);
    }

    /// The same, with variables that the gateway finds in its environment.
    pub fn launch_in(&mut self, arguments: &[&str], variables: &[(&str, &str)]) {
        let output = File::create(self.output_path()).expect("an output file");
        let mut command = self.command();
        command.args(["gateway", "--port", &self.port.to_string()]).args(arguments).envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
        self.child = Some(command.spawn().expect("the verso binary starts"));
    }

    /// The `verso` command in this gateway's folder.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "TMPDIR"));
        command.env("HOME", self.folder.path()).env("NO_COLOR", "1");
        command.env("VERSO_STATE_DIR", self.state_dir()).env("VERSO_CONFIG_PATH", self.state_dir().join("verso.json"));
        command.env("VERSO_GATEWAY_PORT", self.port.to_string());
        // The machine may have a model of its own.
        command.env("VERSO_LOCAL_MODELS", "off");
        command
    }

    /// Waits until every service serves.
    pub async fn ready(&mut self) {
        eventually("all services to serve", async || {
            assert!(self.is_running(), "the gateway ended: {}", self.output());
            let services = self.services().await.unwrap_or_default();
            (services.len() == 6 && services.iter().all(|service| service.state == "serving")).then_some(())
        })
        .await;
    }

    /// What the supervisor says of its processes; none while it does not answer.
    pub async fn services(&self) -> Option<Vec<ServiceInfo>> {
        let peer = Peer::supervisor(&self.state_dir().join("run"));
        peer.call(ServicesListRequest {}, &Caller::default()).await.ok().map(|list| list.services)
    }

    /// A process, as the command line of the gateway's owner calls it.
    pub fn process(&self, name: &str) -> Peer {
        let run_dir = self.state_dir().join("run");
        let credential = std::fs::read_to_string(run_dir.join(credential::OPERATOR_FILE)).expect("the operator's credential");
        let credential = Credential::parse(&credential).expect("a credential");
        Peer::unix(run_dir.join(format!("{name}.sock"))).identified(credential, name, Clock::system())
    }

    /// What the supervisor says of one process.
    pub async fn service(&self, name: &str) -> ServiceInfo {
        eventually("the supervisor's answer", async || self.services().await?.into_iter().find(|service| service.name == name)).await
    }

    /// Kills a service's process with SIGKILL and returns its pid.
    pub async fn kill(&self, name: &str) -> i64 {
        let pid = self.service(name).await.pid.expect("a running service");
        process::signal(pid, Signal::KILL);
        pid
    }

    /// Waits until a service serves with another process than `pid`.
    pub async fn recovered(&self, name: &str, pid: i64) -> ServiceInfo {
        eventually("the service to serve again", async || {
            let service = self.service(name).await;
            (service.state == "serving" && service.pid.is_some_and(|current| current != pid)).then_some(service)
        })
        .await
    }

    /// Connects as an operator with every scope.
    pub async fn client(&self) -> Client {
        self.connect(self.options()).await
    }

    /// Connects as `options` say.
    pub async fn connect(&self, options: Options) -> Client {
        Client::connect(options).await.unwrap_or_else(|error| panic!("could not connect: {error}; {}", self.output()))
    }

    /// How an operator connects.
    pub fn options(&self) -> Options {
        Options::new(self.url()).with_token(TOKEN)
    }

    /// `ws://…` of the port.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// `http://…` of the port, with a path.
    pub fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The supervisor's pid.
    pub fn pid(&self) -> i64 {
        self.child.as_ref().map_or(0, |child| i64::from(child.id()))
    }

    /// Whether the supervisor is running.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until the supervisor has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the gateway to end", async || self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())).await
    }

    /// What the gateway has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output_path()).unwrap_or_default()
    }

    fn output_path(&self) -> PathBuf {
        self.folder.path().join("output.txt")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let all = process::tree(i64::from(child.id()));
        if matches!(child.try_wait(), Ok(None)) {
            process::signal(i64::from(child.id()), Signal::TERM);
            process::signal(i64::from(child.id()), Signal::TERM);
        }
        drop(child.wait());
        for pid in all.into_iter().filter(|pid| process::command_line(*pid).contains(" service ")) {
            process::signal(pid, Signal::KILL);
        }
    }
}

/// The `verso` that was built together with the test.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "deps")).and_then(Path::parent);
    let binary = profile.expect("tests run from a target folder").join("verso");
    assert!(binary.exists(), "{} is missing: run the tests with `cargo test --workspace`", binary.display());
    binary
}

/// A port that nobody listens on at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Lays `extra` over `config`, member by member.
fn merge(config: &mut Value, extra: Value) {
    match (config, extra) {
        (Value::Object(config), Value::Object(extra)) => {
            for (name, value) in extra {
                if value.is_null() {
                    config.remove(&name);
                } else {
                    merge(config.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (config, extra) => *config = extra,
    }
}
