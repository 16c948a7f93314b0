//! What a container may be: the section `sandbox.docker`, checked before anything of it is used. What would open the host to whoever is in
//! the container is refused, and then nothing is run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::exec::environment::may_bring;

/// The container unless configured.
const IMAGE: &str = "debian:stable-slim";

/// Where the workspace is within.
pub(super) const WORKDIR: &str = "/workspace";

/// Processes of one container, unless configured.
const PIDS: u64 = 512;

/// Folders of the host that are nobody's to lend, with all that is below and above them.
const NOT_LENT: [&str; 14] = [
    "/etc",
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/root",
    "/run",
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
];

/// Folders within that a bind may not cover.
const NOT_COVERED: [&str; 10] = ["/bin", "/sbin", "/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev", WORKDIR];

/// The section `sandbox.docker`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// Default: `debian:stable-slim`.
    pub image: Option<String>,
    /// `none`, or a network made for this. Default: `none`.
    pub network: Option<String>,
    /// `user` or `user:group`. Default: the gateway's own.
    pub user: Option<String>,
    /// Default: true.
    pub read_only_root: Option<bool>,
    /// Folders in memory. Default: `/tmp`.
    pub tmpfs: Option<Vec<String>>,
    /// Default: all.
    pub cap_drop: Option<Vec<String>>,
    /// Servers of names.
    pub dns: Vec<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// `folder:folder within`, perhaps with `:ro` or `:rw`.
    pub binds: Vec<String>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// Default: 512.
    pub pids_limit: Option<u64>,
    /// Such as `512m`, or bytes.
    pub memory: Option<Value>,
    /// The same.
    pub memory_swap: Option<Value>,
    /// Processors.
    pub cpus: Option<f64>,
    /// A file, never `unconfined`.
    pub seccomp_profile: Option<String>,
    /// A name, never `unconfined`.
    pub apparmor_profile: Option<String>,
    /// Not carried out: what a container needs belongs into its image.
    pub setup_command: Option<String>,
}

/// A container that may be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub(super) image: String,
    /// Arguments of `run` that are the same for every command.
    pub(super) options: Vec<String>,
}

impl Config {
    /// Whether somebody has asked for a container at all.
    pub fn wanted(&self) -> bool {
        self.image.is_some()
    }

    /// Checks all of it. `closed` are folders of the gateway's own that no container sees.
    pub fn checked(&self, closed: &[PathBuf]) -> Result<Container, String> {
        if self.setup_command.as_ref().is_some_and(|command| !command.trim().is_empty()) {
            return Err(key("setupCommand", "is not carried out by this gateway: put what it does into the image"));
        }
        let image = word("image", self.image.as_deref().unwrap_or(IMAGE), "./:@")?;
        let mut options = vec!["--network".to_owned(), self.checked_network()?];
        self.confine(&mut options)?;
        self.limit(&mut options)?;
        self.name_hosts(&mut options)?;
        self.lend(&mut options, closed)?;
        Ok(Container { image, options })
    }

    fn confine(&self, options: &mut Vec<String>) -> Result<(), String> {
        let all = ["ALL".to_owned()];
        for capability in self.cap_drop.as_deref().unwrap_or(&all) {
            add(options, "--cap-drop", word("capDrop", capability, "")?);
        }
        add(options, "--security-opt", "no-new-privileges".to_owned());
        for (name, option, value) in
            [("seccompProfile", "seccomp", &self.seccomp_profile), ("apparmorProfile", "apparmor", &self.apparmor_profile)]
        {
            let Some(value) = value else { continue };
            if value.trim().eq_ignore_ascii_case("unconfined") {
                return Err(key(name, "cannot be unconfined: that is no sandbox"));
            }
            add(options, "--security-opt", format!("{option}={}", word(name, value, "./")?));
        }
        if self.read_only_root != Some(false) {
            options.push("--read-only".to_owned());
        }
        if let Some(user) = &self.user {
            add(options, "--user", word("user", user, ":")?);
        }
        Ok(())
    }

    fn limit(&self, options: &mut Vec<String>) -> Result<(), String> {
        add(options, "--pids-limit", self.pids_limit.unwrap_or(PIDS).to_string());
        for (name, option, value) in [("memory", "--memory", &self.memory), ("memorySwap", "--memory-swap", &self.memory_swap)] {
            if let Some(value) = value {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                add(options, option, word(name, &text, "")?);
            }
        }
        if let Some(cpus) = self.cpus {
            add(options, "--cpus", cpus.to_string());
        }
        Ok(())
    }

