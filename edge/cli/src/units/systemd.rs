//! systemd's units. Quoting follows systemd.syntax(7): words in double quotes, `%` doubled, and `$` doubled where commands are.

use std::collections::BTreeMap;

use super::{Definition, Parsed, Scope};

/// Writes the unit. What it is made of was checked for control characters.
pub(super) fn render(definition: &Definition, scope: Scope) -> String {
    let command = std::iter::once(definition.executable.display().to_string()).chain(definition.arguments.iter().cloned());
    let command: Vec<String> = command.map(|word| quoted(&word.replace('$', "$$"))).collect();
    let (wanted_by, user) = match (scope, &definition.user) {
        (Scope::User, _) => ("default.target", None),
        (Scope::System, user) => ("multi-user.target", user.as_ref().map(|user| format!("User={}", specifiers(user)))),
    };
    let mut lines = vec![
        "[Unit]".to_owned(),
        format!("Description={}", specifiers(&definition.description)),
        "After=network-online.target".to_owned(),
        "Wants=network-online.target".to_owned(),
        "StartLimitIntervalSec=300".to_owned(),
        "StartLimitBurst=10".to_owned(),
        String::new(),
        "[Service]".to_owned(),
        format!("ExecStart={}", command.join(" ")),
        format!("WorkingDirectory={}", specifiers(&definition.working_dir.display().to_string())),
    ];
    lines.extend(user);
    lines.extend(
        [
            "Restart=always",
            "RestartSec=5",
            "RestartPreventExitStatus=78",
            "SuccessExitStatus=0 143",
            "KillMode=mixed",
            // The supervisor holds each service to its limits in a group of its own.
            "Delegate=memory cpu pids",
            "TimeoutStartSec=30",
            "TimeoutStopSec=330",
            "OOMPolicy=continue",
            "UMask=0077",
        ]
        .map(str::to_owned),
    );
    lines.extend(definition.environment.iter().map(|(name, value)| format!("Environment={}", quoted(&format!("{name}={value}")))));
    lines.push(format!("EnvironmentFile=-{}", specifiers(&definition.env_file.display().to_string())));
    lines.extend([String::new(), "[Install]".to_owned(), format!("WantedBy={wanted_by}"), String::new()]);
    lines.join("\n")
}

/// One word, whatever is in it.
pub(super) fn quoted(word: &str) -> String {
    format!("\"{}\"", specifiers(word).replace('\\', "\\\\").replace('"', "\\\""))
}

/// A percent sign is only one.
pub(super) fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// Reads a unit. Words may be quoted or not.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut section = String::new();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        match (section.as_str(), key.trim()) {
            ("Service", "ExecStart") => parsed.arguments = words(value).into_iter().map(|word| word.replace("$$", "$")).collect(),
            ("Service", "Environment") => parsed.environment.extend(variables(value)),
            ("Service", "WorkingDirectory") => parsed.working_dir = Some(value.trim().replace("%%", "%")),
            (section, key) => {
                parsed.settings.insert(format!("{section}.{key}"), value.trim().to_owned());
            }
        }
    }
    parsed
}

fn variables(value: &str) -> BTreeMap<String, String> {
    let pairs = words(value);
    pairs.iter().filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.extend(letters.next()),
            '"' | '\'' if quote.is_none() => (quote, begun) = (Some(letter), true),
            letter if quote == Some(letter) => quote = None,
            letter if letter.is_whitespace() && quote.is_none() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            letter => word.push(letter),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words.into_iter().map(|word| word.replace("%%", "%")).collect()
}
