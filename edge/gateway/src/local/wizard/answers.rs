//! What a wizard has been told, and what that means for the configuration.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use verso_kit::config::Secret;

/// Bytes of one answer.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What the file said when the wizard began. It holds no secrets.
#[derive(Debug, Clone, Default)]
pub(super) struct Present {
    pub(super) mode: Option<String>,
    pub(super) workspace: String,
    pub(super) remote_url: Option<String>,
    /// The default model, as `provider/model`.
    pub(super) model: Option<String>,
    /// The addresses of providers, by name.
    pub(super) addresses: BTreeMap<String, String>,
}

impl Present {
    pub(super) fn of(file: &Value, default_workspace: String) -> Self {
        let text = |pointer: &str| file.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let providers = file.pointer("/models/providers").and_then(Value::as_object).into_iter().flatten();
        let address = |(name, section): (&String, &Value)| Some((name.clone(), section.get("baseUrl")?.as_str()?.to_owned()));
        Self {
            mode: text("/gateway/mode"),
            workspace: text("/agents/defaults/workspace").unwrap_or(default_workspace),
            remote_url: text("/gateway/remote/url"),
            model: text("/agents/defaults/model/primary").or_else(|| text("/agents/defaults/model")),
            addresses: providers.filter_map(address).collect(),
        }
    }
}

/// Where the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// On this machine.
    Local,
    /// Elsewhere: commands here are its clients.
    Remote,
}

impl Mode {
    /// Reads a mode as clients write it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Local, Self::Remote].into_iter().find(|mode| mode.as_str() == text)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// A kind of model provider that can be chosen.
#[derive(Debug)]
pub(super) struct Provider {
    /// Its name in the configuration, and the value of its option.
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    api: &'static str,
    /// Where it is, or usually is; empty when only the operator knows.
    pub(super) address: &'static str,
    /// Whether the address is asked for.
    pub(super) asks_address: bool,
    pub(super) asks_key: bool,
    /// The variable that is enough without a key in the file; empty when there is none.
    pub(super) key_variable: &'static str,
    /// A model to begin with; empty when only the operator knows.
    pub(super) model: &'static str,
}

const COMPATIBLE: Provider = Provider {
    name: "custom",
    label: "OpenAI-compatible server",
    hint: "any server that speaks the chat completions API, at an address of your own",
    api: "openai-completions",
    address: "",
    asks_address: true,
    asks_key: true,
    key_variable: "",
    model: "",
};

/// The providers, in the order in which they are offered.
pub(super) static PROVIDERS: [Provider; 6] = [
    Provider {
        name: "anthropic",
        label: "Anthropic",
        hint: "needs a key",
        api: "anthropic-messages",
        address: "https://api.anthropic.com",
        asks_address: false,
        key_variable: "ANTHROPIC_API_KEY",
        model: "claude-opus-4-5",
        ..COMPATIBLE
    },
    Provider {
        name: "openai",
        label: "OpenAI",
        hint: "needs a key",
        address: "https://api.openai.com/v1",
        asks_address: false,
        key_variable: "OPENAI_API_KEY",
        model: "gpt-5-mini",
        ..COMPATIBLE
    },
    Provider {
        name: "google",
        label: "Google Gemini",
        hint: "needs a key",
        api: "google-generative-ai",
        address: "https://generativelanguage.googleapis.com/v1beta",
        asks_address: false,
        key_variable: "GEMINI_API_KEY",
        ..COMPATIBLE
    },
    Provider {
        name: "openrouter",
        label: "OpenRouter",
        hint: "needs a key",
        address: "https://openrouter.ai/api/v1",
        asks_address: false,
        key_variable: "OPENROUTER_API_KEY",
        ..COMPATIBLE
    },
    Provider {
        name: "ollama",
        label: "Ollama",
        hint: "models of your own, without a key",
        address: "http://127.0.0.1:11434/v1",
        asks_key: false,
        ..COMPATIBLE
    },
    COMPATIBLE,
];

/// What the wizard has been told so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) mode: Option<Mode>,
    pub(super) workspace: Option<String>,
    pub(super) remote_url: Option<String>,
    pub(super) remote_token: Option<Secret<String>>,
    /// None keeps the model as it is.
    pub(super) provider: Option<&'static Provider>,
    pub(super) address: Option<String>,
    pub(super) model: Option<String>,
    pub(super) key: Option<Secret<String>>,
}

