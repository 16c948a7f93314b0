//! Definitions of other gateways on this machine.

use std::fs;
use std::path::PathBuf;

/// Names of products whose services would take the same port, and whether the product is an older one.
const MARKERS: [(&str, bool); 4] = [("openclaw", false), ("clawdbot", true), ("moltbot", true), ("com.verso.", true)];

/// What our own definitions carry, of whichever profile.
const OURS: [&str; 2] = ["verso_service_marker=verso", "<key>verso_service_marker</key>"];

/// Lists them, and whether each is of an older product.
pub(crate) fn strangers(folders: &[PathBuf]) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let path = entry.path();
        if !path.extension().is_some_and(|ending| ending == "service" || ending == "plist") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default().to_lowercase();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if OURS.iter().any(|marker| text.contains(marker)) {
            continue;
        }
        if let Some((_, legacy)) = MARKERS.iter().find(|(marker, _)| text.contains(marker) || name.contains(marker)) {
            found.push((path, *legacy));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_named_and_our_profiles_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("openclaw-gateway.service", "ExecStart=/usr/bin/openclaw gateway"),
            ("old.service", "ExecStart=/usr/bin/clawdbot"),
            ("verso-gateway-rescue.service", "Environment=\"VERSO_SERVICE_MARKER=verso\"\nEnvironment=\"X=openclaw\""),
            ("bot.molt.rescue.plist", "<key>VERSO_SERVICE_MARKER</key><string>verso</string> openclaw"),
            ("other.service", "ExecStart=/usr/bin/true"),
            ("openclaw.txt", "openclaw"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = strangers(&[folder.path().to_owned(), PathBuf::from("/nonexistent")]);
        let names: Vec<(String, bool)> =
            found.iter().map(|(path, legacy)| (path.file_name().unwrap().to_string_lossy().into_owned(), *legacy)).collect();
        assert_eq!(names, [("old.service".to_owned(), true), ("openclaw-gateway.service".to_owned(), false)]);
    }
}
