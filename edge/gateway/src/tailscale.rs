//! Asks the tailnet's daemon on this machine whose address it is.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::debug;
use verso_kit::config::Env;

/// Where the daemon listens on Linux.
const SOCKET: &str = "/var/run/tailscale/tailscaled.sock";

/// How long the daemon may take.
const WAIT: Duration = Duration::from_secs(2);

/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The daemon of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    socket: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Whois {
    user_profile: Profile,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Profile {
    login_name: String,
}

impl Daemon {
    /// The daemon that `VERSO_TAILSCALED_SOCKET` names, or this machine's.
    pub(crate) fn of(env: &Env) -> Self {
        Self { socket: PathBuf::from(env.get("VERSO_TAILSCALED_SOCKET").unwrap_or(SOCKET)) }
    }

    /// Returns the login of whoever has the address; none when the daemon does not say.
    pub(crate) async fn whois(&self, address: IpAddr) -> Option<String> {
        let asking = async { if self.socket.exists() { over_socket(&self.socket, address).await } else { by_command(address).await } };
        let answer = timeout(WAIT, asking).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        match answer.and_then(|json| Ok(serde_json::from_slice::<Whois>(&json)?)) {
            Ok(whois) => Some(whois.user_profile.login_name),
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "the tailnet did not say who an address is");
                None
            }
        }
    }
}

/// One HTTP request over the daemon's socket. Version 1.0: the answer comes whole and ends with the connection.
async fn over_socket(socket: &Path, address: IpAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let address = std::net::SocketAddr::new(address, 1);
    let request = format!("GET /localapi/v0/whois?addr={address} HTTP/1.0\r\nHost: local-tailscaled.sock\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    let is_ok = answer.split(|byte| *byte == b' ').nth(1) == Some(b"200");
    if is_ok { Ok(answer.split_off(end + 4)) } else { Err(std::io::ErrorKind::NotFound.into()) }
}

/// Where the daemon keeps its socket elsewhere, its command line knows.
async fn by_command(address: IpAddr) -> std::io::Result<Vec<u8>> {
    let mut command = Command::new("tailscale");
    command.args(["whois", "--json", &address.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    if output.status.success() { Ok(output.stdout) } else { Err(std::io::ErrorKind::NotFound.into()) }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;
    use verso_kit::CancellationToken;
    use verso_kit::tasks::Tasks;

    use super::*;

    /// A daemon that gives one answer.
    async fn asked(answer: &'static str) -> (Option<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tailscaled.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, received) = tokio::sync::oneshot::channel();
        Tasks::new(CancellationToken::new()).spawn("daemon", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            sender.send(String::from_utf8_lossy(&request[..read]).into_owned()).unwrap();
        });
        let daemon = Daemon::of(&Env::from_pairs([("VERSO_TAILSCALED_SOCKET", socket.to_str().unwrap())]));
        let login = daemon.whois("100.64.0.7".parse().unwrap()).await;
        (login, received.await.unwrap())
    }

    #[tokio::test]
    async fn the_daemon_knows_whose_address_it_is() {
        let (login, request) = asked(
            "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Node\":{},\"UserProfile\":{\"LoginName\":\"ada@example.test\"}}",
        )
        .await;
        assert_eq!(login.as_deref(), Some("ada@example.test"));
        assert!(request.starts_with("GET /localapi/v0/whois?addr=100.64.0.7:1 HTTP/1.0\r\n"), "{request}");
    }

    #[tokio::test]
    async fn no_answer_is_nobody() {
        assert_eq!(asked("HTTP/1.0 404 Not Found\r\n\r\nno match").await.0, None);
        assert_eq!(asked("nonsense").await.0, None);
        let nowhere = Daemon { socket: PathBuf::from("/nonexistent/tailscaled.sock") };
        assert_eq!(nowhere.whois("100.64.0.7".parse().unwrap()).await, None);
    }
}
