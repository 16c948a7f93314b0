//! The listening sockets, which outlive the processes that accept on them.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::net::{TcpSocket, UnixSocket};
use tracing::warn;
use verso_kit::config::Env;
use verso_kit::credential::OPERATOR_FILE;

use crate::config::{Limits, Listen};
use crate::error::Error;
use crate::service_name::ServiceName;

/// Connects that may wait while a service restarts.
const BACKLOG: u32 = 1024;

/// The kernel takes 107 bytes; some tools fewer.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Room for the longest file name that we put into the folder of the sockets.
const FILE_NAME_BYTES: usize = "/presence.18446744073709551615.sock".len();

/// Returns the folder of the Unix sockets of a state folder: `<state>/run`, or a short one where that is too long for a socket.
pub fn run_dir(state_dir: &Path, env: &Env) -> PathBuf {
    let usual = state_dir.join("run");
    if usual.as_os_str().len() + FILE_NAME_BYTES <= SOCKET_PATH_BYTES_MAX {
        return usual;
    }
    let hash = hex::encode(&Sha256::digest(state_dir.as_os_str().as_encoded_bytes())[..4]);
    let base = env.get("XDG_RUNTIME_DIR").or_else(|| env.get("TMPDIR")).unwrap_or("/tmp");
    Path::new(base).join(format!("verso-{hash}"))
}

/// Creates the folder of the sockets, and removes what a killed supervisor left in it. The caller holds the lock.
pub(crate) fn prepare_run_dir(run_dir: &Path) -> Result<(), Error> {
    let failed = |source| Error::RunDir { path: run_dir.to_owned(), source };
    // A parent such as `/tmp` may hold a folder or link that somebody else put there under our name.
    if let Ok(found) = fs::symlink_metadata(run_dir)
        && (!found.is_dir() || found.uid() != rustix::process::geteuid().as_raw())
    {
        return Err(Error::ForeignRunDir(run_dir.to_owned()));
    }
    verso_kit::files::create_private_dir(run_dir).map_err(failed)?;
    remove_sockets(run_dir).map_err(failed)
}

