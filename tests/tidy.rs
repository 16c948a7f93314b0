//! Rules of the house that no lint knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Lines of a source file without generated code.
const LINES_MAX: usize = 500;

static ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| verso_tests::package().parent().expect("the tests are a folder of the workspace").to_owned());

fn root() -> &'static Path {
    &ROOT
}

/// Every file below the workspace that is ours.
fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            match path.is_dir() {
                true if name == "target" || name.starts_with(".git") => {}
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), &mut found);
    found
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    rust.map(|path| (path.strip_prefix(root()).expect("below the root").to_owned(), fs::read_to_string(&path).expect("UTF-8")))
}

#[test]
fn files_are_short() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines; split what is more than one thing", path.display());
    }
}

#[test]
fn modules_are_files_of_their_name() {
    for (path, _) in sources() {
        assert!(path.file_name().is_some_and(|name| name != "mod.rs"), "{}", path.display());
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let vague = ["utils", "util", "helpers", "common", "misc", "manager"];
        assert!(!vague.contains(&stem.as_str()), "{} does not say what it holds", path.display());
    }
}

#[test]
fn every_room_says_what_it_is() {
    for room in [
        "proto",
        "services/kit",
        "services/config",
        "services/presence",
        "services/node",
        "services/adapter",
        "services/channel",
        "services/tools",
        "services/agent",
        "services/canvas",
        "services/supervisor",
        "edge/protocol",
        "edge/gateway",
        "edge/client",
        "edge/nodehost",
        "edge/cli",
        "tests",
        "deploy",
    ] {
        assert!(root().join(room).join("README.md").exists(), "{room} has no README.md");
    }
}

/// The crates of ours that each crate's normal dependencies may name.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let service = vec!["proto", "kit"];
    BTreeMap::from([
        ("proto", vec![]),
        ("services/kit", vec!["proto"]),
        ("services/config", vec!["kit"]),
        ("services/presence", service.clone()),
        ("services/node", service.clone()),
        ("services/adapter", service.clone()),
        ("services/channel", vec!["proto", "kit", "adapter"]),
        ("services/whatsapp", vec!["proto", "kit", "adapter"]),
        ("services/tools", vec!["kit"]),
        ("services/agent", vec!["proto", "kit", "config", "tools"]),
        ("services/canvas", service.clone()),
        ("services/supervisor", vec!["proto", "kit", "config"]),
        ("edge/protocol", vec!["proto"]),
        ("edge/client", vec!["proto", "kit", "protocol"]),
        ("edge/gateway", vec!["proto", "kit", "config", "protocol"]),
        ("edge/nodehost", vec!["proto", "kit", "client"]),
    ])
}

fn dependencies(room: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).expect("a manifest");
    let section = manifest.split("\n[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn dependencies_point_one_way() {
    for (room, allowed) in allowed() {
        for dependency in dependencies(room) {
            if let Some(ours) = dependency.strip_prefix("verso-") {
                assert!(allowed.contains(&ours), "{room} may not depend on verso-{ours}");
            }
            let only = match dependency.as_str() {
                "axum" => vec!["edge/gateway", "services/canvas"],
                "clap" | "anyhow" => vec![],
                _ => continue,
            };
            assert!(only.contains(&room), "{room} may not depend on {dependency}");
        }
    }
}

#[test]
fn only_adapters_of_services_speak_grpc() {
    let services = ["presence", "node", "channel", "agent", "canvas"].map(|name| format!("services/{name}/src"));
    for (path, text) in sources().filter(|(path, _)| services.iter().any(|service| path.starts_with(service))) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let adapter =
            name == "grpc.rs" || name == "error.rs" || name == "tests.rs" || path.components().any(|part| part.as_os_str() == "grpc");
        // lib.rs puts the routes together; tests have fakes of other services.
        if !adapter && name != "lib.rs" {
            assert!(!text.contains("tonic::"), "{} names tonic outside its adapter", path.display());
        }
    }
}

#[test]
fn the_edge_matches_on_no_method_name() {
    let names: Vec<_> = verso_proto::methods::METHODS.iter().filter(|method| method.name.contains('.')).map(|method| method.name).collect();
    for (path, text) in sources().filter(|(path, _)| path.starts_with("edge/gateway/src")) {
        for name in &names {
            assert!(!text.contains(&format!("\"{name}\" =>")), "{} matches on {name}", path.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do_later() {
    let later = ["todo!(", "unimplemented!(", "TODO", "FIXME", "#[ignore"];
    for (path, text) in sources().filter(|(path, _)| !path.ends_with("tidy.rs")) {
        for word in later {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn dependencies_come_from_the_registry() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    assert!(!lock.contains("git+"), "a dependency comes from a repository");
    for unwanted in ["aws-lc-rs", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{unwanted}\"")), "{unwanted} needs more than a C compiler");
    }
}
