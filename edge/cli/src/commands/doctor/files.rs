//! What is on the disk: configuration, permissions, room.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};
use verso_kit::config::Env;

use super::super::Session;
use super::{Check, Status};
use crate::config::{Gateway, Mode};

/// Less room than this is soon none, in bytes.
const FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;
/// Folders of those who keep something.
const OWNERS: [&str; 7] = ["agent", "channel", "node", "devices", "edge", "canvas", "run"];
/// Each client takes a descriptor; systems that allow fewer refuse clients early.
const DESCRIPTORS_MIN: u64 = 1_024;

/// Looks at everything; with `fix`, mends what needs no question.
pub(super) fn all(session: &Session, fix: bool) -> Vec<Check> {
    let instance = &session.instance;
    let mut checks = vec![environment(&Env::process()), config(session), mode(session), exposure(session), secrets(session)];
    checks.extend(without_effect(session));
    checks.push(state_dir(session, fix));
    let private = [
        ("config.permissions", instance.config_path.clone(), 0o600),
        ("credentials.permissions", instance.state_dir.join("credentials"), 0o700),
        ("identity.permissions", instance.state_dir.join("identity").join("device.json"), 0o600),
        ("token.permissions", instance.token_path(), 0o600),
    ];
    checks.extend(private.into_iter().filter_map(|(id, path, mode)| private_file(session, (id, &path, mode), fix)));
    checks.push(disk(session));
    checks.extend(writable(session));
    checks.push(descriptors());
    checks
}

fn environment(env: &Env) -> Check {
    let old: Vec<&str> =
        env.iter().map(|(name, _)| name).filter(|name| name.starts_with("OPENCLAW_") || name.starts_with("CLAWDBOT_")).collect();
    if old.is_empty() {
        return Check::ok("env.legacy", "no variables of another product");
    }
    Check::wrong("env.legacy", Status::Warn, format!("variables of another product are set: {}", old.join(", ")))
        .because("They stand in for the variables of the same name with VERSO_, except the folders, which are another product's own.")
        .mended_by("Rename them to VERSO_… or unset them.")
}

fn config(session: &Session) -> Check {
    let path = session.instance.short(&session.instance.config_path);
    let snapshot = &session.snapshot;
    if !session.instance.config_path.exists() {
        return Check::wrong("config.valid", Status::Warn, format!("there is no {path}"))
            .because("A gateway starts only where a configuration allows it.")
            .mended_by(format!("Write {{gateway: {{mode: \"local\"}}}} to {path}."));
    }
    if snapshot.is_valid() {
        return Check::ok("config.valid", format!("{path} can be used"));
    }
    let problems: Vec<String> =
        snapshot.problems.iter().chain(&snapshot.legacy).map(|one| format!("{}: {}", one.path, one.message)).collect();
    Check::wrong("config.valid", Status::Error, format!("{path} cannot be used: {}", problems.join("; ")))
        .because("The gateway does not start with a configuration that it may misunderstand.")
        .mended_by("Correct the named keys.")
}

/// Names what the file says and nobody reads: that is no fault, but whoever relies on it should know. None when there is no such key.
fn without_effect(session: &Session) -> Option<Check> {
    let found = verso_config::without_effect(session.snapshot.file.value());
    let message = format!("accepted from older files, without effect: {}", found.join(", "));
    (!found.is_empty()).then(|| Check::ok("config.without-effect", message))
}

fn mode(session: &Session) -> Check {
    match Gateway::of(&session.snapshot.file).mode {
        Some(Mode::Local) => Check::ok("config.mode", "gateway.mode is local"),
        Some(Mode::Remote) => Check::ok("config.mode", "gateway.mode is remote: these checks are about this machine"),
        None => Check::wrong("config.mode", Status::Warn, "gateway.mode is not set")
            .because("Without it the gateway does not start: an emptied file must not start an open one.")
            .mended_by("Set gateway.mode to \"local\" or \"remote\"."),
    }
}

fn exposure(session: &Session) -> Check {
    let section = Gateway::of(&session.snapshot.file);
    let open = section.auth.mode.as_deref() == Some("none");
    match section.bind.as_deref().unwrap_or("loopback") {
        "loopback" if open => Check::wrong("gateway.exposure", Status::Warn, "every program of this machine may use the gateway")
            .mended_by("Set gateway.auth.mode to \"token\"."),
        bind if bind != "loopback" && open => {
            Check::wrong("gateway.exposure", Status::Error, format!("gateway.bind is {bind} without a secret"))
                .because("Everybody who reaches this machine could run programs on it; the gateway refuses to start like this.")
                .mended_by("Set gateway.auth.mode to \"token\".")
        }
        bind => Check::ok("gateway.exposure", format!("bind {bind}, with a secret")),
    }
}

