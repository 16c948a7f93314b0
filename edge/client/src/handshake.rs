//! From the socket to the hello.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use verso_proto::edge::v1::{ConnectRequest, DeviceProof};
use verso_protocol::auth::{PayloadVersion, SigningFields};
use verso_protocol::limits::PAYLOAD_BYTES_MAX;

use crate::connection::{Answer, Closed, Inbound};
use crate::{CallError, DeviceToken, Error, Event, Identity, Options, tls};

/// Events that may arrive before the hello.
const EARLY_EVENTS_MAX: usize = 64;
/// The id of the `connect` request; later requests count from 1.
const CONNECT_ID: &str = "0";

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the gateway said when it let the client in.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The whole `hello-ok`.
    pub payload: Value,
    /// The negotiated protocol.
    pub protocol: u32,
    /// The gateway's version.
    pub server_version: String,
    /// The id of this connection.
    pub conn_id: String,
    /// Methods that the gateway lists.
    pub methods: Vec<String>,
    /// Between two `tick` events, in milliseconds.
    pub tick_interval_ms: u64,
    /// Largest frame that the gateway reads, in bytes.
    pub payload_bytes_max: u64,
    /// The token for this device, if one was issued.
    pub device_token: Option<String>,
    /// What was granted; none if the gateway does not say.
    pub scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Challenge {
    nonce: String,
    ts: i64,
}

/// Opens a socket and gets in: with the stored token of this device if there is one, and without it if the gateway no longer takes
/// it. Returns also the events that came before the hello.
pub(crate) async fn enter(options: &Options) -> Result<(Socket, Hello, Vec<Event>), Error> {
    let kept = options.identity.as_ref().zip(options.device_tokens.as_ref());
    let stored = kept.and_then(|(identity, tokens)| tokens.load(&identity.device_id(), &options.role));
    let mut result = attempt(&present(options, stored.as_ref())).await;
    if let (Some((identity, tokens)), Some(_), Err(Error::Refused(refused))) = (kept, &stored, &result)
        && is_stale(options, refused)
    {
        if let Err(error) = tokens.clear(&identity.device_id(), &options.role) {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not forget a device token");
        }
        if options.token.is_some() || options.password.is_some() {
            result = attempt(options).await;
        }
    }
    if let (Some((identity, tokens)), Ok((_, hello, _))) = (kept, &result)
        && let Some(token) = &hello.device_token
    {
        let scopes = hello.scopes.clone().unwrap_or_default();
        if let Err(error) = tokens.store(&identity.device_id(), &options.role, token, &scopes) {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not keep a device token");
        }
    }
    result
}

/// A gateway that speaks only 3 takes the device's token in the place of the shared one; a newer one takes both.
fn present(options: &Options, stored: Option<&DeviceToken>) -> Options {
    let mut options = options.clone();
    match stored {
        Some(stored) if *options.protocol.end() < 4 => options.token = Some(stored.token.clone()),
        Some(stored) => options.device_token = options.device_token.or_else(|| Some(stored.token.clone())),
        None => {}
    }
    options
}

/// Whether a refusal is about the device's token. One that stood in the place of the shared token is refused like that one.
fn is_stale(options: &Options, refused: &CallError) -> bool {
    let code = refused.details.as_ref().and_then(|details| details.get("code")?.as_str());
    let in_place_of_shared = *options.protocol.end() < 4 && refused.message.contains("token mismatch");
    code == Some("AUTH_DEVICE_TOKEN_MISMATCH") || refused.message.contains("device token mismatch") || in_place_of_shared
}

async fn attempt(options: &Options) -> Result<(Socket, Hello, Vec<Event>), Error> {
    let mut socket = open(options).await?;
    let (hello, early) = greet(&mut socket, options).await?;
    Ok((socket, hello, early))
}

/// Opens the socket. The message limit is the one of the protocol, whatever the gateway advertises later.
async fn open(options: &Options) -> Result<Socket, Error> {
    let url = shown(&options.url);
    let scheme = options.url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let connector = match scheme.as_deref() {
        Some("ws") => Connector::Plain,
        Some("wss") => Connector::Rustls(Arc::new(tls::config(options.trust)?)),
        _ => return Err(Error::InvalidUrl { url }),
    };
    let request = upgrade(options).map_err(|_| Error::InvalidUrl { url: url.clone() })?;
    let config = WebSocketConfig::default().max_message_size(Some(PAYLOAD_BYTES_MAX)).max_frame_size(Some(PAYLOAD_BYTES_MAX));
    let opened = connect_async_tls_with_config(request, Some(config), true, Some(connector)).await;
    opened.map(|(socket, _)| socket).map_err(|source| Error::Unreachable { url, source: Box::new(source) })
}

