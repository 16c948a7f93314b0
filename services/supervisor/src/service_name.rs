//! The names of the processes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::config::Secrets;

/// One of the processes that the supervisor looks after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceName {
    /// Client connections; owns the public port.
    Edge,
    /// Who is connected.
    Presence,
    /// Nodes and approvals.
    Node,
    /// Chat networks.
    Channel,
    /// Sessions and runs.
    Agent,
    /// Pages; owns the canvas port.
    Canvas,
}

impl ServiceName {
    /// Every service, in the order in which lists show them.
    pub const ALL: [Self; 6] = [Self::Edge, Self::Presence, Self::Node, Self::Channel, Self::Agent, Self::Canvas];

    /// Returns the name as the command line, the sockets and the contract spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Presence => "presence",
            Self::Node => "node",
            Self::Channel => "channel",
            Self::Agent => "agent",
            Self::Canvas => "canvas",
        }
    }

    /// Whether a restart starts the next process before it stops this one.
    pub(crate) const fn overlaps(self) -> bool {
        matches!(self, Self::Edge)
    }

    /// Whether the service may read the secret of that name.
    pub(crate) fn may_read(self, secret: &str, secrets: &Secrets) -> bool {
        if secret.starts_with("VERSO_GATEWAY_") {
            return self == Self::Edge;
        }
        let referred = |names: &BTreeSet<String>| names.contains(secret);
        if secrets.readers.values().any(referred) {
            return secrets.readers.get(self.as_str()).is_some_and(referred);
        }
        verso_config::is_variable_of(secret, self.as_str())
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown service \"{0}\"")]
pub struct UnknownService(pub String);

impl FromStr for ServiceName {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| UnknownService(text.to_owned()))
    }
}
