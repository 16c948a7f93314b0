//! The files of `deploy/`: they can be read, and what they run exists.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use verso_tests::gateway::binary;
use verso_tests::peers;

fn file(name: &str) -> (PathBuf, String) {
    let path = verso_tests::package().join("../deploy").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    (path, text)
}

fn documents(name: &str) -> Vec<Value> {
    let (_, text) = file(name);
    let read = |part: &str| serde_yaml_ng::from_str::<serde_yaml_ng::Value>(part).and_then(|mut value| value.apply_merge().map(|()| value));
    let parts = text.split("\n---\n").map(|part| read(part).unwrap_or_else(|error| panic!("{name}: {error}")));
    parts.map(|value| serde_json::to_value(value).expect("plain data")).collect()
}

/// The program understands the command and all its flags: it gets as far as its help.
fn understands(arguments: &[&str]) {
    let output = Command::new(binary()).args(arguments).arg("--help").output().expect("the verso binary starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn containers_run_commands_that_there_are_and_publish_to_this_machine_only() {
    for name in ["docker/compose.yaml", "docker/compose.services.yaml"] {
        let document = &documents(name)[0];
        let services = document["services"].as_object().expect("services");
        for (service, section) in services {
            understands(&words(&section["command"]));
            let check = words(&section["healthcheck"]["test"]);
            if let [_, _, rest @ ..] = &check[..] {
                understands(rest);
            }
            for port in words(&section["ports"]) {
                assert!(port.starts_with("127.0.0.1:"), "{name}: {service} publishes {port}");
            }
            assert_eq!((&section["read_only"], words(&section["cap_drop"])), (&Value::Bool(true), vec!["ALL"]), "{name}: {service}");
        }
    }
    let services = &documents("docker/compose.services.yaml")[0]["services"];
    let names: Vec<&str> = services.as_object().expect("services").keys().map(String::as_str).collect();
    assert_eq!(names, ["edge", "presence", "node", "channel", "agent", "canvas"]);
    for name in ["presence", "node", "canvas"] {
        assert_eq!(services[name]["environment"].as_object().map(serde_json::Map::len), Some(1), "{name} is given no secret");
    }
}

#[test]
fn the_image_starts_what_the_program_has() {
    let (_, text) = file("docker/Dockerfile");
    let line = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("{word}: {text}"));
    let command: Vec<String> = serde_json::from_str(line("CMD ")).expect("a list");
    understands(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(line("USER "), "1000:1000");
}

#[test]
fn the_pod_is_one_writer_without_rights() {
    let set = documents("kubernetes/verso.yaml").into_iter().find(|document| document["kind"] == "StatefulSet").expect("a set");
    assert_eq!(set["spec"]["replicas"], 1);
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    understands(&words(&container["args"]));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert!(
        container["env"].as_array().expect("variables").iter().all(|one| one["name"] != "VERSO_GATEWAY_TOKEN" || one["value"].is_null())
    );
}

#[test]
fn systemd_accepts_the_unit_that_is_to_be_copied() {
    let (_, text) = file("systemd/verso.service");
    let command = text.lines().find_map(|line| line.strip_prefix("ExecStart=%h/.cargo/bin/verso ")).expect("a command");
    understands(&command.split_whitespace().collect::<Vec<_>>());
    let Some(analyze) = peers::program("systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("verso.service");
    std::fs::write(&path, text.replace("%h/.cargo/bin/verso", &binary().display().to_string())).expect("a unit");
    let output = Command::new(analyze).args(["verify", "--man=no"]).arg(&path).output().expect("systemd-analyze starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
