//! The script that a scheduled task of Windows runs, and how the task is made. It is text only: this program does not run there.

use super::{Definition, Injection, Parsed};

/// Writes the script: lines end as Windows wants them.
pub(super) fn render(definition: &Definition) -> Result<String, Injection> {
    let command = std::iter::once(definition.executable.display().to_string()).chain(definition.arguments.iter().cloned());
    let command: Vec<String> = command.map(|word| quoted("the command", &word)).collect::<Result<_, _>>()?;
    let task = definition.label.replace('"', "'");
    let mut lines = vec![
        "@echo off".to_owned(),
        format!("rem {}", remark(&definition.description)),
        format!("rem schtasks /Create /F /SC ONLOGON /RL LIMITED /TN \"{task}\" /TR \"%~f0\""),
        format!("rem schtasks /Run /TN \"{task}\""),
        format!("cd /d {}", quoted("the state folder", &definition.working_dir.display().to_string())?),
    ];
    for (name, value) in &definition.environment {
        lines.push(format!("set {}", quoted(&format!("the variable {name}"), &format!("{name}={value}"))?));
    }
    lines.push(command.join(" "));
    Ok(lines.join("\r\n") + "\r\n")
}

/// Between quotes everything is text but quotes, which no command processor lets through, and percent signs.
fn quoted(what: &str, word: &str) -> Result<String, Injection> {
    if word.contains('"') {
        return Err(Injection { what: what.to_owned() });
    }
    Ok(format!("\"{}\"", word.replace('%', "%%")))
}

/// Whatever could end a remark's line is gone.
fn remark(text: &str) -> String {
    text.replace(['&', '|', '<', '>', '^', '%'], " ")
}

/// Reads a script back.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let value = |rest: &str| rest.trim().trim_matches('"').replace("%%", "%");
        if let Some(rest) = line.strip_prefix("set ") {
            parsed.environment.extend(value(rest).split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
        } else if let Some(rest) = line.strip_prefix("cd /d ") {
            parsed.working_dir = Some(value(rest));
        } else if line.starts_with('"') {
            parsed.arguments = line.split("\" \"").map(&value).collect();
        }
    }
    parsed
}
