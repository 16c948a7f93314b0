//! Which gateway a command speaks to, and what it presents there.

use std::net::{IpAddr, SocketAddr};

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
            return Ok(Self::elsewhere(url, source, "local", token, password));
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
            return Ok(Self::elsewhere(&url, "config gateway.remote.url", "remote", token, password));
        }
        let bind = section.bind.as_deref().and_then(Bind::parse).unwrap_or(Bind::Loopback);
        let host = bind.local_host(section.custom_bind_host.as_deref());
        Ok(Self {
            url: format!("ws://{}", SocketAddr::new(host, section.effective_port(env))),
            source: source(host, bind).to_owned(),
            mode: "local",
            bind: Some(bind),
            is_elsewhere: false,
            token: token.or(section.auth.token).or_else(|| stored_token(&session.instance)),
            password: password.or(section.auth.password),
        })
    }

    fn elsewhere(url: &str, source: &str, mode: &'static str, token: Option<Secret<String>>, password: Option<Secret<String>>) -> Self {
        Self { url: url.to_owned(), source: source.to_owned(), mode, bind: None, is_elsewhere: true, token, password }
    }
}

fn source(host: IpAddr, bind: Bind) -> &'static str {
    match bind {
        Bind::Tailnet if !host.is_loopback() => "local tailnet ip",
        Bind::Custom if !host.is_loopback() => "local custom host",
        _ => "local loopback",
    }
}
