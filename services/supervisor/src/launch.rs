//! Starting a process: what it inherits and what it does not.

use std::collections::BTreeMap;
use std::io::{self, Seek, Write};
use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use command_fds::{CommandFdExt, FdMapping};
use serde_json::Value;
use tokio::sync::oneshot;
use verso_kit::clock::Clock;
use verso_kit::config::Env;
use verso_kit::credential::{self, Authority, Credential};
use verso_kit::files;
use verso_kit::peer::Peer;

use crate::config::{Config, Listening, Secrets};
use crate::error::Error;
use crate::process::Process;
use crate::reload;
use crate::service_name::ServiceName;
use crate::sockets::Control;

/// The first descriptor of the `LISTEN_FDS` convention.
const FIRST_FD: RawFd = 3;

/// What a process gets from our own environment, besides `OTEL_*`.
const INHERITED: [&str; 19] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "NO_COLOR",
    "RUST_LOG",
    "VERSO_LOG",
    // Switches of the canvas and of the announcement on the network, and what tells that this is a container.
    "VERSO_SKIP_CANVAS_HOST",
    "OPENCLAW_SKIP_CANVAS_HOST",
    "VERSO_DISABLE_BONJOUR",
    "OPENCLAW_DISABLE_BONJOUR",
    "VERSO_MDNS_HOSTNAME",
    "VERSO_SSH_PORT",
    "VERSO_TAILNET_DNS",
    "VERSO_CLI_PATH",
    "KUBERNETES_SERVICE_HOST",
    "container",
];

/// Starts the processes of one gateway.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// What the gateway was started from.
    installed: PathBuf,
    /// What a service is started from instead.
    executables: Mutex<BTreeMap<ServiceName, PathBuf>>,
    run_dir: PathBuf,
    environment: BTreeMap<String, String>,
    secrets: Mutex<Secrets>,
    /// Where the configuration of each service is put; none when they read the file.
    handed_over: Option<PathBuf>,
    forks: mpsc::Sender<Fork>,
    /// Says who our processes are.
    authority: Authority,
    /// Our own.
    credential: Credential,
}

/// Our own incarnation: there is one supervisor at a time, and one authority for each.
const OWN_EPOCH: u64 = 1;

/// The sockets that a process gets.
#[derive(Debug)]
pub(crate) struct Inheritance<'a> {
    pub(crate) control: &'a Control,
    pub(crate) ports: &'a [(&'static str, TcpListener)],
    /// The process whose place it takes while that one still runs.
    pub(crate) replaced: Option<Replaced<'a>>,
}

/// A process that hands over.
#[derive(Debug)]
pub(crate) struct Replaced<'a> {
    pub(crate) pid: i64,
    /// Where it hands over.
    pub(crate) handover: &'a Control,
}

/// A command for the thread that starts processes, and where the process goes.
struct Fork {
    command: tokio::process::Command,
    started: oneshot::Sender<io::Result<tokio::process::Child>>,
}

