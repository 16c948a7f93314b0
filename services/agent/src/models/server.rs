//! Servers of model providers, and what is spoken with them.

use std::sync::Arc;

use verso_kit::config::{Env, Secret};

use crate::provider::Credential;

/// What is spoken with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Completions,
    Responses,
    Anthropic,
    Google,
    Ollama,
    Bedrock,
}

impl Dialect {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::Completions, Self::Responses, Self::Anthropic, Self::Google, Self::Ollama, Self::Bedrock];

    /// Returns its name in configurations and transcripts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Completions => "openai-completions",
            Self::Responses => "openai-responses",
            Self::Anthropic => "anthropic-messages",
            Self::Google => "google-generative-ai",
            Self::Ollama => "ollama",
            Self::Bedrock => "bedrock-converse-stream",
        }
    }

    /// Reads a name in a configuration; without one, the dialect that most servers speak.
    pub(crate) fn parse(name: Option<&str>) -> Result<Self, String> {
        let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(Self::Completions) };
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name).ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(|dialect| format!("{:?}", dialect.as_str())).collect();
            format!("this version speaks {}", names.join(", "))
        })
    }
}

/// Where models answer.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// A server.
    Server(Arc<Server>),
    /// This process.
    Offline,
    /// Nowhere, and why.
    Unusable(String),
}

/// A server of a provider.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) dialect: Dialect,
    /// Without a slash at its end.
    pub(crate) base_url: String,
    /// What the configuration or the environment has for it.
    pub(crate) credential: Option<Credential>,
    /// Further headers of every request.
    pub(crate) headers: Vec<(String, Secret<String>)>,
    /// The keys of an account that signs, where there is no credential to show.
    pub(crate) signing: Option<Signing>,
}

/// The keys of an AWS account.
#[derive(Debug, Clone)]
pub(crate) struct Signing {
    pub(crate) access_key: String,
    pub(crate) secret: Secret<String>,
    pub(crate) session: Option<Secret<String>>,
    pub(crate) region: String,
}

impl Signing {
    /// Reads the keys out of the environment. The region is the server's, where its name tells.
    pub(crate) fn of(env: &Env, host: Option<&str>) -> Option<Self> {
        let told = host.and_then(|host| host.strip_prefix("bedrock-runtime.")).and_then(|rest| rest.split('.').next());
        let region = told.or_else(|| env.get("AWS_REGION")).or_else(|| env.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1");
        Some(Self {
            access_key: env.get("AWS_ACCESS_KEY_ID")?.to_owned(),
            secret: Secret::new(env.get("AWS_SECRET_ACCESS_KEY")?.to_owned()),
            session: env.get("AWS_SESSION_TOKEN").map(|token| Secret::new(token.to_owned())),
            region: region.to_owned(),
        })
    }
}

impl Server {
    /// Makes a server without headers of its own.
    pub(crate) fn new(dialect: Dialect, base_url: &str, key: Option<Secret<String>>) -> Self {
        let base_url = base_url.trim().trim_end_matches('/').to_owned();
        let key = key.filter(|key| !key.expose().trim().is_empty());
        Self { dialect, base_url, credential: key.map(Credential::key), headers: Vec::new(), signing: None }
    }

    /// Returns the host of its address. The whole of it, never a part: what only begins like a known host is another one.
    pub(crate) fn host(&self) -> Option<&str> {
        let (_, rest) = self.base_url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // Colons within brackets belong to the address.
        let port = host.rfind(':').filter(|place| !host[*place..].contains(']'));
        Some(port.map_or(host, |place| &host[..place]))
    }

    /// Whether it is on this machine.
    pub(crate) fn local(&self) -> bool {
        self.host().is_some_and(|host| host == "localhost" || host == "[::1]" || host.starts_with("127."))
    }
}

impl From<Server> for Endpoint {
    fn from(server: Server) -> Self {
        Self::Server(Arc::new(server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_45_a_known_host_is_known_by_the_whole_of_its_name() {
        let host = |base_url: &str| Server::new(Dialect::Completions, base_url, None).host().map(str::to_owned);
        for (base_url, name) in [
            ("https://api.openai.com/v1/", "api.openai.com"),
            ("https://api.openai.com:443", "api.openai.com"),
            ("https://api.openai.com.evil.example/v1", "api.openai.com.evil.example"),
            ("https://evil.example/api.openai.com", "evil.example"),
            ("https://api.openai.com@evil.example/v1", "evil.example"),
            ("http://[::1]:8080/v1", "[::1]"),
            ("http://[::1]/v1", "[::1]"),
        ] {
            assert_eq!(host(base_url).as_deref(), Some(name), "{base_url}");
        }
    }
}
