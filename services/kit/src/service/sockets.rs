//! Listening sockets that the supervisor (or systemd) bound and handed over by the `LISTEN_FDS` convention.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use crate::config::Env;

/// The first handed-over descriptor, by the convention.
const FIRST_FD: usize = 3;

/// More than this was not written by the supervisor, in bytes.
const SECRETS_BYTES_MAX: u64 = 1 << 20;

/// The sockets of one process. Each is taken once.
#[derive(Debug, Clone)]
pub struct Sockets {
    handed_over: Arc<Mutex<HandedOver>>,
    /// Where the control socket is bound when none was handed over.
    control_path: PathBuf,
}

#[derive(Debug, Default)]
struct HandedOver {
    control: Option<UnixListener>,
    handover: Option<UnixListener>,
    tcp: BTreeMap<String, Vec<TcpListener>>,
}

impl Sockets {
    /// Adopts the sockets named in `LISTEN_FDNAMES`: `control` is the service's own Unix socket, `handover` the one
    /// on which the process that this one replaces hands its connections over; all others are TCP.
    pub(super) fn inherited(env: &Env, control_path: PathBuf) -> Result<Self, Error> {
        let names: Vec<&str> = env.get("LISTEN_FDNAMES").map(|names| names.split(':').collect()).unwrap_or_default();
        let mut descriptors = listenfd::ListenFd::from_env();
        let mut sockets = HandedOver::default();
        for index in 0..descriptors.len() {
            match names.get(index).copied().unwrap_or("control") {
                "control" => sockets.control = descriptors.take_unix_listener(index)?,
                "handover" => sockets.handover = descriptors.take_unix_listener(index)?,
                name => sockets.tcp.entry(name.to_owned()).or_default().extend(descriptors.take_tcp_listener(index)?),
            }
        }
        Ok(Self { handed_over: Arc::new(Mutex::new(sockets)), control_path })
    }

    /// Has no sockets; binds the control socket at `control_path` when it is asked for.
    pub fn bound_at(control_path: PathBuf) -> Self {
        Self { handed_over: Arc::default(), control_path }
    }

    /// Adds TCP sockets under a name, as the supervisor would.
    #[must_use]
    pub fn with_tcp(self, name: &str, listeners: Vec<TcpListener>) -> Self {
        self.lock().tcp.insert(name.to_owned(), listeners);
        self
    }

    /// Has the service's own socket, as if it had been handed over.
    #[cfg(test)]
    pub(crate) fn with_control(self, listener: UnixListener) -> Self {
        self.lock().control = Some(listener);
        self
    }

    /// Takes the service's own socket, or binds it when none was handed over.
    pub fn control(&self) -> Result<UnixListener, Error> {
        if let Some(listener) = self.lock().control.take() {
            return Ok(listener);
        }
        if let Some(folder) = self.control_path.parent() {
            crate::files::create_private_dir(folder)?;
        }
        match fs::remove_file(&self.control_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(UnixListener::bind(&self.control_path)?),
        }
    }

    /// Takes the socket on which the process that this one replaces hands over; none when it replaces nobody.
    pub fn handover(&self) -> Option<UnixListener> {
        self.lock().handover.take()
    }

    /// Takes the TCP sockets of a name; none were handed over when it is empty.
    pub fn tcp(&self, name: &str) -> Vec<TcpListener> {
        self.lock().tcp.remove(name).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HandedOver> {
        self.handed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the secrets behind a descriptor and wipes them: what a tool inherits by accident is empty.
pub(super) fn secrets(descriptor: &str) -> io::Result<BTreeMap<String, String>> {
    let number: usize = descriptor.parse().map_err(io::Error::other)?;
    if number != 0 && number < FIRST_FD {
        return Err(io::Error::other("not a descriptor for secrets"));
    }
    let file = fs::OpenOptions::new().read(true).write(true).open(format!("/dev/fd/{number}"))?;
    let mut text = String::new();
    (&file).take(SECRETS_BYTES_MAX).read_to_string(&mut text)?;
    file.set_len(0)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}
