//! A gateway under test, driven from outside: its sockets, its signals, its output.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::{ServiceInfo, ServicesListRequest, ServicesRestartRequest, ServicesRestartResponse};

use crate::parent::{Setup, write_executable};

/// A machine that is busy with other tests takes its time.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder in which gateways run, one after another or side by side.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) setup: Setup,
}

/// One supervisor process.
pub(crate) struct Gateway {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    run_dir: PathBuf,
    pub(crate) public: Option<SocketAddr>,
    pub(crate) canvas: Option<SocketAddr>,
}

pub(crate) fn home() -> Home {
    let folder = tempfile::tempdir().unwrap();
    let executable = folder.path().join("verso");
    write_executable(&executable);
    let state_dir = folder.path().join("state");
    let setup = Setup { state_dir, executable, port: 0, lock_wait_ms: 5_000, bind_attempts: 2, drain_ms: 30_000, restart_on_signal: true };
    let home = Home { folder, setup };
    fs::create_dir_all(home.state("behaviour")).unwrap();
    home
}

impl Home {
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.setup.state_dir.join(name)
    }

    /// Tells the next process of a service how to behave.
    pub(crate) fn behave(&self, service: &str, behaviour: &str) {
        fs::write(self.state("behaviour").join(service), behaviour).unwrap();
    }

    /// Returns what the services noted.
    pub(crate) fn notes(&self) -> Vec<String> {
        fs::read_to_string(self.state("notes")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Starts a supervisor and does not wait for anything.
    pub(crate) fn spawn(&self) -> Gateway {
        let path = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap().into_temp_path().keep().unwrap();
        fs::write(&path, serde_json::to_vec(&self.setup).unwrap()).unwrap();
        let mut command = Command::new(&self.setup.executable);
        command.arg("gateway").arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.env("TMPDIR", self.folder.path()).env_remove("XDG_RUNTIME_DIR");
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Gateway { process, lines, run_dir: self.state("run"), public: None, canvas: None }
    }

    /// Starts a supervisor and waits until everything serves.
    pub(crate) async fn start(&self) -> Gateway {
        let mut gateway = self.spawn();
        gateway.listens().await;
        assert_eq!(gateway.says().await.as_deref(), Some("ready 6"));
        gateway
    }
}

impl Drop for Home {
    // What the processes of a failed test had to say.
    #[allow(clippy::print_stderr, reason = "the test runner captures it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder.path().join("verso.log")).unwrap_or_default());
        }
    }
}

impl Gateway {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id().unwrap()).unwrap()
    }

    /// Looks for the sockets somewhere else.
    pub(crate) fn at(&mut self, run_dir: PathBuf) {
        self.run_dir = run_dir;
    }

    /// Waits for the next line of the supervisor. None when it and all of its processes are gone: each holds the pipe.
    pub(crate) async fn says(&mut self) -> Option<String> {
        timeout(PATIENCE, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if let Some(line) = line.strip_prefix("supervisor: ") {
                    return Some(line.to_owned());
                }
            }
            None
        })
        .await
        .expect("the supervisor says something")
    }

    /// Waits until the port is open.
    pub(crate) async fn listens(&mut self) {
        let line = self.says().await.unwrap();
        let addresses: Vec<SocketAddr> =
            line.strip_prefix("listening ").expect(&line).split(' ').map(|text| text.parse().unwrap()).collect();
        (self.public, self.canvas) = (Some(addresses[0]), Some(addresses[1]));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(i64::from(self.pid()), signal);
    }

    pub(crate) async fn list(&self) -> BTreeMap<String, ServiceInfo> {
        let list = self.supervisor().call(ServicesListRequest {}, &Caller::default()).await.unwrap();
        list.services.into_iter().map(|service| (service.name.clone(), service)).collect()
    }

    pub(crate) async fn restart(&self, name: &str) -> Result<ServicesRestartResponse, Status> {
        self.supervisor().call(ServicesRestartRequest { name: name.to_owned(), on_behalf_of: None }, &Caller::default()).await
    }

    /// Waits until a service is as it should be.
    pub(crate) async fn until(&self, name: &str, holds: impl Fn(&ServiceInfo) -> bool) -> ServiceInfo {
        let mut seen = None;
        let settled = timeout(PATIENCE, async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                let service = self.list().await.remove(name).unwrap();
                if holds(&service) {
                    return service;
                }
                seen = Some(service);
            }
        });
        let settled = settled.await;
        settled.unwrap_or_else(|_| panic!("{name} stays {seen:?}"))
    }

    /// Waits until another process serves than `before`.
    pub(crate) async fn until_replaced(&self, before: &ServiceInfo) -> ServiceInfo {
        self.until(&before.name, |now| now.state == "serving" && now.pid != before.pid).await
    }

    /// Asks a service for its health, however long that takes.
    pub(crate) async fn check(&self, name: &str) {
        let mut client = HealthClient::new(Peer::unix(self.run_dir.join(format!("{name}.sock"))).channel());
        timeout(PATIENCE, client.check(HealthCheckRequest::default())).await.expect("in time").expect("an answer");
    }

    fn supervisor(&self) -> Peer {
        Peer::supervisor(&self.run_dir)
    }
}

/// Connects like a client and reads the number of the incarnation that answers.
pub(crate) async fn connect(address: SocketAddr) -> u64 {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(address).await.expect("not refused");
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("not reset");
    answer.parse().expect("an answer")
}

pub(crate) fn kill(pid: i64, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The processes of all services but one.
pub(crate) fn others(services: &BTreeMap<String, ServiceInfo>, name: &str) -> BTreeMap<String, Option<i64>> {
    services.iter().filter(|(other, _)| *other != name).map(|(other, service)| (other.clone(), service.pid)).collect()
}
