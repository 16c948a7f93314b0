//! One of `mcp.servers`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use verso_kit::config::Secret;

/// How long a server may take to be ready, unless configured.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a call may take, unless configured.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The longest of both, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 60 * 60 * 1_000;

/// One server as configured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Settings {
    /// A program of this host, which is spoken to over its standard input and output …
    pub(super) command: Option<String>,
    pub(super) args: Vec<String>,
    /// Beside the few variables that every program gets.
    pub(super) env: BTreeMap<String, Secret<String>>,
    pub(super) cwd: Option<String>,
    /// … or an address.
    pub(super) url: Option<String>,
    /// `stdio` or `streamable-http`. Default: what the other keys mean.
    transport: Option<String>,
    pub(super) headers: BTreeMap<String, Secret<String>>,
    oauth: Option<Value>,
    enabled: Option<bool>,
    connection_timeout_ms: Option<u64>,
    request_timeout_ms: Option<u64>,
    tool_filter: Filter,
}

/// Which of its tools are taken, by what the server calls them. `*` stands for anything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Filter {
    include: Option<Vec<String>>,
    exclude: Vec<String>,
}

impl Settings {
    /// Refuses what cannot work, and says why.
    pub(super) fn checked(self) -> Result<Self, String> {
        let transport = self.transport.as_deref().map(|word| word.trim().to_ascii_lowercase());
        match (&self.command, &self.url, transport.as_deref()) {
            (_, _, Some("sse")) => Err(
                "transport \"sse\" has been replaced by \"streamable-http\", which this version speaks; use the server's address for that"
                    .to_owned(),
            ),
            (_, _, Some(other)) if !["stdio", "streamable-http", "http"].contains(&other) => {
                Err(format!("transport \"{other}\" is not known: use \"stdio\" or \"streamable-http\""))
            }
            (Some(_), Some(_), None) => Err("command and url are two servers: leave one of them out, or name the transport".to_owned()),
            (None, _, Some("stdio")) | (None, None, None) => Err("command is missing".to_owned()),
            (_, None, Some(_)) if transport.as_deref() != Some("stdio") => Err("url is missing".to_owned()),
            _ if self.oauth.is_some() => Err("oauth cannot be used by this version: put a token into headers.Authorization".to_owned()),
            _ => Ok(self),
        }
    }

    pub(super) fn on(&self) -> bool {
        self.enabled != Some(false)
    }

    /// Whether it is a program of this host.
    pub(super) fn program(&self) -> bool {
        match self.transport.as_deref().map(str::trim) {
            Some(word) => word.eq_ignore_ascii_case("stdio"),
            None => self.command.is_some(),
        }
    }

    pub(super) fn connection_timeout(&self) -> Duration {
        self.connection_timeout_ms.map_or(CONNECTION_TIMEOUT, |ms| Duration::from_millis(ms.clamp(1, TIMEOUT_MS_MAX)))
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout_ms.map_or(REQUEST_TIMEOUT, |ms| Duration::from_millis(ms.clamp(1, TIMEOUT_MS_MAX)))
    }

    /// Whether a tool of the server is taken.
    pub(super) fn takes(&self, tool: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|pattern| crate::policy::matches(&pattern.to_ascii_lowercase(), tool));
        self.tool_filter.include.as_deref().is_none_or(listed) && !listed(&self.tool_filter.exclude)
    }
}
