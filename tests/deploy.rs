//! The files of `deploy/`: they can be read, what they run exists, and nobody is given more than is his.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use verso_tests::gateway::binary;
use verso_tests::peers;

/// The services, as the files name them.
const SERVICES: [&str; 6] = ["edge", "presence", "node", "channel", "agent", "canvas"];

fn deploy(name: &str) -> PathBuf {
    verso_tests::package().join("../deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn read(name: &str, text: &str) -> Vec<Value> {
    let parse =
        |part: &str| serde_yaml_ng::from_str::<serde_yaml_ng::Value>(part).and_then(|mut value| value.apply_merge().map(|()| value));
    let parts = text.split("\n---\n").map(|part| parse(part).unwrap_or_else(|error| panic!("{name}: {error}")));
    parts.map(|value| serde_json::to_value(value).unwrap_or_else(|error| panic!("{name}: {error}"))).collect()
}

fn documents(name: &str) -> Vec<Value> {
    read(name, &text(name))
}

/// The program understands the command and all its flags: it gets as far as its help.
fn understands(arguments: &[&str]) {
    let output = Command::new(binary()).args(arguments).arg("--help").output().expect("the verso binary starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn succeeds(what: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(output.status.success(), "{what}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn containers_run_commands_that_there_are_without_rights_and_publish_to_this_machine_only() {
    for name in ["compose.yaml", "compose.single.yaml"] {
        let document = &documents(name)[0];
        for (service, section) in document["services"].as_object().expect("services") {
            let ours = section["image"].as_str().is_some_and(|image| image.contains("VERSO_IMAGE"));
            if ours {
                understands(&words(&section["command"]));
                let check = words(&section["healthcheck"]["test"]);
                if let [_, _, rest @ ..] = &check[..] {
                    understands(rest);
                }
                assert_eq!((&section["read_only"], &section["user"]), (&Value::Bool(true), &Value::from("1000:1000")), "{service}");
            }
            for port in words(&section["ports"]) {
                assert!(port.starts_with("127.0.0.1:"), "{name}: {service} publishes {port}");
            }
            assert_eq!(words(&section["cap_drop"]), ["ALL"], "{name}: {service}");
            assert_eq!(words(&section["security_opt"]), ["no-new-privileges:true"], "{name}: {service}");
            assert!(section["deploy"]["resources"]["limits"]["memory"].is_string(), "{name}: {service} has no limit");
        }
    }
}

#[test]
fn each_container_has_what_its_service_owns_and_nothing_else() {
    let document = &documents("compose.yaml")[0];
    for name in SERVICES {
        let section = &document["services"][name];
        let config = if name == "edge" { "config:/config" } else { "config:/config:ro" };
        let expected = [format!("{name}:/data"), config.to_owned(), format!("tls-{name}:/tls:ro")];
        assert_eq!(words(&section["volumes"]), expected, "only the edge writes the configuration");
        assert!(section["healthcheck"]["test"].is_array(), "{name}");
        let environment = section["environment"].as_object().expect("variables");
        assert_eq!(environment.contains_key("VERSO_GATEWAY_TOKEN"), name == "edge", "{name}: the gateway's secret is the edge's");
        let secrets: Vec<_> = section["env_file"].as_array().into_iter().flatten().filter_map(|file| file["path"].as_str()).collect();
        let own = format!("{name}.env");
        assert_eq!(secrets, if ["agent", "channel"].contains(&name) { vec![own.as_str()] } else { Vec::new() }, "{name}");
        let outside = words(&section["networks"]).contains(&"outside");
        assert_eq!(outside, ["agent", "channel"].contains(&name), "{name}: who may speak to the world");
        let peers = environment["VERSO_PEERS"].as_str().expect("peers");
        for other in SERVICES {
            assert!(peers.contains(&format!("{other}=tcp://{other}:50051")), "{peers}");
        }
    }
    assert_eq!(document["networks"]["services"]["internal"], true);
    let mounted: BTreeSet<_> = words(&document["services"]["certificates"]["volumes"]).into_iter().collect();
    for name in SERVICES {
        assert!(mounted.contains(format!("tls-{name}:/tls/{name}").as_str()), "{name} gets a certificate");
    }
}

#[test]
fn the_rescue_override_keeps_apart_from_the_first_gateway() {
    let text = text("compose.rescue.yaml").replace("!override", "").replace("!reset", "");
    let document = &read("compose.rescue.yaml", &text)[0];
    let known = &documents("compose.yaml")[0]["services"];
    for (service, section) in document["services"].as_object().expect("services") {
        assert!(known[service].is_object(), "{service}");
        assert!(words(&section["ports"]).iter().all(|port| port.starts_with("127.0.0.1:${VERSO_RESCUE_PORT:-19789}")));
    }
}

#[test]
fn the_image_starts_what_the_program_has() {
    let text = text("Dockerfile");
    let line = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("{word}: {text}"));
    let command: Vec<String> = serde_json::from_str(line("CMD ")).expect("a list");
    understands(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(line("USER "), "1000:1000");
    for service in SERVICES {
        assert!(text.contains(service), "the image has no folder for {service}'s certificate");
    }
}

#[test]
fn an_image_is_made_without_a_registry_and_is_the_same_each_time() {
    let (Some(tar), Some(compiler)) = (peers::program("tar"), peers::program("cc")) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.c"), "int main(void) { return 0; }\n").expect("a source");
    succeeds("cc", Command::new(&compiler).arg("-static").arg("-o").arg(at("static")).arg(at("a.c")));
    succeeds("cc", Command::new(&compiler).arg("-o").arg(at("dynamic")).arg(at("a.c")));
    let make = |binary: &str, out: &str| {
        let mut command = Command::new("bash");
        command
            .arg(deploy("image.sh"))
            .arg("--binary")
            .arg(at(binary))
            .arg("--out")
            .arg(at(out))
            .env("VERSO_IMAGE_CERTIFICATES", at("a.c"));
        command
    };
    for out in ["one.tar", "two.tar"] {
        succeeds("image.sh", &mut make("static", out));
    }
    let bytes = |name: &str| std::fs::read(at(name)).expect("an archive");
    assert!(bytes("one.tar") == bytes("two.tar"), "two archives of one binary differ");
    assert!(!make("dynamic", "three.tar").output().expect("bash").status.success(), "the image has no loader");
    // Everything that the archive names is in it, under the digest of what it is.
    let unpacked = at("image");
    std::fs::create_dir(&unpacked).expect("a folder");
    succeeds("tar", Command::new(tar).arg("-xf").arg(at("one.tar")).arg("-C").arg(&unpacked));
    let document = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).expect("a file")).expect("JSON");
    let index = document(&unpacked.join("index.json"));
    let blob = |digest: &Value| unpacked.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"));
    let manifest = document(&blob(&index["manifests"][0]["digest"]));
    let config = document(&blob(&manifest["config"]["digest"]));
    assert_eq!((&config["config"]["User"], &config["os"]), (&Value::from("1000:1000"), &Value::from("linux")));
    for layer in manifest["layers"].as_array().expect("layers") {
        assert_eq!(blob(&layer["digest"]).metadata().expect("a blob").len(), layer["size"].as_u64().expect("a size"));
    }
    for entry in std::fs::read_dir(unpacked.join("blobs/sha256")).expect("blobs").flatten() {
        let sum = succeeds("sha256sum", Command::new("sha256sum").arg(entry.path()));
        assert!(sum.starts_with(&*entry.file_name().to_string_lossy()), "{sum}");
    }
}

#[test]
fn the_bill_of_materials_names_what_the_binary_is_made_of() {
    let (Some(python), Some(validator)) = (peers::program("python3"), peers::python()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let bill = succeeds("sbom.py", Command::new(python).arg(deploy("sbom.py")));
    let document: Value = serde_json::from_str(&bill).expect("JSON");
    let names: BTreeSet<_> = document["components"].as_array().expect("components").iter().filter_map(|one| one["name"].as_str()).collect();
    for expected in ["verso-agent", "tokio", "rusqlite", "rustls"] {
        assert!(names.contains(expected), "{expected}");
    }
    assert!(!names.contains("verso-tests") && !names.contains("fantoccini"), "what only tests use is not shipped");
    let path = folder.path().join("bill.json");
    std::fs::write(&path, bill).expect("a file");
    succeeds("the validator", Command::new(validator).arg(peers::scripts().join("sbom.py")).arg(path));
}

#[test]
fn pods_are_without_rights_and_each_has_its_own_secrets() {
    for name in SERVICES {
        let all = documents(&format!("kubernetes/base/{name}.yaml"));
        let set = all.iter().find(|document| document["kind"] != "Service").expect("a workload");
        assert_eq!(set["spec"]["replicas"], 1, "{name} is one writer of its state");
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!((&pod["securityContext"]["runAsNonRoot"], &pod["automountServiceAccountToken"]), (&true.into(), &false.into()));
        let container = &pod["containers"][0];
        understands(&words(&container["args"]));
        let context = &container["securityContext"];
        assert_eq!((&context["readOnlyRootFilesystem"], &context["allowPrivilegeEscalation"]), (&true.into(), &false.into()), "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string() && container["livenessProbe"].is_object(), "{name}");
        if let [_, rest @ ..] = &words(&container["readinessProbe"]["exec"]["command"])[..] {
            understands(rest);
        }
        let secrets: Vec<_> =
            container["envFrom"].as_array().into_iter().flatten().filter_map(|from| from["secretRef"]["name"].as_str()).collect();
        let expected = match name {
            "edge" => vec!["verso-gateway"],
            "agent" => vec!["verso-agent"],
            "channel" => vec!["verso-channel"],
            _ => Vec::new(),
        };
        assert_eq!(secrets, expected, "{name}");
        let volumes = pod["volumes"].as_array().expect("volumes");
        assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == format!("verso-tls-{name}")), "{name}");
    }
    let shared = documents("kubernetes/base/config.yaml");
    let run_dir = shared[0]["data"]["VERSO_RUN_DIR"].as_str().expect("a folder for sockets");
    assert!(run_dir.starts_with("/run/verso/"), "a volume of the cluster's is not the service's to close to others: {run_dir}");
    let single = documents("kubernetes/single.yaml").into_iter().find(|document| document["kind"] == "StatefulSet").expect("a set");
    understands(&words(&single["spec"]["template"]["spec"]["containers"][0]["args"]));
}

#[test]
fn kubernetes_accepts_what_kustomize_makes() {
    let (Some(kubectl), Some(python)) = (peers::perhaps("kubectl"), peers::python()) else { return };
    let build = |folder: &str| succeeds("kubectl kustomize", Command::new(&kubectl).arg("kustomize").arg(deploy(folder)));
    let base = build("kubernetes/base");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("base.yaml");
    std::fs::write(&path, &base).expect("a file");
    let validate = python.with_file_name("kubernetes-validate");
    succeeds("kubernetes-validate", Command::new(validate).arg("--strict").arg(path));
    // What cert-manager defines is checked by no schema here: its certificates name the services.
    let certified = read("cert-manager", &build("kubernetes/cert-manager"));
    for name in SERVICES {
        let certificate =
            certified.iter().find(|one| one["kind"] == "Certificate" && one["metadata"]["name"] == format!("verso-tls-{name}"));
        assert_eq!(words(&certificate.expect("a certificate")["spec"]["dnsNames"]), [format!("{name}.verso.internal")]);
    }
}

/// Every metric that the reference knows, as Prometheus names its samples.
fn samples() -> BTreeSet<String> {
    let reference = text("METRICS.md");
    let rows = reference.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
    });
    let samples = rows.flat_map(|(name, kind)| {
        let endings = if kind == "histogram" { vec!["_bucket", "_sum", "_count"] } else { vec![""] };
        endings.into_iter().map(move |ending| format!("{name}{ending}"))
    });
    let samples: BTreeSet<String> = samples.collect();
    assert!(samples.len() > 50, "the reference cannot be read: {samples:?}");
    samples
}