/// Removes every socket of the folder, and what lets the owner's command line in.
pub(crate) fn remove_sockets(run_dir: &Path) -> io::Result<()> {
    match fs::remove_file(run_dir.join(OPERATOR_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for entry in fs::read_dir(run_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sock") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The Unix socket on which a service serves its rpcs.
#[derive(Debug)]
pub(crate) struct Control {
    path: PathBuf,
    listener: UnixListener,
}

impl Control {
    /// Binds the service's socket.
    pub(crate) fn bind(run_dir: &Path, name: ServiceName) -> Result<Self, Error> {
        Self::bind_at(run_dir.join(format!("{name}.sock")))
    }

    /// Binds a socket that only one incarnation knows, until it is promoted.
    pub(crate) fn bind_aside(run_dir: &Path, name: ServiceName, epoch: u64) -> Result<Self, Error> {
        Self::bind_at(run_dir.join(format!("{name}.{epoch}.sock")))
    }

    /// Binds the socket on which the process that is replaced hands over to the one that replaces it. Its name is the same each time, as
    /// the former has to find it; who finds a socket there that we did not bind does not use it.
    pub(crate) fn bind_handover(run_dir: &Path) -> Result<Self, Error> {
        Self::bind_at(run_dir.join("handover.sock"))
    }

    fn bind_at(path: PathBuf) -> Result<Self, Error> {
        match listen_unix(&path) {
            Ok(listener) => Ok(Self { path, listener }),
            Err(source) => Err(Error::Control { path, source }),
        }
    }

    /// Gives this socket the service's name; who connects from now on reaches it.
    pub(crate) fn promote(&mut self, run_dir: &Path, name: ServiceName) -> Result<(), Error> {
        let path = run_dir.join(format!("{name}.sock"));
        fs::rename(&self.path, &path).map_err(|source| Error::Control { path: path.clone(), source })?;
        self.path = path;
        Ok(())
    }

    /// Removes the name of a socket that was never promoted.
    pub(crate) fn discard(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            warn!(error = &error as &dyn std::error::Error, "socket not removed");
        }
    }

    /// Returns where the socket is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a descriptor for a child.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }
}

fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?.into_std()
}

/// The sockets that clients connect to.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    pub(crate) public: Vec<TcpListener>,
    pub(crate) canvas: Option<TcpListener>,
}

impl Ports {
    /// Binds the public hosts and the canvas port.
    pub(crate) async fn bind(public: &Listen, canvas_port: Option<u16>, limits: &Limits) -> Result<Self, Error> {
        let (first, others) = public.hosts.split_first().ok_or(Error::NoAddress)?;
        let address = SocketAddr::new(*first, public.port);
        let listener = bind_patiently(address, limits).await.map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => Error::PortTaken(address),
            _ => Error::Bind { address, source },
        })?;
        let port = listener.local_addr().map_err(|source| Error::Bind { address, source })?.port();
        let mut ports = Self { public: vec![listener], canvas: None };
        for host in others {
            match listen_tcp(SocketAddr::new(*host, port)) {
                Ok(listener) => ports.public.push(listener),
                Err(error) => warn!(%host, port, error = &error as &dyn std::error::Error, "address left out"),
            }
        }
        if let Some(port) = canvas_port {
            let address = SocketAddr::new(*first, port);
            ports.canvas = Some(bind_patiently(address, limits).await.map_err(|source| Error::BindCanvas { address, source })?);
        }
        Ok(ports)
    }

    /// Returns the public addresses.
    pub(crate) fn public_addresses(&self) -> Vec<SocketAddr> {
        self.public.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Returns the canvas address.
    pub(crate) fn canvas_address(&self) -> Option<SocketAddr> {
        self.canvas.as_ref()?.local_addr().ok()
    }

    /// Takes the sockets of one service, with the names under which it gets them.
    pub(crate) fn take(&mut self, name: ServiceName) -> Vec<(&'static str, TcpListener)> {
        match name {
            ServiceName::Edge => self.public.drain(..).map(|listener| ("public", listener)).collect(),
            ServiceName::Canvas => self.canvas.take().map(|listener| ("canvas", listener)).into_iter().collect(),
            ServiceName::Presence | ServiceName::Node | ServiceName::Channel | ServiceName::Agent => Vec::new(),
        }
    }
}

/// Waits for a previous gateway that is still leaving.
async fn bind_patiently(address: SocketAddr, limits: &Limits) -> io::Result<TcpListener> {
    let mut attempt = 1;
    loop {
        match listen_tcp(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempt < limits.bind_attempts => {
                attempt += 1;
                tokio::time::sleep(limits.bind_retry).await;
            }
            result => return result,
        }
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // Both families are bound, each by its own socket.
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_sockets_out_of_a_folder_whose_path_is_too_long() {
        let env = Env::from_pairs([("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert_eq!(run_dir(Path::new("/home/a/.verso"), &env), Path::new("/home/a/.verso/run"));
        let long = PathBuf::from(format!("/home/{}", "a".repeat(90)));
        let short = run_dir(&long, &env);
        assert!(short.starts_with("/run/user/7") && short.as_os_str().len() < 40, "{}", short.display());
        assert_eq!(short, run_dir(&long, &env), "peers compute the same folder");
        assert_ne!(short, run_dir(&long.join("b"), &env));
    }

    #[test]
    fn refuses_a_link_in_place_of_the_run_folder() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("run");
        std::os::unix::fs::symlink("/tmp", &run).unwrap();
        assert!(matches!(prepare_run_dir(&run), Err(Error::ForeignRunDir(_))));
    }

    #[tokio::test]
    async fn leaves_out_a_second_address_that_is_not_there() {
        let listen = Listen { hosts: vec![[127, 0, 0, 1].into(), [192, 0, 2, 1].into()], port: 0 };
        let ports = Ports::bind(&listen, None, &Limits::default()).await.unwrap();
        assert_eq!(ports.public_addresses().len(), 1);
    }
}
