use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::*;

fn definition() -> Definition {
    Definition {
        label: "verso-gateway-rescue.service".to_owned(),
        description: "Verso Gateway (profile: rescue, v1)".to_owned(),
        executable: PathBuf::from("/opt/my apps/ver$o%/\"q\"\\verso"),
        arguments: vec!["gateway".to_owned(), "--port".to_owned(), "19789".to_owned()],
        working_dir: PathBuf::from("/home/me/.verso 100%"),
        environment: BTreeMap::from([
            ("HOME".to_owned(), "/home/me & <you>".to_owned()),
            ("VERSO_SERVICE_MARKER".to_owned(), "verso".to_owned()),
            ("X".to_owned(), "a \"b\" \\ 50% $HOME".to_owned()),
        ]),
        env_file: PathBuf::from("/home/me/.verso 100%/service.env"),
        log_dir: PathBuf::from("/home/me/.verso 100%/logs"),
        user: Some("me".to_owned()),
    }
}

#[test]
fn a_definition_reads_back_as_it_was_meant() {
    let definition = definition();
    for platform in [Platform::Systemd, Platform::Launchd] {
        let parsed = platform.parse(&platform.render(&definition, Scope::User).unwrap());
        let mut command = vec![definition.executable.display().to_string()];
        command.extend(definition.arguments.clone());
        assert_eq!(parsed.arguments, command, "{platform:?}");
        assert_eq!(parsed.environment, definition.environment, "{platform:?}");
        assert_eq!(parsed.working_dir, Some(definition.working_dir.display().to_string()), "{platform:?}");
    }
}

#[test]
fn sec_58_no_text_becomes_another_line_of_a_definition() {
    let hostile = "x\nExecStartPre=/bin/evil";
    let cases: [fn(&mut Definition, &str); 7] = [
        |definition, text| definition.label = text.to_owned(),
        |definition, text| definition.description = text.to_owned(),
        |definition, text| definition.executable = PathBuf::from(text),
        |definition, text| definition.arguments.push(text.to_owned()),
        |definition, text| definition.working_dir = PathBuf::from(text),
        |definition, text| drop(definition.environment.insert("A".to_owned(), text.to_owned())),
        |definition, text| drop(definition.environment.insert(text.to_owned(), "a".to_owned())),
    ];
    for spoil in cases {
        for text in [hostile, "x\ry", "x\0y", "x\u{1b}y"] {
            let mut definition = definition();
            spoil(&mut definition, text);
            for platform in [Platform::Systemd, Platform::Launchd] {
                assert!(platform.render(&definition, Scope::User).is_err(), "{text:?}");
            }
        }
    }
    // Quotes, dollars and percent signs are only text.
    let mut definition = definition();
    definition.arguments.push("\" ; ExecStop=/bin/evil \"".to_owned());
    let text = Platform::Systemd.render(&definition, Scope::User).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("Exec")).count(), 1);
    definition.description = "</string><key>Program</key><string>/bin/evil".to_owned();
    let text = Platform::Launchd.render(&definition, Scope::User).unwrap();
    assert!(!text.contains("<key>Program</key>") && text.contains("&lt;key&gt;"), "{text}");
}

#[test]
fn a_unit_is_the_machines_or_the_persons() {
    let user = Platform::Systemd.render(&definition(), Scope::User).unwrap();
    assert!(user.contains("WantedBy=default.target") && !user.contains("User="), "{user}");
    let system = Platform::Systemd.render(&definition(), Scope::System).unwrap();
    assert!(system.contains("WantedBy=multi-user.target") && system.contains("\nUser=me\n"), "{system}");
    for line in ["RestartPreventExitStatus=78", "KillMode=mixed", "UMask=0077", "EnvironmentFile=-/home/me/.verso 100%%/service.env"] {
        assert!(user.lines().any(|one| one == line), "{line}");
    }
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    // It looks whether the program and the folder exist.
    let mut definition = definition();
    definition.executable = std::env::current_exe().unwrap();
    definition.user = None;
    let path = folder.path().join("verso-gateway-rescue.service");
    std::fs::write(&path, Platform::Systemd.render(&definition, Scope::System).unwrap()).unwrap();
    let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output() else {
        // There is no systemd here to ask; what is written is compared above.
        return;
    };
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !words.contains("verso-gateway"), "{words}");
}

