//! Speech: a text becomes a sound file, by whichever provider is chosen and has a key.

mod settings;
mod speak;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use verso_kit::config::{Env, Secret};
use verso_kit::error::{WireCode, WireError};
use verso_proto::agent::v1::{
    TtsConvertRequest, TtsConvertResponse, TtsProvider, TtsProviderState, TtsProvidersResponse, TtsSetProviderRequest,
    TtsSetProviderResponse, TtsStatusResponse, TtsSwitchResponse,
};

use crate::provider::client::Clients;
use settings::Settings;

/// The longest text that is spoken, in characters.
const TEXT_CHARS_MAX_DEFAULT: usize = 4_096;

/// How long a provider may take, in milliseconds.
const TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// The section `messages.tts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Config {
    /// `off`, `always`, `inbound` or `tagged`. Default: `off`.
    pub(crate) auto: Option<String>,
    /// `openai`, `elevenlabs` or `edge`. Default: the first that has a key.
    pub(crate) provider: Option<String>,
    pub(crate) openai: OpenAi,
    pub(crate) elevenlabs: ElevenLabs,
    /// Where settings are that clients make. Default: `settings/tts.json` in the state folder.
    pub(crate) prefs_path: Option<String>,
    /// In characters. Default: 4096.
    pub(crate) max_text_length: Option<usize>,
    /// Default: 30000.
    pub(crate) timeout_ms: Option<u64>,
}

/// The section `messages.tts.openai`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OpenAi {
    pub(crate) api_key: Option<Secret<String>>,
    /// Default: `https://api.openai.com/v1`.
    pub(crate) base_url: Option<String>,
    /// Default: `gpt-4o-mini-tts`.
    pub(crate) model: Option<String>,
    /// Default: `alloy`.
    pub(crate) voice: Option<String>,
}

/// The section `messages.tts.elevenlabs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ElevenLabs {
    pub(crate) api_key: Option<Secret<String>>,
    /// Default: `https://api.elevenlabs.io`.
    pub(crate) base_url: Option<String>,
    /// Default: `eleven_multilingual_v2`.
    pub(crate) model_id: Option<String>,
    pub(crate) voice_id: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    OpenAi,
    ElevenLabs,
    /// Known to clients, but its service is not one that others may use.
    Edge,
}

impl Provider {
    const ALL: [Self; 3] = [Self::OpenAi, Self::ElevenLabs, Self::Edge];

    fn id(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::ElevenLabs => "elevenlabs",
            Self::Edge => "edge",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI",
            Self::ElevenLabs => "ElevenLabs",
            Self::Edge => "Edge TTS",
        }
    }

    fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.id() == id.trim().to_lowercase())
    }

    fn models(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["gpt-4o-mini-tts", "tts-1", "tts-1-hd"],
            Self::ElevenLabs => &["eleven_multilingual_v2", "eleven_turbo_v2_5", "eleven_monolingual_v1"],
            Self::Edge => &[],
        }
    }

    fn voices(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["alloy", "ash", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"],
            Self::ElevenLabs | Self::Edge => &[],
        }
    }
}

/// Why nothing was spoken or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to speak.
    #[error("tts.convert requires text")]
    NoText,
    /// Nobody is called that.
    #[error("Invalid provider. Use openai, elevenlabs, or edge.")]
    UnknownProvider,
    /// Nobody could speak it.
    #[error("TTS conversion failed: {0}")]
    Failed(String),
    /// The settings could not be written.
    #[error("could not write the settings of speech to {path}")]
    WriteSettings {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A background task panicked.
    #[error("a background task panicked")]
    Panicked,
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::NoText | Self::UnknownProvider => WireCode::InvalidRequest,
            Self::Failed(_) => WireCode::Unavailable,
            Self::WriteSettings { .. } | Self::Panicked => WireCode::Fault,
        }
    }
}

/// Everything about speech.
#[derive(Debug)]
pub(crate) struct Speech {
    config: Config,
    settings: Settings,
    /// Where sound files go.
    folder: PathBuf,
}

impl Speech {
    /// Reads what is configured; keys may also be in the environment.
    pub(crate) fn new(mut config: Config, env: &Env, state_dir: &Path) -> Self {
        let key = |own: &mut Option<Secret<String>>, names: &[&str]| {
            if own.as_ref().is_none_or(|key| key.expose().trim().is_empty()) {
                *own =
                    names.iter().find_map(|name| env.get(name)).filter(|key| !key.trim().is_empty()).map(|key| Secret::new(key.to_owned()));
            }
        };
        key(&mut config.openai.api_key, &["OPENAI_API_KEY"]);
        key(&mut config.elevenlabs.api_key, &["ELEVENLABS_API_KEY", "XI_API_KEY"]);
        if config.openai.base_url.is_none() {
            config.openai.base_url = env.get("OPENAI_TTS_BASE_URL").map(str::to_owned);
        }
        let path = config.prefs_path.as_ref().map_or_else(|| state_dir.join("settings").join("tts.json"), PathBuf::from);
        Self { settings: Settings::new(path), config, folder: state_dir.join("agent").join("tts") }
    }