    fn name_hosts(&self, options: &mut Vec<String>) -> Result<(), String> {
        for server in &self.dns {
            let address = server.parse::<IpAddr>().map_err(|_| key("dns", &format!("cannot be {server:?}")))?;
            add(options, "--dns", address.to_string());
        }
        for host in &self.extra_hosts {
            let fits = host.split_once(':').is_some_and(|(name, address)| plain(name, ".") && address.parse::<IpAddr>().is_ok());
            if !fits {
                return Err(key("extraHosts", &format!("cannot be {host:?}: a name and an address, and never the host's own gateway")));
            }
            add(options, "--add-host", host.clone());
        }
        Ok(())
    }

    fn lend(&self, options: &mut Vec<String>, closed: &[PathBuf]) -> Result<(), String> {
        let usual = ["/tmp".to_owned()];
        for folder in self.tmpfs.as_deref().unwrap_or(&usual) {
            if !folder.starts_with('/') || !plain(folder, "/,=:") {
                return Err(key("tmpfs", &format!("cannot be {folder:?}")));
            }
            add(options, "--tmpfs", folder.clone());
        }
        for (name, value) in &self.env {
            if !may_bring(name) {
                return Err(key("env", &format!("cannot set {name}")));
            }
            add(options, "--env", format!("{name}={value}"));
        }
        for (place, bind) in self.binds.iter().enumerate() {
            add(options, "--volume", checked_bind(bind, closed).map_err(|why| key(&format!("binds[{place}]"), &why))?);
        }
        Ok(())
    }

    /// A container in the host's network, or in another container's, is not apart from it.
    fn checked_network(&self) -> Result<String, String> {
        let network = self.network.as_deref().map(str::trim).filter(|network| !network.is_empty()).unwrap_or("none");
        if network.eq_ignore_ascii_case("host") || network.contains(':') || !plain(network, ".") {
            return Err(format!("sandbox.docker.network cannot be {network:?}: use none, or a network that was made for this"));
        }
        Ok(network.to_owned())
    }
}

fn add(options: &mut Vec<String>, name: &str, value: String) {
    options.extend([name.to_owned(), value]);
}

fn key(name: &str, why: &str) -> String {
    format!("sandbox.docker.{name} {why}")
}

/// Returns a text that is one word.
fn word(name: &str, text: &str, more: &str) -> Result<String, String> {
    if plain(text, more) { Ok(text.to_owned()) } else { Err(key(name, &format!("cannot be {text:?}"))) }
}

/// Checks one bind, and returns it with the folder that the host really means.
fn checked_bind(bind: &str, closed: &[PathBuf]) -> Result<String, String> {
    let parts: Vec<&str> = bind.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (*source, *target, "ro"),
        [source, target, mode @ ("ro" | "rw")] => (*source, *target, *mode),
        _ => return Err(format!("is no \"folder:folder\" with perhaps :ro or :rw: {bind:?}")),
    };
    let climbing = |path: &str| Path::new(path).components().any(|part| part == Component::ParentDir);
    if !source.starts_with('/') || !target.starts_with('/') || climbing(source) || climbing(target) {
        return Err(format!("needs whole paths: {bind:?}"));
    }
    // Links are followed now, so that what is looked at is what is lent.
    let real = Path::new(source).canonicalize().map_err(|error| format!("leads nowhere ({error}): {bind:?}"))?;
    let related = |folder: &Path| real.starts_with(folder) || folder.starts_with(&real);
    let is_socket = std::fs::metadata(&real).is_ok_and(|found| !found.is_dir() && !found.is_file());
    if is_socket || NOT_LENT.iter().any(|folder| related(Path::new(folder))) || closed.iter().any(|folder| related(folder)) {
        return Err(format!("would lend what is not to be lent: {}", real.display()));
    }
    let private = real.components().any(|part| matches!(part.as_os_str().to_str(), Some(".ssh" | ".gnupg" | ".aws" | ".kube" | ".docker")));
    if private {
        return Err(format!("would lend credentials: {}", real.display()));
    }
    let target = Path::new(target);
    if target == Path::new("/") || NOT_COVERED.iter().any(|folder| target.starts_with(folder)) {
        return Err(format!("would cover {} within", target.display()));
    }
    Ok(format!("{}:{}:{mode}", real.display(), target.display()))
}

/// Whether a text is one word that no program takes for an option.
fn plain(text: &str, more: &str) -> bool {
    let fits = |sign: char| sign.is_ascii_alphanumeric() || "_-".contains(sign) || more.contains(sign);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
}