fn upgrade(options: &Options) -> Result<Request<()>, tungstenite::Error> {
    let mut request = options.url.as_str().into_client_request()?;
    for (name, value) in &options.headers {
        let name: HeaderName = name.parse().map_err(tungstenite::http::Error::from)?;
        let value: HeaderValue = value.parse().map_err(tungstenite::http::Error::from)?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// The address without what may be secret in it.
fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => bare.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// Waits for the challenge, answers it, and waits for the hello. Returns also the events that came before it.
async fn greet(socket: &mut Socket, options: &Options) -> Result<(Hello, Vec<Event>), Error> {
    let challenge = loop {
        match receive(socket).await? {
            Inbound::Event(event) if event.name == "connect.challenge" => {
                let challenge = Challenge::deserialize(&event.payload);
                break challenge.map_err(|_| Error::Protocol { what: "its challenge has no nonce and time" })?;
            }
            Inbound::Event(_) | Inbound::Unknown => {}
            Inbound::Answer(_) => return Err(Error::Protocol { what: "it answered before it was asked" }),
        }
    };
    let frame = connect_frame(options, &challenge)?;
    if let Err(error) = socket.send(Message::text(frame)).await {
        return Err(Error::Unreachable { url: shown(&options.url), source: Box::new(error) });
    }
    let mut early = Vec::new();
    loop {
        match receive(socket).await? {
            Inbound::Event(event) if early.len() < EARLY_EVENTS_MAX => early.push(event),
            Inbound::Event(_) => return Err(Error::Protocol { what: "it sent many events before its hello" }),
            Inbound::Answer(Answer { id, result }) if id == CONNECT_ID => {
                let payload = result.map_err(Error::Refused)?;
                return Ok((Hello::read(payload)?, early));
            }
            Inbound::Answer(_) | Inbound::Unknown => {}
        }
    }
}

async fn receive(socket: &mut Socket) -> Result<Inbound, Error> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(Inbound::read(&text)),
            Some(Ok(Message::Close(frame))) => return Err(Error::Closed(Closed::by_peer(frame))),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(Error::Closed(Closed::lost())),
        }
    }
}

fn connect_frame(options: &Options, challenge: &Challenge) -> Result<String, Error> {
    let mut request = options.request();
    if let Some(identity) = &options.identity {
        request.device = Some(prove(identity, &request, challenge));
    }
    let frame = serde_json::json!({"type": "req", "id": CONNECT_ID, "method": "connect", "params": request});
    // `json!` of a request that its own crate can write does not fail, but it hides a failure as null.
    if frame["params"].is_null() { Err(Error::Protocol { what: "connect could not be written" }) } else { Ok(frame.to_string()) }
}

/// Signs the challenge, with the gateway's own time: the client's clock may be wrong.
fn prove(identity: &Identity, request: &ConnectRequest, challenge: &Challenge) -> DeviceProof {
    let mut proof = DeviceProof {
        id: identity.device_id(),
        public_key: identity.public_key(),
        signature: String::new(),
        signed_at_ms: challenge.ts,
        nonce: Some(challenge.nonce.clone()),
    };
    // A gateway that speaks only 3 knows no newer text.
    let version = if request.max_protocol < 4 { PayloadVersion::V2 } else { PayloadVersion::V3 };
    proof.signature = identity.sign(&SigningFields::of(request, &proof).payload(version));
    proof
}

impl Hello {
    fn read(payload: Value) -> Result<Self, Error> {
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let number = |pointer: &str| payload.pointer(pointer).and_then(Value::as_u64);
        let texts = |pointer: &str| {
            let items = payload.pointer(pointer)?.as_array()?.iter();
            Some(items.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
        };
        if text("/type").as_deref() != Some("hello-ok") {
            return Err(Error::Protocol { what: "its answer to connect is no hello" });
        }
        let protocol = number("/protocol").and_then(|number| u32::try_from(number).ok());
        Ok(Self {
            protocol: protocol.ok_or(Error::Protocol { what: "its hello names no protocol" })?,
            server_version: text("/server/version").unwrap_or_default(),
            conn_id: text("/server/connId").unwrap_or_default(),
            methods: texts("/features/methods").unwrap_or_default(),
            tick_interval_ms: number("/policy/tickIntervalMs").unwrap_or(verso_protocol::limits::TICK_INTERVAL_MS),
            payload_bytes_max: number("/policy/maxPayload").unwrap_or(PAYLOAD_BYTES_MAX as u64),
            device_token: text("/auth/deviceToken"),
            scopes: texts("/auth/scopes"),
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_16_an_address_is_shown_without_its_secrets() {
        assert_eq!(shown("ws://user:pw@host:1/path?token=s#t"), "ws://host:1/path");
        assert_eq!(shown("host?token=s"), "host");
    }
}
