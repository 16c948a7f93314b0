//! Programs that nobody here wrote, which `peers/install.sh` installs: SDKs, emulators, servers, a browser.
//!
//! A clone without them passes its tests: what is not found is skipped, with a line that says so. The gate sets `VERSO_PEERS=required`, and
//! then what is not found is a failure.

#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "a test asks its surroundings, and says what it skips")]

use std::env;
use std::path::PathBuf;

/// A program of the system by name, or `None` when this test is to be skipped.
pub fn program(name: &str) -> Option<PathBuf> {
    found(name, in_path(name))
}

/// A program of the system that no package brings in a version that does: never required.
pub fn perhaps(name: &str) -> Option<PathBuf> {
    let path = in_path(name);
    if path.is_none() {
        eprintln!("skipped: {name} is not here");
    }
    path
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The Python that has the packages of `peers/python.txt`, or `None` when this test is to be skipped.
pub fn python() -> Option<PathBuf> {
    found("the Python packages", Some(home().join("venv/bin/python")).filter(|path| path.is_file()))
}

/// Node.js and the folder whose `node_modules` has the packages of `peers/package.json`, or `None` when this test is to be skipped.
pub fn node() -> Option<(PathBuf, PathBuf)> {
    let packages = found("the npm packages", Some(home()).filter(|home| home.join("node_modules").is_dir()))?;
    Some((program("node")?, packages))
}

/// A file of an npm package, such as `axe-core/axe.min.js`, or `None` when this test is to be skipped.
pub fn npm_file(path: &str) -> Option<PathBuf> {
    found(path, Some(home().join("node_modules").join(path)).filter(|file| file.is_file()))
}

/// The address of a server of a real language model, or `None` when this test is to be skipped. It is never required: it takes minutes.
pub fn real_model() -> Option<String> {
    let address = env::var("VERSO_REAL_MODEL").ok().map(|address| address.trim_end_matches('/').to_owned());
    if address.is_none() {
        eprintln!("skipped: VERSO_REAL_MODEL names no server of a language model");
    }
    address
}

/// The folder of `peers/`, where scripts that drive a peer are.
pub fn scripts() -> PathBuf {
    crate::package().join("peers")
}

fn found(what: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    if path.is_none() {
        let required = env::var_os("VERSO_PEERS").is_some_and(|word| word == "required");
        assert!(!required, "{what} is missing: run tests/peers/install.sh");
        eprintln!("skipped: {what} is not here (tests/peers/install.sh installs it)");
    }
    path
}

fn home() -> PathBuf {
    let folder = |name| env::var_os(name).map(PathBuf::from);
    folder("VERSO_PEERS_HOME").unwrap_or_else(|| {
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_default().join("verso/peers")
    })
}