impl Launcher {
    /// Prepares to start processes for the gateway that `config` describes.
    pub(crate) fn new(config: &Config, listening: &Listening, env: &Env) -> io::Result<Self> {
        let mut environment: BTreeMap<String, String> = env
            .iter()
            .filter(|(name, _)| INHERITED.contains(name) || name.starts_with("OTEL_"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        environment.extend(config.pass_env.clone());
        let ours = [
            ("VERSO_STATE_DIR", config.state_dir.display().to_string()),
            ("VERSO_CONFIG_PATH", config.config_path.display().to_string()),
            ("VERSO_RUN_DIR", listening.run_dir.display().to_string()),
            ("VERSO_SUPERVISOR_PID", rustix::process::getpid().as_raw_pid().to_string()),
        ];
        environment.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        // The actual ports, so that whoever derives others from them agrees with us.
        let ports = [("VERSO_GATEWAY_PORT", listening.public.first()), ("VERSO_CANVAS_HOST_PORT", listening.canvas.as_ref())];
        environment.extend(ports.into_iter().filter_map(|(name, address)| Some((name.to_owned(), address?.port().to_string()))));
        let run_dir = listening.run_dir.clone();
        let handed_over = config.configuration.is_some().then(|| run_dir.join("config"));
        let secrets = Mutex::new(config.secrets.clone());
        let (installed, executables) = (config.executable.clone(), Mutex::default());
        let authority = Authority::generate();
        let operator = authority.credential(credential::OPERATOR, OWN_EPOCH).to_text();
        files::write_atomic(&run_dir.join(credential::OPERATOR_FILE), operator.as_bytes(), 0o600)?;
        let credential = authority.credential("supervisor", OWN_EPOCH);
        Ok(Self { installed, executables, run_dir, environment, secrets, handed_over, forks: start_thread()?, authority, credential })
    }

    /// Returns what proves to our processes that we are their supervisor.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Returns a process that we have started, to be called.
    pub(crate) fn peer(&self, name: ServiceName) -> Peer {
        let peer = Peer::unix(self.run_dir.join(format!("{name}.sock")));
        peer.identified(self.credential.clone(), name.as_str(), Clock::system())
    }

    /// Puts other secrets in place of those that processes were given, and returns these; the next starts get the others.
    pub(crate) fn set_secrets(&self, secrets: Secrets) -> Secrets {
        std::mem::replace(&mut *self.secrets.lock().unwrap_or_else(PoisonError::into_inner), secrets)
    }

    /// Whether the service would be given other secrets now than those of `before`.
    pub(crate) fn secrets_differ(&self, name: ServiceName, before: &Secrets) -> bool {
        let now = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        readable(name, &now) != readable(name, before)
    }

    /// What the gateway was started from.
    pub(crate) fn installed(&self) -> &Path {
        &self.installed
    }

    /// Starts a service from another executable from now on; returns the one so far.
    pub(crate) fn run_as(&self, name: ServiceName, executable: PathBuf) -> PathBuf {
        let mut executables = self.executables.lock().unwrap_or_else(PoisonError::into_inner);
        executables.insert(name, executable).unwrap_or_else(|| self.installed.clone())
    }

    fn executable(&self, name: ServiceName) -> PathBuf {
        let executables = self.executables.lock().unwrap_or_else(PoisonError::into_inner);
        executables.get(&name).unwrap_or(&self.installed).clone()
    }

    /// Gives a service its configuration: it reads it when it starts, and when it is told to.
    pub(crate) fn hand_over(&self, name: ServiceName, value: &Value) -> io::Result<()> {
        self.handed_over
            .as_ref()
            .map_or(Ok(()), |folder| reload::write(&snapshot(folder, name), &verso_config::for_process(value, name.as_str())))
    }

    /// Returns the folder of the sockets.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Starts a service.
    pub(crate) async fn start(&self, name: ServiceName, epoch: u64, inherits: &Inheritance<'_>) -> Result<Process, Error> {
        let failed = |source| Error::Spawn { name, source };
        let command = self.command(name, epoch, inherits).map_err(failed)?;
        let (started, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.forks.send(Fork { command, started }).map_err(|_| failed(gone()))?;
        let child = child.await.map_err(|_| failed(gone()))?.map_err(failed)?;
        Process::new(child, epoch).map_err(failed)
    }

    fn command(&self, name: ServiceName, epoch: u64, inherits: &Inheritance<'_>) -> io::Result<tokio::process::Command> {
        let mut names = vec!["control"];
        let mut descriptors = vec![inherits.control.share()?];
        if let Some(replaced) = &inherits.replaced {
            names.push("handover");
            descriptors.push(replaced.handover.share()?);
        }
        for (port, listener) in inherits.ports {
            names.push(*port);
            descriptors.push(listener.try_clone()?.into());
        }
        let listeners = descriptors.len();
        descriptors.push(self.secrets_file(name, epoch)?);

        let mut command = std::process::Command::new(self.executable(name));
        command
            .args(["service", name.as_str()])
            .stdin(Stdio::null())
            .process_group(0) // Ctrl-C in a terminal reaches us alone: the order of the stop is ours.
            .env_clear()
            .envs(&self.environment)
            .env("VERSO_SERVICE_KIND", name.as_str())
            .env("VERSO_EPOCH", epoch.to_string())
            .env("LISTEN_FDS", listeners.to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("VERSO_SECRETS_FD", (usize::try_from(FIRST_FD).unwrap_or_default() + listeners).to_string());
        if let Some(replaced) = &inherits.replaced {
            command.env("VERSO_REPLACES_PID", replaced.pid.to_string());
        }
        if let Some(folder) = &self.handed_over {
            command.env("VERSO_CONFIG_SNAPSHOT", snapshot(folder, name));
        }
        let mappings = (FIRST_FD..).zip(descriptors).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        Ok(command)
    }

    /// Writes the secrets that the service may read, and what proves who it is, to a file without a name, which is gone when its readers are.
    fn secrets_file(&self, name: ServiceName, epoch: u64) -> io::Result<OwnedFd> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (secret, credential) = (credential::SECRET.to_owned(), self.authority.credential(name.as_str(), epoch).to_text());
        let mut readable = readable(name, &secrets);
        readable.insert(&secret, &credential);
        let mut file = tempfile::tempfile_in(&self.run_dir)?;
        file.write_all(&serde_json::to_vec(&readable)?)?;
        file.rewind()?;
        Ok(file.into())
    }
}

/// The configuration as the service is given it, in a folder of its own: who may look into one folder sees no other's.
fn snapshot(folder: &Path, name: ServiceName) -> PathBuf {
    folder.join(name.as_str()).join("verso.json")
}

/// The secrets that the service may read.
fn readable(name: ServiceName, secrets: &Secrets) -> BTreeMap<&String, &String> {
    secrets.values.iter().filter(|(secret, _)| name.may_read(secret, secrets)).collect()
}

/// Starts the thread that starts processes.
///
/// A child's parent-death signal is sent when the *thread* that started it ends, and a runtime's threads come and go.
fn start_thread() -> io::Result<mpsc::Sender<Fork>> {
    let runtime = tokio::runtime::Handle::current();
    let (forks, requests) = mpsc::channel::<Fork>();
    thread::Builder::new().name("verso-fork".to_owned()).spawn(move || {
        while let Ok(Fork { mut command, started }) = requests.recv() {
            let _runtime = runtime.enter();
            // Nobody waits when the service was told to stop meanwhile; dropping the child kills it.
            drop(started.send(command.spawn()));
        }
    })?;
    Ok(forks)
}
