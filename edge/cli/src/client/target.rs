//! Which gateway a command speaks to, and what it presents there.

use std::net::{IpAddr, SocketAddr};

use verso_client::{Fingerprint, Trust};
use verso_kit::config::Secret;

use crate::args;
use crate::commands::Session;
use crate::config::{Gateway, Mode};
use crate::failure::Failure;
use crate::gateway::{Bind, stored_token};

/// A gateway's address and the secrets for it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) url: String,
    /// What decided the address, in words that scripts know.
    pub(crate) source: String,
    /// `local` or `remote`.
    pub(crate) mode: &'static str,
    /// The `bind` of a local gateway.
    pub(crate) bind: Option<Bind>,
    /// Whether the address is not the one of this profile's gateway.
    pub(crate) is_elsewhere: bool,
    /// Whether this command or its environment names the address: what we keep for our own gateway does not go there.
    pub(crate) is_named: bool,
    /// Which certificate a `wss://` gateway may show.
    pub(crate) trust: Trust,
    pub(crate) token: Option<Secret<String>>,
    pub(crate) password: Option<Secret<String>>,
}

impl Target {
    /// Finds the gateway that flags, environment and configuration mean.
    pub(crate) fn find(session: &Session, flags: &args::Target) -> Result<Self, Failure> {
        let env = &session.snapshot.env;
        let section = Gateway::of(&session.snapshot.file);
        let secret = |flag: &Option<String>, name: &str| flag.as_deref().or_else(|| env.get(name)).map(|text| Secret::new(text.to_owned()));
        let (token, password) = (secret(&flags.token, "VERSO_GATEWAY_TOKEN"), secret(&flags.password, "VERSO_GATEWAY_PASSWORD"));
        let named = flags
            .url
            .as_deref()
            .map(|url| (url, "cli --url"))
            .or_else(|| env.get("VERSO_GATEWAY_URL").map(|url| (url, "env VERSO_GATEWAY_URL")));
        if let Some((url, source)) = named {
            // Whoever names an address names its secret too: ours goes to ours only.
            return Ok(Self { is_named: true, ..Self::elsewhere(url, source, "local", token, password) });
        }
        if section.mode == Some(Mode::Remote) {
            let Some(url) = section.remote.url else {
                let path = session.instance.config_path.display();
                return Err(Failure::new(format!(
                    "gateway remote mode misconfigured: gateway.remote.url missing\nConfig: {path}\n\
                     Set gateway.remote.url, or set gateway.mode to \"local\"."
                )));
            };
            // The environment holds the secrets of a local gateway.
            let of_flag = |flag: &Option<String>| flag.clone().map(Secret::new);
            let token = of_flag(&flags.token).or(section.remote.token);
            let password = of_flag(&flags.password).or(section.remote.password);
            let trust = pinned(section.remote.tls_fingerprint.as_deref())?;
            return Ok(Self { trust, ..Self::elsewhere(&url, "config gateway.remote.url", "remote", token, password) });
        }
        let bind = section.bind.as_deref().and_then(Bind::parse).unwrap_or(Bind::Loopback);
        let host = bind.local_host(section.custom_bind_host.as_deref());
        Ok(Self {
            url: format!("ws://{}", SocketAddr::new(host, section.effective_port(env))),
            source: source(host, bind).to_owned(),
            mode: "local",
            bind: Some(bind),
            is_elsewhere: false,
            is_named: false,
            trust: Trust::System,
            token: token.or(section.auth.token).or_else(|| stored_token(&session.instance)),
            password: password.or(section.auth.password),
        })
    }

    fn elsewhere(url: &str, source: &str, mode: &'static str, token: Option<Secret<String>>, password: Option<Secret<String>>) -> Self {
        Self {
            url: url.to_owned(),
            source: source.to_owned(),
            mode,
            bind: None,
            is_elsewhere: true,
            is_named: false,
            trust: Trust::System,
            token,
            password,
        }
    }
}

/// A fingerprint that cannot be read must not become trust in everybody.
fn pinned(fingerprint: Option<&str>) -> Result<Trust, Failure> {
    let Some(text) = fingerprint else { return Ok(Trust::System) };
    let parsed: Result<Fingerprint, _> = text.parse();
    parsed.map(Trust::Pinned).map_err(|error| Failure::new(format!("gateway.remote.tlsFingerprint: {error}")))
}

fn source(host: IpAddr, bind: Bind) -> &'static str {
    match bind {
        Bind::Tailnet if !host.is_loopback() => "local tailnet ip",
        Bind::Custom if !host.is_loopback() => "local custom host",
        _ => "local loopback",
    }
}