impl Answers {
    /// The answers as a merge patch. `finished_at` records that the setup ran.
    pub(super) fn patch(&self, present: &Present, finished_at: Option<String>) -> Value {
        let mut patch = json!({});
        let mut put = |path: &[&str], value: &str| {
            let mut place = &mut patch;
            for name in path {
                place = &mut place[*name];
            }
            *place = value.into();
        };
        if let Some(mode) = self.mode {
            put(&["gateway", "mode"], mode.as_str());
        }
        if let Some(url) = &self.remote_url {
            put(&["gateway", "remote", "url"], url);
        }
        if let Some(token) = &self.remote_token {
            put(&["gateway", "remote", "token"], token.expose());
        }
        if let Some(workspace) = &self.workspace {
            put(&["agents", "defaults", "workspace"], workspace);
        }
        if let Some(provider) = self.provider {
            if let Some(model) = &self.model {
                put(&["agents", "defaults", "model", "primary"], &format!("{}/{model}", provider.name));
            }
            // Without a key of its own in the file, a known provider works by its variable, and needs no section.
            let is_known = present.addresses.contains_key(provider.name);
            let address = self.address.as_deref().or((self.key.is_some() && !is_known).then_some(provider.address));
            if let Some(address) = address {
                put(&["models", "providers", provider.name, "baseUrl"], address);
                put(&["models", "providers", provider.name, "api"], provider.api);
            }
            if let Some(key) = &self.key {
                put(&["models", "providers", provider.name, "apiKey"], key.expose());
            }
        }
        if let (Some(at), Some(mode)) = (finished_at, self.mode) {
            for (name, value) in [
                ("lastRunAt", at.as_str()),
                ("lastRunVersion", crate::VERSION),
                ("lastRunCommand", "onboard"),
                ("lastRunMode", mode.as_str()),
            ] {
                put(&["wizard", name], value);
            }
        }
        patch
    }

    /// What will be written, for people. Secrets are mentioned, not shown.
    pub(super) fn summary(&self) -> String {
        let mut lines = Vec::new();
        if let Some(mode) = self.mode {
            lines.push(format!("Mode: {}", mode.as_str()));
        }
        if let Some(url) = &self.remote_url {
            let token = if self.remote_token.is_some() { " (with a new token)" } else { "" };
            lines.push(format!("Remote gateway: {url}{token}"));
        }
        if let Some(workspace) = &self.workspace {
            lines.push(format!("Workspace: {workspace}"));
        }
        if let (Some(provider), Some(model)) = (self.provider, &self.model) {
            let key = if self.key.is_some() { " (with a new key)" } else { "" };
            lines.push(format!("Model: {}/{model}{key}", provider.name));
        } else if self.mode == Some(Mode::Local) {
            lines.push("Model: as it is".to_owned());
        }
        if let Some(address) = &self.address {
            lines.push(format!("Its address: {address}"));
        }
        lines.join("\n")
    }
}

/// Reads one line of text; empty for no answer.
pub(super) fn line(value: &Value) -> Result<String, String> {
    let text = match value {
        Value::Null => "",
        Value::String(text) => text.trim(),
        _ => return Err("This takes a text.".to_owned()),
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("This takes at most {TEXT_BYTES_MAX} bytes."));
    }
    if text.chars().any(char::is_control) {
        return Err("This takes one line, without control characters.".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads the name of a folder.
pub(super) fn folder(text: String) -> Result<String, String> {
    if text.starts_with('/') || text == "~" || text.starts_with("~/") {
        Ok(text)
    } else {
        Err("A folder's name begins with / or ~/.".to_owned())
    }
}

/// Reads an address of one of these schemes.
pub(super) fn address(text: String, schemes: [&str; 2]) -> Result<String, String> {
    let begins = |scheme: &&str| text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).is_some_and(|rest| !rest.is_empty());
    if schemes.iter().any(begins) && !text.contains(char::is_whitespace) {
        Ok(text)
    } else {
        Err(format!("An address begins with {}:// or {}://.", schemes[0], schemes[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str, key: Option<&str>) -> Answers {
        let provider = PROVIDERS.iter().find(|provider| provider.name == name);
        let key = key.map(|key| Secret::new(key.to_owned()));
        Answers { mode: Some(Mode::Local), provider, model: Some("m".to_owned()), key, ..Answers::default() }
    }

    #[test]
    fn a_known_provider_has_a_section_only_for_a_key_and_keeps_an_address_of_its_own() {
        let nothing = Present::of(&json!({}), "/w".to_owned());
        assert_eq!(chosen("openai", None).patch(&nothing, None).get("models"), None);
        let patch = chosen("anthropic", Some("k")).patch(&nothing, None);
        let section = json!({"baseUrl": "https://api.anthropic.com", "api": "anthropic-messages", "apiKey": "k"});
        assert_eq!(patch["models"]["providers"]["anthropic"], section);
        let proxied = Present::of(&json!({"models": {"providers": {"anthropic": {"baseUrl": "https://proxy.example"}}}}), "/w".to_owned());
        let patch = chosen("anthropic", Some("k")).patch(&proxied, None);
        assert_eq!(patch["models"]["providers"]["anthropic"], json!({"apiKey": "k"}));
    }

    #[test]
    fn what_people_are_shown_holds_no_secret() {
        let answers = Answers { remote_token: Some(Secret::new("hush".to_owned())), ..chosen("openai", Some("hush")) };
        assert!(!answers.summary().contains("hush") && !format!("{answers:?}").contains("hush"));
        assert!(answers.patch(&Present::default(), None).to_string().contains("hush"), "the file needs it");
    }

    #[test]
    fn every_provider_is_one_that_the_configuration_takes() {
        for provider in &PROVIDERS {
            let address = if provider.address.is_empty() { "http://127.0.0.1:1/v1" } else { provider.address };
            let answers = Answers { address: Some(address.to_owned()), ..chosen(provider.name, Some("k")) };
            let patch = answers.patch(&Present::default(), Some("2026-01-01T00:00:00Z".to_owned()));
            let problems = verso_config::check(&patch);
            assert!(problems.is_empty(), "{}: {problems:?}", provider.name);
        }
    }
}
