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
