//! The HTTP calls that turn a text into sound, and the file that it becomes.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{RequestBuilder, Response};
use serde_json::json;
use tokio::time::timeout;
use verso_kit::files;
use verso_proto::agent::v1::TtsConvertResponse;

use super::{Error, Provider, Speech, TIMEOUT_MS_DEFAULT};
use crate::messages;
use crate::provider::client::Clients;

/// The largest sound, in bytes.
const SOUND_BYTES_MAX: usize = 32 << 20;

/// How long a sound file stays: whoever asked for it has fetched it by then.
const KEPT: Duration = Duration::from_hours(1);

/// The longest text of a provider that is passed on, in characters.
const REASON_CHARS_MAX: usize = 200;

/// A spoken text.
#[derive(Debug)]
pub(super) struct Sound {
    bytes: Vec<u8>,
    ending: &'static str,
    format: &'static str,
    voice_note: bool,
}

impl Speech {
    /// Lets one provider speak. The error says why it cannot.
    pub(super) async fn speak(&self, clients: &Clients, provider: Provider, text: &str, voice_note: bool) -> Result<Sound, String> {
        let (request, format) = match provider {
            Provider::OpenAi => self.openai(clients, text, voice_note).await?,
            Provider::ElevenLabs => self.elevenlabs(clients, text, voice_note).await?,
            Provider::Edge => return Err("not available here; choose openai or elevenlabs".to_owned()),
        };
        let limit = Duration::from_millis(self.config.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT));
        let speaking = async {
            let response = request.send().await.map_err(|error| format!("could not be reached: {}", error.without_url()))?;
            let status = response.status();
            let bytes = bounded(response).await?;
            if status.is_success() { Ok(bytes) } else { Err(refusal(status.as_u16(), &bytes)) }
        };
        let bytes = timeout(limit, speaking).await.map_err(|_| format!("no answer within {} ms", limit.as_millis()))??;
        if bytes.is_empty() {
            return Err("the answer is empty".to_owned());
        }
        Ok(Sound { bytes, ending: if voice_note { "opus" } else { "mp3" }, format, voice_note })
    }

    async fn openai(&self, clients: &Clients, text: &str, voice_note: bool) -> Result<(RequestBuilder, &'static str), String> {
        let config = &self.config.openai;
        let key = config.api_key.as_ref().ok_or("no API key")?;
        let base_url = config.base_url.as_deref().unwrap_or("https://api.openai.com/v1").trim_end_matches('/');
        let url = format!("{base_url}/audio/speech");
        let client = clients.for_url(&url).await.map_err(|error| error.to_string())?;
        let format = if voice_note { "opus" } else { "mp3" };
        let body = json!({
            "model": config.model.as_deref().unwrap_or("gpt-4o-mini-tts"),
            "voice": config.voice.as_deref().unwrap_or("alloy"),
            "input": text,
            "response_format": format,
        });
        Ok((client.post(url).bearer_auth(key.expose().trim()).json(&body), format))
    }

    async fn elevenlabs(&self, clients: &Clients, text: &str, voice_note: bool) -> Result<(RequestBuilder, &'static str), String> {
        let config = &self.config.elevenlabs;
        let key = config.api_key.as_ref().ok_or("no API key")?;
        let voice = config.voice_id.as_deref().ok_or("no voiceId")?;
        // It becomes a part of the address.
        if voice.is_empty() || !voice.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err("the configured voiceId is none".to_owned());
        }
        let base_url = config.base_url.as_deref().unwrap_or("https://api.elevenlabs.io").trim_end_matches('/');
        let format = if voice_note { "opus_48000_64" } else { "mp3_44100_128" };
        let url = format!("{base_url}/v1/text-to-speech/{voice}?output_format={format}");
        let client = clients.for_url(&url).await.map_err(|error| error.to_string())?;
        let body = json!({"text": text, "model_id": config.model_id.as_deref().unwrap_or("eleven_multilingual_v2")});
        Ok((client.post(url).header("xi-api-key", key.expose().trim()).json(&body), format))
    }

    /// Writes a sound into a file, and removes those that are old.
    pub(super) async fn save(&self, sound: Sound, provider: Provider) -> Result<TtsConvertResponse, Error> {
        let folder = self.folder.clone();
        let path = folder.join(format!("voice-{:016x}.{}", rand::random::<u64>(), sound.ending));
        let file = path.clone();
        let writing = tokio::task::spawn_blocking(move || {
            files::create_private_dir(&folder)?;
            remove_old(&folder);
            files::write_atomic(&file, &sound.bytes, 0o600)
        });
        writing
            .await
            .map_err(|_| Error::Panicked)?
            .map_err(|error| Error::Failed(format!("could not write {}: {error}", path.display())))?;
        Ok(TtsConvertResponse {
            audio_path: path.display().to_string(),
            provider: provider.id().to_owned(),
            output_format: sound.format.to_owned(),
            voice_compatible: sound.voice_note,
        })
    }
}

async fn bounded(response: Response) -> Result<Vec<u8>, String> {
    let mut pieces = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(|_| "the answer broke off in the middle")?);
        if bytes.len() > SOUND_BYTES_MAX {
            return Err(format!("the answer is larger than {SOUND_BYTES_MAX} bytes"));
        }
    }
    Ok(bytes)
}

fn refusal(status: u16, body: &[u8]) -> String {
    format!("HTTP {status}: {}", messages::shorten(&String::from_utf8_lossy(body), REASON_CHARS_MAX))
}

fn remove_old(folder: &Path) {
    let aged = |entry: &std::fs::DirEntry| -> io::Result<bool> { Ok(entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > KEPT)) };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if aged(&entry).unwrap_or(false) {
            // The next conversion tries again.
            drop(std::fs::remove_file(entry.path()));
        }
    }
}
