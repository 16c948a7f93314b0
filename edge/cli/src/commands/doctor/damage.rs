//! What the gateway keeps: is every file of it whole, and its owner's; with `--fix`, what is not is mended.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use verso_kit::clock::Clock;
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::{ServicesDrainRequest, ServicesListRequest, ServicesRestartRequest};
use verso_supervisor::ServiceName;
use verso_supervisor::backup::{Mended, Mending, damage, mend};

use super::super::{Session, services};
use super::{Check, Status};
use crate::args::Doctor;

/// The databases, and the documents that their owners could not start without, with their owners. Those without
/// one are made again by whoever uses them.
const FILES: [(&str, Option<ServiceName>); 9] = [
    ("agent/agent.sqlite", Some(ServiceName::Agent)),
    ("channel/channel.sqlite", Some(ServiceName::Channel)),
    ("node/nodes.json", Some(ServiceName::Node)),
    ("exec-approvals.json", Some(ServiceName::Node)),
    ("devices/paired.json", Some(ServiceName::Edge)),
    ("devices/pending.json", Some(ServiceName::Edge)),
    ("edge/preferences.json", Some(ServiceName::Edge)),
    ("run/epochs.json", None),
    ("identity/device.json", None),
];

/// An own file that cannot be read and written by its owner is no use to him.
const OWN: u32 = 0o600;

pub(super) async fn all(session: &Session, arguments: &Doctor) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut broken = 0;
    for (name, owner) in FILES {
        let path = session.instance.state_dir.join(name);
        if !path.exists() {
            continue;
        }
        let found = match locked(session, &path, arguments.fix) {
            Some(check) => Some(check),
            None => file(session, (Path::new(name), owner), arguments).await,
        };
        broken += usize::from(found.is_some());
        checks.extend(found.or_else(|| is_database(&path).then(|| Check::ok("state.databases", whole(session, &path)))));
    }
    if broken == 0 {
        checks.push(Check::ok("state.documents", "every document can be read"));
    }
    checks
}

fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sqlite")
}

fn whole(session: &Session, path: &Path) -> String {
    format!("{} is whole", session.instance.short(path))
}

/// A file that belongs to somebody else, or that its owner may not use.
fn locked(session: &Session, path: &Path, fix: bool) -> Option<Check> {
    let (id, name) = ("state.permissions", session.instance.short(path));
    let meta = fs::metadata(path).ok()?;
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user && user != 0 {
        let check = Check::wrong(id, Status::Error, format!("{name} belongs to another user"));
        return Some(check.because("Its owner cannot write it.").mended_by(format!("sudo chown {user} {name}")));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & OWN == OWN {
        return None;
    }
    if fix && fs::set_permissions(path, Permissions::from_mode(mode | OWN)).is_ok() {
        return Some(Check::wrong(id, Status::Fixed, format!("{name} can be read and written again")));
    }
    let check = Check::wrong(id, Status::Error, format!("{name} cannot be read and written (mode {mode:o})"));
    Some(check.because("Its owner does not start, or loses what it holds.").mended_by(format!("chmod u+rw {name}, or verso doctor --fix")))
}

/// None for a file that is whole.
async fn file(session: &Session, (name, owner): (&Path, Option<ServiceName>), arguments: &Doctor) -> Option<Check> {
    let path = session.instance.state_dir.join(name);
    let why = damage(&path).or_else(|| if arguments.deep && is_database(&path) { in_depth(&path) } else { None })?;
    let id = if is_database(&path) { "state.databases" } else { "state.documents" };
    let short = session.instance.short(&path);
    let wrong = Check::wrong(id, Status::Error, format!("{short} is damaged: {why}"));
    let Some(owner) = owner else {
        return Some(wrong.because("It is written again when it is gone.").mended_by(format!("Move {short} aside.")));
    };
    let wrong = wrong.because("Its owner does not start with it, or loses what it holds.");
    if !arguments.fix {
        let by = "verso doctor --fix keeps what can be read of it, or puts the last backup's copy in its place; the damaged file is kept.";
        return Some(wrong.mended_by(by));
    }
    match mend_without_its_owner(session, owner, name).await {
        Ok(mended) => Some(Check::wrong(id, Status::Fixed, words(session, &short, &mended))),
        Err(error) => Some(wrong.mended_by(format!("It could not be mended: {error}"))),
    }
}

/// Every page and every index.
fn in_depth(path: &Path) -> Option<String> {
    let asked = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|database| database.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)));
    match asked {
        Ok(answer) => (answer != "ok").then_some(answer),
        Err(error) => Some(error.to_string()),
    }
}

/// The owner must not write the file meanwhile: it is stopped for it, and started again.
async fn mend_without_its_owner(session: &Session, owner: ServiceName, name: &Path) -> Result<Mended, String> {
    let running = services::supervisor(&session.instance).ok();
    if let Some(supervisor) = &running {
        stop(supervisor, owner).await?;
    }
    let (state_dir, name) = (session.instance.state_dir.clone(), name.to_owned());
    let mended = tokio::task::spawn_blocking(move || mend(&state_dir, &name, &Clock::system())).await;
    if let Some(supervisor) = &running {
        let request = ServicesRestartRequest { name: owner.to_string(), ..ServicesRestartRequest::default() };
        supervisor.call(request, &Caller::default()).await.map_err(|status| status.message().to_owned())?;
    }
    mended.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

async fn stop(supervisor: &Peer, owner: ServiceName) -> Result<(), String> {
    if owner != ServiceName::Edge {
        let request = ServicesDrainRequest { name: owner.to_string(), ..ServicesDrainRequest::default() };
        let drained = supervisor.call(request, &Caller::default()).await;
        return drained.map(drop).map_err(|status| status.message().to_owned());
    }
    // The edge cannot be stopped alone. One that runs has in memory what the file held, and does not read it.
    let list = supervisor.call(ServicesListRequest {}, &Caller::default()).await.map_err(|status| status.message().to_owned())?;
    let serves = list.services.iter().any(|service| service.name == owner.as_str() && service.state == "serving");
    if serves { Err("the edge is using it; stop the gateway first".to_owned()) } else { Ok(()) }
}

fn words(session: &Session, name: &str, mended: &Mended) -> String {
    let how = match &mended.by {
        Mending::Salvaged(salvaged) if salvaged.cut.is_empty() => format!("holds all of its {} rows again", salvaged.rows),
        Mending::Salvaged(salvaged) => {
            format!("holds the {} rows that could be read; something is missing of {}", salvaged.rows, salvaged.cut.join(", "))
        }
        Mending::PutBack { backup, .. } => format!("is the copy of {}; what came later is not in it", short(session, backup)),
        Mending::Nothing => "is gone, as there was nothing to be read of it and no backup has a copy: its owner begins afresh".to_owned(),
    };
    format!("{name} {how}. The damaged file is {}", short(session, &mended.aside))
}

fn short(session: &Session, path: &Path) -> String {
    session.instance.short(path)
}