    fn configured(&self, provider: Provider) -> bool {
        match provider {
            Provider::OpenAi => self.config.openai.api_key.is_some(),
            Provider::ElevenLabs => self.config.elevenlabs.api_key.is_some() && self.config.elevenlabs.voice_id.is_some(),
            Provider::Edge => false,
        }
    }

    async fn active(&self) -> Provider {
        let chosen = self.settings.text("provider").await.or_else(|| self.config.provider.clone());
        let first = || Provider::ALL.into_iter().find(|provider| self.configured(*provider)).unwrap_or(Provider::Edge);
        chosen.as_deref().and_then(Provider::parse).unwrap_or_else(first)
    }

    /// Returns who else can speak.
    fn fallbacks(&self, active: Provider) -> Vec<Provider> {
        Provider::ALL.into_iter().filter(|provider| *provider != active && self.configured(*provider)).collect()
    }

    /// Says how things are.
    pub(crate) async fn status(&self) -> TtsStatusResponse {
        let auto = match (self.settings.text("auto").await, self.settings.switch("enabled").await) {
            (Some(auto), _) => auto,
            (None, Some(enabled)) => if enabled { "always" } else { "off" }.to_owned(),
            (None, None) => self.config.auto.clone().unwrap_or_else(|| "off".to_owned()),
        };
        let active = self.active().await;
        let fallbacks: Vec<String> = self.fallbacks(active).into_iter().map(|provider| provider.id().to_owned()).collect();
        let state = |provider: Provider| TtsProviderState {
            id: provider.id().to_owned(),
            label: provider.label().to_owned(),
            configured: self.configured(provider),
        };
        TtsStatusResponse {
            enabled: auto != "off",
            auto,
            provider: active.id().to_owned(),
            fallback_provider: fallbacks.first().cloned(),
            fallback_providers: fallbacks,
            prefs_path: self.settings.path().display().to_string(),
            has_openai_key: self.config.openai.api_key.is_some(),
            has_eleven_labs_key: self.config.elevenlabs.api_key.is_some(),
            edge_enabled: self.configured(Provider::Edge),
            persona: None,
            personas: Vec::new(),
            provider_states: Provider::ALL.map(state).to_vec(),
        }
    }

    /// Lists who can speak.
    pub(crate) async fn providers(&self) -> TtsProvidersResponse {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let provider = |provider: Provider| TtsProvider {
            id: provider.id().to_owned(),
            name: provider.label().to_owned(),
            configured: self.configured(provider),
            models: texts(provider.models()),
            voices: texts(provider.voices()),
        };
        TtsProvidersResponse { providers: Provider::ALL.map(provider).to_vec(), active: self.active().await.id().to_owned() }
    }

    /// Turns speech on or off.
    pub(crate) async fn switch(&self, enabled: bool) -> Result<TtsSwitchResponse, Error> {
        let auto = if enabled { "always" } else { "off" };
        self.settings.set(&[("enabled", enabled.into()), ("auto", auto.into())]).await?;
        Ok(TtsSwitchResponse { enabled })
    }

    /// Chooses who speaks.
    pub(crate) async fn set_provider(&self, request: TtsSetProviderRequest) -> Result<TtsSetProviderResponse, Error> {
        let provider = request.provider.as_deref().and_then(Provider::parse).ok_or(Error::UnknownProvider)?;
        self.settings.set(&[("provider", provider.id().into())]).await?;
        Ok(TtsSetProviderResponse { provider: provider.id().to_owned() })
    }

    /// Speaks a text into a file that only the owner can read.
    pub(crate) async fn convert(&self, clients: &Clients, request: TtsConvertRequest) -> Result<TtsConvertResponse, Error> {
        let text = request.text.as_deref().map(str::trim).filter(|text| !text.is_empty()).ok_or(Error::NoText)?;
        let (chars, most) = (text.chars().count(), self.config.max_text_length.unwrap_or(TEXT_CHARS_MAX_DEFAULT));
        if chars > most {
            return Err(Error::Failed(format!("the text has {chars} characters, and {most} can be spoken at once")));
        }
        let voice_note = request.channel.as_deref().is_some_and(|channel| channel.trim().eq_ignore_ascii_case("telegram"));
        let active = self.active().await;
        let mut reasons = Vec::new();
        for provider in std::iter::once(active).chain(self.fallbacks(active)) {
            match self.speak(clients, provider, text, voice_note).await {
                Ok(sound) => return self.save(sound, provider).await,
                Err(reason) => reasons.push(format!("{}: {reason}", provider.id())),
            }
        }
        Err(Error::Failed(reasons.join("; ")))
    }
}
