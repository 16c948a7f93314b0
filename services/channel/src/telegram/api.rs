//! Calls of the Bot API.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use verso_kit::config::Secret;

use crate::adapter::{Fault, Refusal};
use crate::profile::Profile;

/// The Bot API, unless configured.
const ROOT_DEFAULT: &str = "https://api.telegram.org";

/// How long a call may take, unless configured: longer than a question for updates is kept.
const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(50);

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

/// A file to be sent with a call.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    /// The parameter that it is.
    pub(super) field: &'a str,
    pub(super) file_name: &'a str,
    pub(super) mime_type: &'a str,
    pub(super) bytes: Vec<u8>,
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
    /// What is to be fetched is larger than it may be.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
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
    pub(super) fn new(token: Secret<String>, profile: &Profile) -> Result<Self, Fault> {
        let unusable = |error: reqwest::Error| Fault::Account(error.without_url().to_string());
        let mut builder = Client::builder()
            .timeout(profile.timeout_seconds.map_or(CALL_TIMEOUT_DEFAULT, |seconds| Duration::from_secs(seconds.max(1))))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the token, which is part of the address, to whomever it names.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(proxy) = &profile.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(unusable)?);
        }
        let client = builder.build().map_err(unusable)?;
        let root = profile.api_root.as_deref().map(str::trim).filter(|root| !root.is_empty()).unwrap_or(ROOT_DEFAULT);
        Ok(Self { client, root: root.trim_end_matches('/').to_owned(), token })
    }

    /// Calls a method.
    pub(super) async fn call<T: DeserializeOwned>(&self, method: &str, parameters: &Value) -> Result<T, Failure> {
        let request = self.client.post(self.url(method)).header(CONTENT_TYPE, "application/json").body(parameters.to_string());
        self.ask(request).await
    }

    /// Calls a method with a file. What is not text becomes JSON, as the Bot API takes it beside files.
    pub(super) async fn upload<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &Map<String, Value>,
        upload: Upload<'_>,
    ) -> Result<T, Failure> {
        let mut form = Form::new();
        for (name, value) in parameters {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            form = form.text(name.clone(), text);
        }
        let file = Part::bytes(upload.bytes).file_name(upload.file_name.to_owned());
        let file = file.mime_str(upload.mime_type).map_err(|error| Failure::NotSent(error.to_string()))?;
        self.ask(self.client.post(self.url(method)).multipart(form.part(upload.field.to_owned(), file))).await
    }

    /// Fetches a file that the Bot API holds.
    pub(super) async fn download(&self, file_path: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        if file_path.contains("..") || file_path.contains(['?', '#']) {
            return Err(Failure::Refused { code: 400, description: "the path of the file is unusable".to_owned(), retry_after: None });
        }
        let url = format!("{}/file/bot{}/{}", self.root, self.token.expose(), file_path.trim_start_matches('/'));
        let response = self.client.get(url).send().await.map_err(not_answered)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure::Refused { code: status.as_u16(), description: "the file is not there".to_owned(), retry_after: None });
        }
        if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |length| length > bytes_max)) {
            return Err(Failure::TooLarge(bytes_max));
        }
        read(response, bytes_max).await
    }

    fn url(&self, method: &str) -> String {
        format!("{}/bot{}/{method}", self.root, self.token.expose())
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = request.send().await.map_err(not_answered)?;
        let status = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
        let body = read(response, ANSWER_BYTES_MAX).await;
        let answer = body.and_then(|body| {
            serde_json::from_slice(&body).map_err(|error| Failure::NotAnswered(format!("status {status}, not JSON: {error}")))
        });
        let answer: Answer = match answer {
            Ok(answer) => answer,
            // Who says so in between has not passed the call on.
            Err(_) if status == 429 => {
                let description = "Too Many Requests".to_owned();
                return Err(Failure::Refused { code: 429, description, retry_after: header.map(Duration::from_secs) });
            }
            Err(failure) => return Err(failure),
        };
        if !answer.ok {
            let after = answer.parameters.and_then(|parameters| parameters.retry_after).or(header);
            return Err(Failure::Refused {
                code: answer.error_code.unwrap_or(status),
                description: answer.description.unwrap_or_else(|| "refused without a reason".to_owned()),
                retry_after: after.map(Duration::from_secs),
            });
        }
        serde_json::from_value(answer.result.unwrap_or_default()).map_err(|error| Failure::NotAnswered(error.to_string()))
    }
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(not_answered)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Failure::TooLarge(bytes_max));
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
    /// Whether the Bot API refused a call with such words.
    pub(super) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused { code: 400 | 403, description, .. } if description.to_lowercase().contains(words))
    }

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
            Self::Refused { .. } | Self::TooLarge(_) => Refusal::Never(reason),
            Self::NotAnswered(_) => Refusal::Unknown(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one call with a body that has no end, and returns how much of it was taken.
    async fn endless(status: &str) -> (Failure, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n");
        let profile: Profile = serde_json::from_value(serde_json::json!({"apiRoot": root})).unwrap();
        let api = Api::new(Secret::new("1:x".to_owned()), &profile).unwrap();
        let answering = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4_096];
            assert!(socket.read(&mut asked).await.unwrap() > 0);
            socket.write_all(head.as_bytes()).await.unwrap();
            let (piece, mut taken) = (vec![b' '; 64 << 10], 0);
            while socket.write_all(&piece).await.is_ok() {
                taken += piece.len();
            }
            taken
        };
        let parameters = Value::Object(Map::new());
        let (failed, taken) = tokio::join!(api.call::<Value>("getMe", &parameters), answering);
        (failed.unwrap_err(), taken)
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_read_to_its_limit_whatever_its_status() {
        drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
        for status in ["200 OK", "500 Internal Server Error"] {
            let (failure, taken) = endless(status).await;
            assert!(matches!(failure, Failure::TooLarge(ANSWER_BYTES_MAX)), "{status}: {failure}");
            // The rest is what both ends of a connection hold in between.
            assert!(taken < 3 * ANSWER_BYTES_MAX, "{status}: {taken}");
        }
        let (failure, _) = endless("429 Too Many Requests").await;
        assert!(matches!(failure, Failure::Refused { code: 429, .. }), "{failure}");
    }
}
