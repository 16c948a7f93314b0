//! The section `hooks`.

use serde::Deserialize;
use verso_kit::config::Secret;

/// Where webhooks come in unless configured.
const PATH: &str = "/hooks";

/// The largest body unless configured, in bytes.
const BODY_BYTES_MAX: usize = 256 << 10;

/// The largest body of a call from the mail watcher, in bytes.
const MAIL_BODY_BYTES_MAX: usize = 32 << 20;

/// Mails in one call, and what surrounds each, in bytes.
const MAILS_MAX: usize = 100;
const MAIL_OVERHEAD_BYTES: usize = 8 << 10;

/// How much of a mail the watcher passes on unless configured, in bytes.
const MAIL_BYTES: usize = 20_000;

/// The name of the ready-made mapping for mail, and the path that it has.
pub(super) const GMAIL: &str = "gmail";

/// The section.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::http) struct Config {
    pub(super) enabled: bool,
    pub(super) token: Option<Secret<String>>,
    pub(super) path: Option<String>,
    pub(super) max_body_bytes: Option<usize>,
    pub(super) presets: Vec<String>,
    pub(super) mappings: Vec<Mapping>,
    /// Whether the secret may stand in the address.
    pub(super) allow_query_token: bool,
    /// Where transforms run. Default: the folder of the configuration.
    pub(super) transforms_dir: Option<String>,
    pub(super) default_session_key: Option<String>,
    /// None: callers may name sessions, as older gateways let them.
    pub(super) allow_request_session_key: Option<bool>,
    pub(super) allowed_session_key_prefixes: Vec<String>,
    pub(super) allowed_agent_ids: Option<Vec<String>>,
    pub(super) gmail: Gmail,
}

/// The section `hooks.gmail`, as far as it concerns calls.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Gmail {
    pub(super) model: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) allow_unsafe_external_content: bool,
    max_bytes: Option<usize>,
}

/// What becomes of calls of one name.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Mapping {
    pub(super) id: Option<String>,
    pub(super) r#match: Match,
    /// `agent` or `wake`. Default: `agent`.
    pub(super) action: Option<String>,
    pub(super) wake_mode: Option<String>,
    pub(super) message_template: Option<String>,
    pub(super) text_template: Option<String>,
    pub(super) name: Option<String>,
    pub(super) session_key: Option<String>,
    pub(super) to: Option<String>,
    pub(super) account_id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) deliver: Option<bool>,
    pub(super) channel: Option<String>,
    pub(super) timeout_seconds: Option<i64>,
    pub(super) allow_unsafe_external_content: bool,
    pub(super) agent_id: Option<String>,
    /// The list of which every item becomes an action.
    pub(super) for_each: Option<String>,
    pub(super) transform: Option<Transform>,
}

/// Which calls a mapping is for; one that says nothing is for all.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Match {
    pub(super) path: Option<String>,
    pub(super) source: Option<String>,
}

/// A program that has the last word.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Transform {
    pub(super) command: Vec<String>,
    /// A script of the original, which cannot be run.
    pub(super) module: Option<String>,
    pub(super) timeout_ms: Option<u64>,
}

impl Config {
    /// Returns the base path: with a slash before it and none after it.
    pub(super) fn base_path(&self) -> String {
        let path = self.path.as_deref().unwrap_or(PATH).trim().trim_matches('/');
        if path.is_empty() { PATH.to_owned() } else { format!("/{path}") }
    }

    /// Returns the largest body of a call, in bytes.
    pub(super) fn bytes_max(&self, name: &str) -> usize {
        let own = self.max_body_bytes.unwrap_or(BODY_BYTES_MAX);
        if name.trim_matches('/') != GMAIL || !self.has_gmail() {
            return own;
        }
        let mail = self.gmail.max_bytes.unwrap_or(MAIL_BYTES).saturating_mul(3).saturating_add(MAIL_OVERHEAD_BYTES);
        own.max(mail.saturating_mul(MAILS_MAX).min(MAIL_BODY_BYTES_MAX))
    }

    /// Whether the ready-made mapping for mail is wanted.
    pub(super) fn has_gmail(&self) -> bool {
        self.presets.iter().any(|preset| preset == GMAIL)
    }

    /// Returns the mappings in the order in which they are tried: the ready-made ones come last.
    pub(super) fn all_mappings(&self) -> impl Iterator<Item = Mapping> {
        self.mappings.iter().cloned().chain(self.has_gmail().then(gmail))
    }
}

fn gmail() -> Mapping {
    let words = |text: &str| Some(text.to_owned());
    Mapping {
        id: words(GMAIL),
        r#match: Match { path: words(GMAIL), source: None },
        name: words("Gmail"),
        session_key: words("hook:gmail:{{messages[0].id}}"),
        message_template: words(
            "New email from {{messages[0].from}}\nSubject: {{messages[0].subject}}\n{{messages[0].snippet}}\n{{messages[0].body}}",
        ),
        for_each: words("messages"),
        ..Mapping::default()
    }
}
