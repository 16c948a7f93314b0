//! `verso services`: asks the supervisor itself, so it works while the gateway's port does not.

use std::os::unix::net::UnixStream;

use serde_json::json;
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::{ServiceInfo, ServicesListRequest, ServicesRestartRequest};
use verso_supervisor::{Holder, ServiceName};

use super::{Session, words};
use crate::args::Services;
use crate::failure::Failure;
use crate::output::{self, Style, Table, Tone};

pub(super) async fn run(session: &Session, command: &Services) -> anyhow::Result<()> {
    match command {
        Services::List { json } => {
            let services = list(session).await?;
            if *json {
                return Ok(output::document(&json!({"services": services}))?);
            }
            Ok(output::line(table(session.style, &services))?)
        }
        Services::Restart { name, json } => {
            let name: ServiceName = name.parse()?;
            let request = ServicesRestartRequest { name: name.to_string() };
            let answer = supervisor(session)?.call(request, &Caller::default()).await.map_err(refused)?;
            if *json {
                return Ok(output::document(&answer)?);
            }
            let pid = answer.service.and_then(|service| service.pid).map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            Ok(output::line(format!("{name} restarted{pid}"))?)
        }
    }
}

/// Fetches the processes of the gateway.
pub(super) async fn list(session: &Session) -> anyhow::Result<Vec<ServiceInfo>> {
    let answer = supervisor(session)?.call(ServicesListRequest {}, &Caller::default()).await.map_err(refused)?;
    Ok(answer.services)
}

/// Draws the processes for people.
pub(super) fn table(style: Style, services: &[ServiceInfo]) -> Table {
    let mut table = Table::new(&["Service", "State", "Pid", "Up", "Starts", "Last exit"]);
    for service in services {
        let tone = match service.state.as_str() {
            "serving" => Tone::Good,
            "failed" | "stopped" => Tone::Bad,
            _ => Tone::Warning,
        };
        let retry = service.retry_in_ms.map(|ms| format!(" (next try in {})", words::duration(ms))).unwrap_or_default();
        table.row([
            service.name.clone(),
            format!("{}{retry}", style.paint(tone, &service.state)),
            service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            service.uptime_ms.map_or_else(|| "-".to_owned(), words::duration),
            service.starts.to_string(),
            service.last_exit.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

/// Finds the supervisor. A call would wait for one that may be restarting; none is running at all when nobody holds its socket.
fn supervisor(session: &Session) -> anyhow::Result<Peer> {
    let instance = &session.instance;
    let run_dir = Holder::of(&instance.state_dir).map_or_else(|| instance.run_dir(), |holder| holder.run_dir);
    let socket = run_dir.join("supervisor.sock");
    if UnixStream::connect(&socket).is_err() {
        let text =
            format!("No gateway is running in {}.\nStart it with: {}", instance.short(&instance.state_dir), instance.command("gateway"));
        return Err(Failure::new(text).into());
    }
    Ok(Peer::unix(socket))
}

fn refused(status: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow::Error::new(status)
}
