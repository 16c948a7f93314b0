//! Protocol versions: which one a connection speaks, and what it changes.

mod adapter;
mod requests;
mod table;
#[cfg(test)]
mod tests;

use serde_json::json;
use serde_json::value::RawValue;

pub use adapter::{Adapter, Circumstances};

use crate::{ErrorShape, Object};

/// A protocol version that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Clients of the 2026.2 generation.
    V3,
    /// Clients of the 2026.9 generation.
    V4,
}

impl Version {
    /// The oldest version that is served.
    pub const OLDEST: Self = Self::V3;
    /// The newest version that is served.
    pub const NEWEST: Self = Self::V4;

    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    /// The version with this number, if it is served.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            _ => None,
        }
    }

    /// The newest version that a client which speaks `min..=max` and this gateway share.
    ///
    /// The error is followed by [`Close::PROTOCOL_MISMATCH`](crate::close::Close::PROTOCOL_MISMATCH).
    pub fn negotiate(min: i64, max: i64) -> Result<Self, ErrorShape> {
        [Self::V4, Self::V3].into_iter().find(|version| (min..=max).contains(&i64::from(version.number()))).ok_or_else(|| {
            // Never `expectedProtocol: 3`: a node host would fall back to 3 for good.
            ErrorShape::invalid("protocol mismatch").with_details(&json!({
                "code": "PROTOCOL_MISMATCH",
                "clientMinProtocol": min,
                "clientMaxProtocol": max,
                "expectedProtocol": Self::NEWEST.number(),
                "minimumProbeProtocol": Self::OLDEST.number(),
            }))
        })
    }

    /// The wording to use for a `connect` whose parameters are not yet known to be valid.
    pub fn announced(params: Option<&RawValue>) -> Self {
        let max = params.and_then(|params| Object::parse(params.get())).and_then(|params| params.get("maxProtocol")?.parse::<i64>().ok());
        if max.is_some_and(|max| max >= 4) { Self::V4 } else { Self::V3 }
    }
}