#[test]
fn the_audit_names_what_was_changed() {
    let executable = definition().executable;
    let codes = |text: &str| {
        let issues = audit(Platform::Systemd, &Platform::Systemd.parse(text), &executable);
        issues.into_iter().map(|issue| issue.code).collect::<Vec<_>>()
    };
    let mut definition = definition();
    definition.environment.insert("PATH".to_owned(), "/usr/bin".to_owned());
    let text = Platform::Systemd.render(&definition, Scope::User).unwrap();
    assert!(codes(&text).is_empty(), "{:?}", codes(&text));
    for (from, to, code) in [
        ("\"gateway\"", "\"gate\"", "gateway-command-missing"),
        ("ver$$o", "verso", "gateway-entrypoint-mismatch"),
        ("PATH=", "PATHS=", "gateway-path-missing"),
        ("RestartSec=5", "RestartSec=1", "systemd-restart-sec"),
        ("KillMode=mixed", "KillMode=process", "systemd-exit-policy"),
        ("After=network-online.target", "After=", "systemd-after-network-online"),
        ("Environment=\"X=", "Environment=\"VERSO_GATEWAY_TOKEN=", "service-secret-in-unit"),
        ("VERSO_SERVICE_MARKER=verso", "VERSO_SERVICE_VERSION=0", "service-version-drift"),
    ] {
        assert_eq!(codes(&text.replace(from, to)), [code]);
    }
}

fn split() -> Split {
    let mut definition = definition();
    definition.executable = std::env::current_exe().unwrap();
    definition.user = None;
    Split {
        definition,
        scope: Scope::System,
        ending: "-rescue".to_owned(),
        run_dir: PathBuf::from("/run/user/1000/verso"),
        public: vec!["127.0.0.1:19789".to_owned(), "[::1]:19789".to_owned()],
        canvas: Some("127.0.0.1:19793".to_owned()),
        folder: PathBuf::from("/etc/systemd/system"),
    }
}

#[test]
fn each_service_has_a_unit_and_sockets_that_outlive_it() {
    let units = split().render().unwrap();
    let text = |name: &str| {
        let unit = units.iter().find(|unit| unit.path.ends_with(name)).unwrap_or_else(|| panic!("{name}: {units:?}"));
        unit.text.clone()
    };
    assert_eq!(units.len(), 1 + 6 + 6 + 2, "a target, six services with their sockets, and two ports");
    let edge = text("verso-edge-rescue.service");
    assert!(edge.contains("Sockets=verso-edge-rescue.socket verso-edge-port-rescue.socket\n"), "{edge}");
    assert!(
        edge.contains("PartOf=verso-gateway-rescue.target\n") && !edge.contains("verso-agent"),
        "a dead agent takes nobody with it: {edge}"
    );
    assert!(
        text("verso-edge-port-rescue.socket")
            .contains("ListenStream=127.0.0.1:19789\nListenStream=[::1]:19789\nFileDescriptorName=public\n")
    );
    let control = text("verso-agent-rescue.socket");
    assert!(control.contains("ListenStream=/run/user/1000/verso/agent.sock\nSocketMode=0600\n"), "{control}");
    for name in ["presence", "node", "canvas"] {
        assert!(!text(&format!("verso-{name}-rescue.service")).contains("EnvironmentFile"), "{name} needs no secret");
    }
    let parsed = Platform::Systemd.parse(&edge);
    assert_eq!(parsed.arguments[1..], ["service".to_owned(), "edge".to_owned()]);
    assert_eq!(parsed.environment["VERSO_SERVICE_KIND"], "edge");
}

#[test]
fn systemd_accepts_every_unit_of_the_split() {
    let folder = tempfile::tempdir().unwrap();
    let split = Split { folder: folder.path().to_owned(), ..split() };
    let units = split.render().unwrap();
    for unit in &units {
        std::fs::write(&unit.path, &unit.text).unwrap();
    }
    let paths: Vec<_> = units.iter().map(|unit| unit.path.clone()).collect();
    let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output() else {
        // There is no systemd here to ask; what is written is compared above.
        return;
    };
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !words.contains("verso-"), "{words}");
}

#[test]
fn sec_58_a_script_of_windows_lets_no_text_out_of_its_quotes() {
    let mut definition = definition();
    definition.executable = PathBuf::from("C:\\Program Files\\verso & more\\verso.exe");
    definition.working_dir = PathBuf::from("C:\\Users\\me\\100% mine");
    definition.environment.insert("X".to_owned(), "a & b | c %PATH%".to_owned());
    definition.description = "Verso & del /q *".to_owned();
    let text = Platform::Windows.render(&definition, Scope::User).unwrap();
    assert!(text.lines().count() == text.matches("\r\n").count() && text.starts_with("@echo off\r\n"), "{text}");
    assert!(text.contains("set \"X=a & b | c %%PATH%%\"\r\n"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("rem") && line.contains('&')), "{text}");
    let parsed = Platform::Windows.parse(&text);
    assert_eq!(parsed.environment["X"], "a & b | c %PATH%");
    assert_eq!(
        parsed.arguments,
        [definition.executable.display().to_string(), "gateway".to_owned(), "--port".to_owned(), "19789".to_owned()]
    );
    definition.arguments.push("x\" & calc".to_owned());
    assert!(Platform::Windows.render(&definition, Scope::User).is_err(), "a quote cannot be quoted there");
}