/// Configuration wins in the gateway, the environment in its clients: two secrets mean that nobody gets in.
fn secrets(session: &Session) -> Check {
    let section = Gateway::of(&session.snapshot.file);
    let env = session.snapshot.env.get("VERSO_GATEWAY_TOKEN");
    let differ = section.auth.token.as_ref().zip(env).is_some_and(|(token, env)| token.expose() != env);
    if !differ {
        return Check::ok("gateway.secrets-agree", "commands present the secret that the gateway expects");
    }
    Check::wrong("gateway.secrets-agree", Status::Error, "VERSO_GATEWAY_TOKEN differs from gateway.auth.token")
        .because("The gateway goes by the configuration, commands go by the environment: they are refused.")
        .mended_by("Unset VERSO_GATEWAY_TOKEN, or set it to the same.")
}

fn state_dir(session: &Session, fix: bool) -> Check {
    let path = &session.instance.state_dir;
    let id = "state.dir";
    if path.is_dir() {
        let check = private_file(session, (id, path, 0o700), fix);
        return check.unwrap_or_else(|| Check::ok(id, session.instance.short(path)));
    }
    let missing = format!("there is no {}", session.instance.short(path));
    if fix && verso_kit::files::create_private_dir(path).is_ok() {
        return Check::wrong(id, Status::Fixed, format!("made {}", session.instance.short(path)));
    }
    Check::wrong(id, Status::Warn, missing)
        .because("The gateway keeps everything there.")
        .mended_by("verso doctor --fix, or start the gateway once.")
}

/// None for what does not exist.
fn private_file(session: &Session, (id, path, wanted): (&'static str, &Path, u32), fix: bool) -> Option<Check> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let name = session.instance.short(path);
    if mode & !wanted == 0 {
        return Some(Check::ok(id, format!("{name} is private")));
    }
    let words = format!("{name} can be used by others (mode {mode:o})");
    let mended = |path: &Path| -> io::Result<()> { fs::set_permissions(path, Permissions::from_mode(mode & wanted)) };
    if fix && mended(path).is_ok() {
        return Some(Check::wrong(id, Status::Fixed, format!("{name} is private now")));
    }
    let check = Check::wrong(id, Status::Error, words).because("It holds secrets, or decides who may do what.");
    Some(check.mended_by(format!("chmod {wanted:o} {name}")))
}

/// The folders of the owners, which may be on disks of their own; where there is none yet, the nearest above.
fn folders(session: &Session) -> Vec<PathBuf> {
    let state_dir = &session.instance.state_dir;
    let existing: Vec<PathBuf> = OWNERS.iter().map(|owner| state_dir.join(owner)).filter(|folder| folder.is_dir()).collect();
    let nearest = state_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    existing.into_iter().chain([nearest.to_owned()]).collect()
}

/// A folder on a file system that cannot be written.
fn writable(session: &Session) -> Option<Check> {
    let locked = |folder: &PathBuf| rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err();
    let locked: Vec<String> =
        folders(session).iter().filter(|folder| locked(folder)).map(|folder| session.instance.short(folder)).collect();
    if locked.is_empty() {
        return None;
    }
    let check = Check::wrong("state.writable", Status::Error, format!("cannot be written: {}", locked.join(", ")));
    Some(check.because("Their owners do not start.").mended_by("Look why: `mount`, `ls -ld`. A disk that fails is mounted read-only."))
}

fn disk(session: &Session) -> Check {
    let room = |folder: &PathBuf| rustix::fs::statvfs(folder).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    let Some((free, folder)) = folders(session).into_iter().filter_map(|folder| Some((room(&folder)?, folder))).min() else {
        return Check::wrong("disk.free", Status::Warn, "could not see how much room is left");
    };
    let words = format!("{} MiB are free in {}", free / 1024 / 1024, session.instance.short(&folder));
    if free >= FREE_BYTES_MIN {
        return Check::ok("disk.free", words);
    }
    let check = Check::wrong("disk.free", Status::Error, words).because("On a full disk the gateway refuses what it cannot keep.");
    check.mended_by("Remove old logs, or give the state folder more room.")
}

fn descriptors() -> Check {
    let limit = getrlimit(Resource::Nofile).current;
    let words = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("{limit} open files at once"));
    if limit.is_none_or(|limit| limit >= DESCRIPTORS_MIN) {
        return Check::ok("limits.descriptors", words);
    }
    let check = Check::wrong("limits.descriptors", Status::Warn, words).because("Each client takes one.");
    check.mended_by("ulimit -n 4096, or LimitNOFILE= in the unit.")
}
