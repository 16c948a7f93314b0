//! The front matter of a `SKILL.md`: lines of `key: value` between two lines of dashes.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

/// A longer file is not instructions, in bytes.
const FILE_BYTES_MAX: u64 = 512 << 10;

/// Why a file is not a skill.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("could not read the file")]
    Read(#[from] std::io::Error),
    /// There is nothing between two lines of dashes at its beginning.
    #[error("there is no front matter")]
    NoFrontMatter,
    /// A key that every skill has is missing.
    #[error("the front matter has no {0}")]
    Missing(&'static str),
    /// The metadata cannot be read.
    #[error("the metadata is not JSON: {0}")]
    Metadata(String),
}

/// What a skill's file says about it.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What the configuration calls it.
    pub key: String,
    /// A page about it.
    pub homepage: Option<String>,
    /// A picture for it.
    pub emoji: Option<String>,
    /// Whether it can be used even if something is missing.
    pub always: bool,
    /// Whether people may invoke it by a command.
    pub user_invocable: bool,
    /// Whether the model is told of it.
    pub model_invocation: bool,
    /// The variable that holds its key.
    pub primary_env: Option<String>,
    /// What it asks for.
    pub needs: Needs,
    /// How that can be installed.
    pub install: Vec<InstallOption>,
}

/// What a skill asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Needs {
    /// Programs, all of them.
    pub bins: Vec<String>,
    /// Programs of which one is enough.
    pub any_bins: Vec<String>,
    /// Variables.
    pub env: Vec<String>,
    /// Configuration keys.
    pub config: Vec<String>,
    /// Operating systems of which this is to be one: `darwin`, `linux`, `win32`.
    #[serde(skip)]
    pub os: Vec<String>,
}

impl Needs {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A way to install what a skill asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InstallOption {
    /// What a request calls it. Default: its kind and place.
    pub id: String,
    /// `brew`, `node`, `go`, `uv` or `download`.
    pub kind: String,
    /// What people read.
    pub label: String,
    /// The programs that it brings.
    pub bins: Vec<String>,
    /// For `brew`.
    pub formula: Option<String>,
    /// For `node` and `uv`.
    pub package: Option<String>,
    /// For `go`.
    pub module: Option<String>,
    /// Operating systems that it works on. Default: all.
    pub os: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(alias = "verso", alias = "clawdbot")]
    openclaw: Facts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Facts {
    always: bool,
    emoji: Option<String>,
    homepage: Option<String>,
    os: Vec<String>,
    requires: Needs,
    primary_env: Option<String>,
    skill_key: Option<String>,
    install: Vec<InstallOption>,
}

impl Manifest {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Self::parse(&text)
    }

    /// Reads the text of a `SKILL.md`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fields = front_matter(text).ok_or(Error::NoFrontMatter)?;
        let get =
            |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| unquoted(value)).filter(|value| !value.is_empty());
        let flag = |name: &str, default| get(name).map_or(default, |value| value.eq_ignore_ascii_case("true"));
        let name = get("name").ok_or(Error::Missing("name"))?;
        let metadata = fields.iter().find(|(key, _)| key == "metadata").map(|(_, value)| value.trim()).filter(|value| !value.is_empty());
        let Metadata { openclaw: facts } = match metadata {
            Some(json) => json5::from_str(json).map_err(|error| Error::Metadata(error.to_string()))?,
            None => Metadata::default(),
        };
        Ok(Self {
            description: get("description").ok_or(Error::Missing("description"))?,
            key: facts.skill_key.unwrap_or_else(|| name.clone()),
            name,
            homepage: get("homepage").or(facts.homepage),
            emoji: facts.emoji,
            always: facts.always,
            user_invocable: flag("user-invocable", true),
            model_invocation: !flag("disable-model-invocation", false),
            primary_env: facts.primary_env,
            needs: Needs { os: facts.os, ..facts.requires },
            install: facts.install.into_iter().enumerate().map(named).collect(),
        })
    }
}

impl InstallOption {
    /// Returns what is installed.
    pub fn subject(&self) -> Option<&str> {
        self.formula.as_deref().or(self.package.as_deref()).or(self.module.as_deref())
    }
}

fn named((place, option): (usize, InstallOption)) -> InstallOption {
    let id = if option.id.is_empty() { format!("{}-{place}", option.kind) } else { option.id.clone() };
    let label = match option.subject() {
        _ if !option.label.is_empty() => option.label.clone(),
        Some(subject) => format!("Install {subject} ({})", option.kind),
        None => format!("Install ({})", option.kind),
    };
    InstallOption { id, label, ..option }
}

/// Returns the fields in order. An indented line belongs to the field above it.
fn front_matter(text: &str) -> Option<Vec<(String, String)>> {
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.trim_end() == "---" {
            return Some(fields);
        }
        let indented = line.starts_with([' ', '\t']);
        match (line.split_once(':'), fields.last_mut()) {
            (_, Some((_, value))) if indented => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (Some((key, value)), _) if !key.trim().is_empty() => fields.push((key.trim().to_owned(), value.trim().to_owned())),
            _ => {}
        }
    }
    None
}

/// Takes the quotes, or the mark of a folded text, off a value.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let value = ["|-", ">-", "|", ">"]
        .iter()
        .find_map(|mark| value.strip_prefix(mark).filter(|rest| rest.starts_with(' ')))
        .unwrap_or(value)
        .trim();
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value).to_owned()
}
