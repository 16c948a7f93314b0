//! Calls of the Bot API.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use verso_kit::config::Secret;

use crate::adapter::{Fault, Refusal};

/// The Bot API, unless configured.
const ROOT_DEFAULT: &str = "https://api.telegram.org";

/// How long a call may take: longer than a question for updates is kept.
const CALL_TIMEOUT: Duration = Duration::from_secs(50);

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A connection to the Bot API.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    root: String,
    token: Secret<String>,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The Bot API says no.
    #[error("{description} ({code})")]
    Refused { code: u16, description: String, retry_after: Option<Duration> },
    /// The call did not get there.
    #[error("cannot be reached: {0}")]
    NotSent(String),
    /// The call may have got there; the answer did not come back.
    #[error("the answer did not arrive: {0}")]
    NotAnswered(String),
}

/// What the Bot API answers.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    ok: bool,
    result: Option<Value>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Debug, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

impl Api {
    pub(super) fn new(token: Secret<String>, root: Option<&str>) -> Result<Self, Fault> {
        let client = Client::builder()
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the token, which is part of the address, to whomever it names.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Fault::Network(error.to_string()))?;
        let root = root.map(str::trim).filter(|root| !root.is_empty()).unwrap_or(ROOT_DEFAULT).trim_end_matches('/').to_owned();
        Ok(Self { client, root, token })
    }

    /// Calls a method.
    pub(super) async fn call<T: DeserializeOwned>(&self, method: &str, parameters: &Value) -> Result<T, Failure> {
        let url = format!("{}/bot{}/{method}", self.root, self.token.expose());
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(parameters.to_string());
        let response = request.send().await.map_err(not_answered)?;
        let status = response.status().as_u16();
        let body = read(response).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| Failure::NotAnswered(format!("status {status}, not JSON: {error}")))?;
        if !answer.ok {
            return Err(Failure::Refused {
                code: answer.error_code.unwrap_or(status),
                description: answer.description.unwrap_or_else(|| "refused without a reason".to_owned()),
                retry_after: answer.parameters.and_then(|parameters| parameters.retry_after).map(Duration::from_secs),
            });
        }
        serde_json::from_value(answer.result.unwrap_or_default()).map_err(|error| Failure::NotAnswered(error.to_string()))
    }
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(not_answered)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::NotAnswered(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The address holds the token, so it is taken out of the words.
fn not_answered(error: reqwest::Error) -> Failure {
    let connecting = error.is_connect() || error.is_builder();
    let error = error.without_url();
    let words = std::error::Error::source(&error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    if connecting { Failure::NotSent(words) } else { Failure::NotAnswered(words) }
}

impl Failure {
    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Refused { code: 401 | 404, .. } => Fault::Account(format!("Telegram does not accept the bot token: {self}")),
            _ => Fault::Network(format!("Telegram: {self}")),
        }
    }

    pub(super) fn into_refusal(self) -> Refusal {
        let reason = self.to_string();
        match self {
            Self::Refused { retry_after: Some(after), .. } => Refusal::Later { reason, after: Some(after) },
            Self::Refused { code: 429 | 500..=599, .. } | Self::NotSent(_) => Refusal::Later { reason, after: None },
            Self::Refused { description, .. } if description.to_lowercase().contains("chat not found") => {
                Refusal::Never(format!("{reason}: the bot can only write to people who have written to it, and to groups that it is in"))
            }
            Self::Refused { .. } => Refusal::Never(reason),
            Self::NotAnswered(_) => Refusal::Unknown(reason),
        }
    }
}
