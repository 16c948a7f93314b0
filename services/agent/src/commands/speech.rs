//! The command `/tts`.

use verso_proto::agent::v1::TtsSetProviderRequest;

use crate::error::Error;
use crate::runs::Runs;

pub(super) async fn speech(runs: &Runs, arguments: &str) -> Result<String, Error> {
    let speech = &runs.parts.speech;
    let (word, rest) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    match word.to_lowercase().as_str() {
        "on" | "always" => drop(speech.switch(true).await?),
        "off" => drop(speech.switch(false).await?),
        "provider" => {
            let request = TtsSetProviderRequest { provider: Some(rest.trim().to_owned()) };
            if let Err(error) = speech.set_provider(request).await {
                return Ok(format!("⚠️ {error}"));
            }
        }
        "" | "status" => {}
        _ => return Ok("Options: /tts status, on, off or provider <name>.".to_owned()),
    }
    let status = speech.status().await;
    let usable = status.provider_states.iter().any(|state| state.id == status.provider && state.configured);
    let key = if usable { "" } else { " (it has no key, so nothing is spoken)" };
    Ok(format!("Speech: {} · provider: {}{key}", status.auto, status.provider))
}
