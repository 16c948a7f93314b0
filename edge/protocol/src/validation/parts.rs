//! The list of complaints in a validation message, in the wording of one generation.

use crate::Version;

/// Complaints that a message lists. The rest would only make an attacker's frame echo.
const PARTS_MAX: usize = 32;
/// Characters of a member's name that a message repeats.
const NAME_CHARS_MAX: usize = 64;

/// Complaints in order, each once.
#[derive(Debug)]
pub(crate) struct Parts {
    version: Version,
    complaints: Vec<String>,
    // Protocol 4's validator stops at the first member that an object lacks.
    lacking: Vec<String>,
}

impl Parts {
    pub(crate) fn new(version: Version) -> Self {
        Self { version, complaints: Vec::new(), lacking: Vec::new() }
    }

    /// Adds a complaint about the value at `path`, a JSON pointer.
    pub(crate) fn push(&mut self, path: &str, complaint: &str) {
        let part = if path.is_empty() { complaint.to_owned() } else { format!("at {path}: {complaint}") };
        if self.complaints.len() < PARTS_MAX && !self.complaints.contains(&part) {
            self.complaints.push(part);
        }
    }

    pub(crate) fn missing(&mut self, path: &str, name: &str) {
        if self.version == Version::V4 {
            if self.lacking.iter().any(|object| object == path) {
                return;
            }
            self.lacking.push(path.to_owned());
        }
        self.push(path, &format!("must have required property '{name}'"));
    }

    pub(crate) fn unexpected(&mut self, path: &str, name: &str) {
        if self.complaints.len() >= PARTS_MAX {
            return;
        }
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let path = if path.is_empty() { "root" } else { path };
        self.push(path, &format!("unexpected property '{name}'"));
    }

    pub(crate) fn too_few(&mut self, path: &str, limit: u64, what: &str) {
        self.push(path, &format!("must {} have fewer than {limit} {what}", self.not()));
    }

    pub(crate) fn too_many(&mut self, path: &str, limit: u64, what: &str) {
        self.push(path, &format!("must {} have more than {limit} {what}", self.not()));
    }

    pub(crate) fn not_one_of(&mut self, path: &str) {
        match self.version {
            Version::V3 => {
                self.push(path, "must be equal to constant");
                self.push(path, "must match a schema in anyOf");
            }
            Version::V4 => self.push(path, "must be equal to one of the allowed values"),
        }
    }

    /// `<prefix>: <part>; <part>…`
    pub(crate) fn message(&self, prefix: &str) -> String {
        if self.complaints.is_empty() {
            return format!("{prefix}: unknown validation error");
        }
        format!("{prefix}: {}", self.complaints.join("; "))
    }

    fn not(&self) -> &'static str {
        match self.version {
            Version::V3 => "NOT",
            Version::V4 => "not",
        }
    }
}