fn used(expression: &str) -> impl Iterator<Item = &str> {
    let name = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    let ours = |word: &&str| ["verso_", "openclaw_", "process_"].iter().any(|prefix| word.starts_with(prefix));
    expression.split(name).filter(ours)
}

fn dashboards() -> Vec<(PathBuf, Value)> {
    let files = std::fs::read_dir(deploy("dashboards")).expect("dashboards").flatten().map(|entry| entry.path());
    files.map(|path| (path.clone(), serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON"))).collect()
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_there_are() {
    let samples = samples();
    let mut asked = BTreeSet::new();
    for (path, board) in dashboards() {
        let mut ids = BTreeSet::new();
        assert!(board["uid"].is_string() && board["title"].is_string() && board["schemaVersion"].is_u64(), "{}", path.display());
        for panel in board["panels"].as_array().expect("panels") {
            assert!(ids.insert(panel["id"].as_u64()), "{}: two panels of one number", path.display());
            let place = &panel["gridPos"];
            assert!(place["x"].as_u64().zip(place["w"].as_u64()).is_some_and(|(x, width)| x + width <= 24), "{}", path.display());
            for target in panel["targets"].as_array().expect("targets") {
                assert_eq!(target["datasource"]["uid"], "prometheus");
                let expression = target["expr"].as_str().expect("an expression");
                asked.extend(used(expression).map(|name| (path.display().to_string(), name.to_owned())));
            }
        }
    }
    for group in documents("prometheus/alerts.yaml")[0]["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            asked.extend(used(rule["expr"].as_str().expect("an expression")).map(|name| ("alerts".to_owned(), name.to_owned())));
            let alert = rule["alert"].as_str().expect("a name");
            assert!(text("RUNBOOK.md").contains(&format!("### {alert}")), "the runbook says nothing of {alert}");
        }
    }
    for (place, name) in asked {
        assert!(samples.contains(&name), "{place}: nobody counts {name}");
    }
}

#[test]
fn promtool_accepts_the_rules_their_tests_and_every_question_of_the_dashboards() {
    let Some(promtool) = peers::program("promtool") else { return };
    let folder = deploy("prometheus");
    succeeds("rules", Command::new(&promtool).args(["check", "rules", "alerts.yaml"]).current_dir(&folder));
    succeeds("tests of rules", Command::new(&promtool).args(["test", "rules", "alerts.test.yaml"]).current_dir(&folder));
    // As rules, so that they are parsed.
    let mut rules = Vec::new();
    for (_, board) in dashboards() {
        for target in board["panels"].as_array().expect("panels").iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
            rules.push(serde_json::json!({"record": format!("dashboard:question:{}", rules.len()), "expr": target["expr"]}));
        }
    }
    let questions = serde_json::json!({"groups": [{"name": "dashboards", "rules": rules}]});
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("questions.yaml");
    std::fs::write(&path, questions.to_string()).expect("a file");
    succeeds("questions", Command::new(&promtool).args(["check", "rules"]).arg(path));
    let token = scratch.path().join("token");
    std::fs::write(&token, "x").expect("a file");
    let config = text("prometheus/prometheus.yaml").replace("/run/secrets/gateway-token", &token.display().to_string());
    std::fs::copy(folder.join("alerts.yaml"), scratch.path().join("alerts.yaml")).expect("a copy");
    let path = scratch.path().join("prometheus.yaml");
    std::fs::write(&path, config).expect("a file");
    succeeds("configuration", Command::new(&promtool).args(["check", "config"]).arg(path));
}

#[test]
fn what_the_observability_profile_mounts_is_there_and_can_be_read() {
    for name in ["observability/collector.yaml", "observability/grafana/datasources.yaml", "observability/grafana/dashboards.yaml"] {
        assert!(documents(name)[0].is_object(), "{name}");
    }
    let document = &documents("compose.yaml")[0];
    for (service, section) in document["services"].as_object().expect("services") {
        for volume in words(&section["volumes"]).into_iter().filter_map(|volume| volume.strip_prefix("./")) {
            let path = volume.split(':').next().expect("a path");
            assert!(deploy(path).exists(), "{service} mounts {path}");
        }
    }
    let collector = &documents("observability/collector.yaml")[0];
    for (name, pipeline) in collector["service"]["pipelines"].as_object().expect("pipelines") {
        for (kind, used) in ["receivers", "processors", "exporters"]
            .iter()
            .flat_map(|kind| words(&pipeline[kind]).into_iter().map(move |used| (kind, used)))
        {
            assert!(collector[kind][used].is_object(), "{name} uses {used}");
        }
    }
}

#[test]
fn systemd_accepts_the_unit_that_is_to_be_copied() {
    let text = text("systemd/verso.service");
    let command = text.lines().find_map(|line| line.strip_prefix("ExecStart=%h/.cargo/bin/verso ")).expect("a command");
    understands(&command.split_whitespace().collect::<Vec<_>>());
    let Some(analyze) = peers::program("systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("verso.service");
    std::fs::write(&path, text.replace("%h/.cargo/bin/verso", &binary().display().to_string())).expect("a unit");
    succeeds("systemd-analyze", Command::new(analyze).args(["verify", "--man=no"]).arg(&path));
}
