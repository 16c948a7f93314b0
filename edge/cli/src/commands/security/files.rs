//! What others can read or write.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::super::Session;
use super::{Finding, Severity};

use Severity::{Critical, Warn};

/// Folders that other machines have a copy of.
const SYNCED: [&str; 6] = ["Dropbox", "OneDrive", "iCloud", "Mobile Documents", "Google Drive", "GoogleDrive"];

/// A place that is to be private.
struct Place {
    id: &'static str,
    path: PathBuf,
    mode: u32,
    /// How bad it is when others can read it.
    readable: Severity,
}

fn places(session: &Session) -> Vec<Place> {
    let instance = &session.instance;
    let state = |name: &str| instance.state_dir.join(name);
    let mut places = vec![
        Place { id: "fs.state_dir", path: instance.state_dir.clone(), mode: 0o700, readable: Warn },
        Place { id: "fs.config", path: instance.config_path.clone(), mode: 0o600, readable: Critical },
        Place { id: "fs.credentials_dir", path: state("credentials"), mode: 0o700, readable: Critical },
        Place { id: "fs.identity", path: state("identity/device.json"), mode: 0o600, readable: Critical },
        Place { id: "fs.devices", path: state("devices"), mode: 0o700, readable: Warn },
        Place { id: "fs.sessions_store", path: state("agent"), mode: 0o700, readable: Warn },
        Place { id: "fs.channel_store", path: state("channel"), mode: 0o700, readable: Warn },
        Place { id: "fs.env_file", path: state(".env"), mode: 0o600, readable: Critical },
        Place { id: "fs.service_env", path: state("service.env"), mode: 0o600, readable: Critical },
        Place { id: "fs.log_dir", path: state("logs"), mode: 0o700, readable: Warn },
    ];
    let included = session.snapshot.file.files().iter().skip(1);
    places.extend(included.map(|path| Place { id: "fs.config_include", path: path.clone(), mode: 0o600, readable: Warn }));
    for entry in fs::read_dir(state("agents")).into_iter().flatten().flatten() {
        let path = entry.path().join("agent/auth-profiles.json");
        places.push(Place { id: "fs.auth_profiles", path, mode: 0o600, readable: Critical });
    }
    for entry in fs::read_dir(state("logs")).into_iter().flatten().flatten() {
        places.push(Place { id: "fs.log_file", path: entry.path(), mode: 0o600, readable: Warn });
    }
    places
}

pub(super) fn findings(session: &Session) -> Vec<Finding> {
    let mut found: Vec<Finding> = places(session).iter().flat_map(|place| look(session, place)).collect();
    found.extend(owner(session));
    let path = session.instance.state_dir.display().to_string();
    if SYNCED.iter().any(|name| path.contains(name)) {
        let finding = Finding::new(Warn, "fs.synced_dir", "the state folder is copied elsewhere", path);
        found.push(finding.mended_by("Move it: VERSO_STATE_DIR."));
    }
    found.extend(sockets(session));
    found
}

fn look(session: &Session, place: &Place) -> Vec<Finding> {
    let Ok(found) = place.path.symlink_metadata() else { return Vec::new() };
    let name = session.instance.short(&place.path);
    if found.is_symlink() {
        let finding = Finding::new(Warn, format!("{}.symlink", place.id), "a link: what it leads to decides", name);
        return vec![finding];
    }
    let mode = found.mode() & 0o777;
    let detail = format!("{name} has mode {mode:o}");
    let fix = format!("chmod {:o} {name}", place.mode);
    let kind = if mode & 0o002 != 0 {
        Some((Critical, "perms_world_writable", "everybody can change it"))
    } else if mode & 0o020 != 0 {
        Some((if place.readable == Critical { Critical } else { Warn }, "perms_group_writable", "a group can change it"))
    } else if mode & 0o004 != 0 {
        Some((place.readable, "perms_world_readable", "everybody can read it"))
    } else if mode & !place.mode & 0o070 != 0 {
        Some((Warn, "perms_group_readable", "a group can read it"))
    } else {
        None
    };
    kind.map(|(severity, kind, title)| Finding::new(severity, format!("{}.{kind}", place.id), title, detail).mended_by(fix))
        .into_iter()
        .collect()
}

/// A state folder of somebody else's can be changed under us.
fn owner(session: &Session) -> Option<Finding> {
    let found = session.instance.state_dir.metadata().ok()?;
    let ours = rustix::process::geteuid().as_raw();
    let detail = format!("{} belongs to user {}", session.instance.short(&session.instance.state_dir), found.uid());
    (found.uid() != ours).then(|| Finding::new(Critical, "fs.state_dir.owner", "the state folder is somebody else's", detail))
}

fn sockets(session: &Session) -> Option<Finding> {
    let folder = session.instance.run_dir();
    let mode = folder.metadata().ok()?.permissions().mode() & 0o777;
    let detail = format!("{} has mode {mode:o}", session.instance.short(&folder));
    let finding = || Finding::new(Critical, "services.socket_perms", "others can reach the services", detail);
    (mode & 0o077 != 0).then(|| finding().mended_by(format!("chmod 700 {}", session.instance.short(&folder))))
}

/// Takes others' rights away.
pub(super) fn close(session: &Session, actions: &mut Vec<String>, errors: &mut Vec<String>) {
    for place in places(session) {
        match tighten(&place.path, place.mode) {
            Ok(Some(mode)) => actions.push(format!("{} has mode {mode:o} now", session.instance.short(&place.path))),
            Ok(None) => {}
            Err(error) => errors.push(format!("{}: {error}", session.instance.short(&place.path))),
        }
    }
}

fn tighten(path: &Path, wanted: u32) -> std::io::Result<Option<u32>> {
    // A link is left alone: what it leads to may be somebody else's.
    let Ok(found) = path.symlink_metadata() else { return Ok(None) };
    let mode = found.permissions().mode() & 0o777;
    if found.is_symlink() || mode & !wanted == 0 {
        return Ok(None);
    }
    let mode = if found.is_dir() { mode & 0o700 } else { mode & wanted };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(Some(mode))
}
