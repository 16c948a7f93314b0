//! How to connect.

use std::fmt;
use std::ops::RangeInclusive;

use verso_proto::edge::v1::{ClientInfo, ConnectRequest, Credentials, StringList};

use crate::{DeviceTokens, Identity, Trust};

/// What the client calls the system that it runs on.
const PLATFORM: &str = if cfg!(target_os = "macos") {
    "macos"
} else if cfg!(target_os = "windows") {
    "windows"
} else {
    "linux"
};

/// How to connect, and as whom.
#[derive(Clone)]
pub struct Options {
    /// `ws://host:port` or `wss://host:port`, with or without a path.
    pub url: String,
    /// The gateway token.
    pub token: Option<String>,
    /// The gateway password.
    pub password: Option<String>,
    /// The token that the gateway issued to this device.
    pub device_token: Option<String>,
    /// Where the tokens are kept that the gateway issues to this device: presented at each connect, renewed by each hello, and
    /// forgotten when the gateway no longer takes them. Needs an identity.
    pub device_tokens: Option<DeviceTokens>,
    /// Which certificate a `wss://` gateway may show.
    pub trust: Trust,
    /// Proves a device; without one the gateway may ask for pairing or grant nothing.
    pub identity: Option<Identity>,
    /// `operator` or `node`.
    pub role: String,
    /// What to ask for. None leaves the member out, which older gateways take for admin.
    pub scopes: Option<Vec<String>>,
    /// Capabilities.
    pub caps: Vec<String>,
    /// Commands that a node offers.
    pub commands: Vec<String>,
    /// Who the client is.
    pub client: ClientInfo,
    /// The protocol versions that it speaks.
    pub protocol: RangeInclusive<u32>,
    /// Further headers of the upgrade, such as `Origin`.
    pub headers: Vec<(String, String)>,
    /// From the first packet to the hello, in milliseconds.
    pub connect_timeout_ms: u64,
    /// From a request to its first answer, in milliseconds.
    pub call_timeout_ms: u64,
}

impl Options {
    /// Connects to `url` as a backend client of both protocol versions, without a device, asking for admin.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            password: None,
            device_token: None,
            device_tokens: None,
            trust: Trust::System,
            identity: None,
            role: "operator".to_owned(),
            scopes: Some(vec!["operator.admin".to_owned()]),
            caps: Vec::new(),
            commands: Vec::new(),
            client: ClientInfo {
                id: "gateway-client".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                platform: PLATFORM.to_owned(),
                mode: "backend".to_owned(),
                ..ClientInfo::default()
            },
            protocol: 3..=4,
            headers: Vec::new(),
            connect_timeout_ms: 10_000,
            call_timeout_ms: 30_000,
        }
    }

    /// Sets the gateway token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets where the tokens of this device are kept.
    #[must_use]
    pub fn with_device_tokens(mut self, tokens: DeviceTokens) -> Self {
        self.device_tokens = Some(tokens);
        self
    }

    /// Sets which certificate a `wss://` gateway may show.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets the device that the client proves to be.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the client's id and mode, as in `connect`.
    #[must_use]
    pub fn with_client(mut self, id: impl Into<String>, mode: impl Into<String>) -> Self {
        (self.client.id, self.client.mode) = (id.into(), mode.into());
        self
    }

    /// Sets the scopes to ask for.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the protocol versions to offer.
    #[must_use]
    pub fn with_protocol(mut self, protocol: RangeInclusive<u32>) -> Self {
        self.protocol = protocol;
        self
    }

    /// The `connect` request without a device's proof.
    pub(crate) fn request(&self) -> ConnectRequest {
        let auth = Credentials {
            token: self.token.clone(),
            password: self.password.clone(),
            device_token: self.device_token.clone(),
            ..Credentials::default()
        };
        ConnectRequest {
            min_protocol: i64::from(*self.protocol.start()),
            max_protocol: i64::from(*self.protocol.end()),
            client: Some(self.client.clone()),
            caps: self.caps.clone(),
            commands: self.commands.clone(),
            role: Some(self.role.clone()),
            scopes: self.scopes.clone().map(|values| StringList { values }),
            auth: (auth != Credentials::default()).then_some(auth),
            ..ConnectRequest::default()
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Options").field("client", &self.client.id).field("role", &self.role).finish_non_exhaustive()
    }
}
