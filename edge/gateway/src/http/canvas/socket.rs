//! The socket of an open page: it is told what the canvas service has to say, and says what its user did.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use http::Uri;
use http::header::HeaderMap;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};
use tonic::{Code, Status};
use verso_kit::error::made_by_service;
use verso_kit::page;
use verso_kit::peer::{Answers, Backoff, Caller};
use verso_proto::canvas::v1::{ActRequest, WatchRequest, WatchResponse};
use verso_proto::methods::Call as _;
use verso_protocol::close::Close;

use super::{Target, admit};
use crate::capabilities::Grant;
use crate::gateway::Gateway;
use crate::http::Asked;
use crate::http::errors::Refusal;
use crate::tls::Stream;

/// How much a page may say at once, in bytes.
const HEARD_BYTES_MAX: usize = 64 << 10;

/// Read and write buffer of one socket, in bytes.
const BUFFER_BYTES: usize = 2 << 10;

/// How often an open page uses its secret address, so that both live on.
const USE: Duration = Duration::from_mins(1);

type Socket = WebSocketStream<Stream>;

/// A page that may have a socket.
#[derive(Debug)]
pub(crate) struct Page {
    /// The secret that it came by, and what that is good for.
    granted: Option<(String, Grant)>,
    /// The session whose surfaces it shows.
    session: Option<String>,
}

/// Lets a page in, or says why not.
pub(crate) async fn enter(gateway: &Gateway, asked: &Asked, headers: &HeaderMap, uri: &Uri) -> Result<Page, Response> {
    welcome(gateway, asked, headers, uri).await.map_err(IntoResponse::into_response)
}

async fn welcome(gateway: &Gateway, asked: &Asked, headers: &HeaderMap, uri: &Uri) -> Result<Page, Refusal> {
    let target = Target::read(uri)?;
    let grant = admit(gateway, asked, headers, &target).await?;
    let wanted = target.session();
    // Any site's page can open a socket here. That files change may be known; what is drawn in a conversation may not.
    if grant.is_none() && wanted.is_some() && !page::is_own(headers) {
        return Err(Refusal::ForeignPage);
    }
    let session = wanted.map(|wanted| grant.as_ref().map_or(wanted, |grant| grant.session_key.clone()));
    Ok(Page { granted: target.capability.zip(grant), session })
}

impl Page {
    /// Tells the page what there is to tell until one of them goes.
    pub(crate) async fn run(self, gateway: &Gateway, stream: Stream, early: Bytes) {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_message_size(Some(HEARD_BYTES_MAX))
            .max_frame_size(Some(HEARD_BYTES_MAX));
        let mut socket = WebSocketStream::from_partially_read(stream, early.to_vec(), Role::Server, Some(config)).await;
        let shutdown = gateway.tasks.shutdown().clone();
        let ending = shutdown.run_until_cancelled(self.serve(gateway, &mut socket)).await.unwrap_or(Some(Close::SERVICE_RESTART));
        if let Some(Close { code, reason }) = ending {
            let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from(reason.to_string()) };
            // A page that is gone already cannot be told.
            drop(socket.close(Some(frame)).await);
        }
    }

    /// Serves the page; a canvas service that restarts is waited for. Returns how the socket is to be closed, if it is open still.
    async fn serve(&self, gateway: &Gateway, socket: &mut Socket) -> Option<Close> {
        let mut backoff = Backoff::default();
        loop {
            match self.watch(gateway).await {
                Ok(mut frames) => {
                    backoff.reset();
                    match self.pass_on(gateway, socket, &mut frames).await {
                        Ended::Gone => return None,
                        Ended::Expired => return Some(Close::NORMAL),
                        Ended::Broken => {}
                    }
                }
                // There is nothing to be told of: live reload is off, or the canvas is.
                Err(status) if made_by_service(&status) || matches!(status.code(), Code::NotFound | Code::ResourceExhausted) => {
                    return Some(Close::NORMAL);
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    async fn watch(&self, gateway: &Gateway) -> Result<Answers<WatchResponse>, Status> {
        let peer = gateway.services.of(WatchRequest::METHOD.service)?;
        peer.open(&WatchRequest { session_key: self.session.clone() }, &Caller::default()).await
    }

    async fn pass_on(&self, gateway: &Gateway, socket: &mut Socket, frames: &mut Answers<WatchResponse>) -> Ended {
        let mut uses = interval(USE);
        uses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = frames.next() => {
                    let Ok(Some(WatchResponse { frame })) = frame else { return Ended::Broken };
                    if socket.send(Message::text(frame)).await.is_err() {
                        return Ended::Gone;
                    }
                }
                heard = socket.next() => match heard {
                    Some(Ok(Message::Text(text))) => {
                        let answer = json!({"actionStatus": self.act(gateway, &text).await});
                        if socket.send(Message::text(answer.to_string())).await.is_err() {
                            return Ended::Gone;
                        }
                    }
                    // Pings are answered on the way.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Ended::Gone,
                },
                _ = uses.tick() => if !self.still_granted(gateway).await { return Ended::Expired },
            }
        }
    }

    /// Passes on what the user did; the answer is for the page.
    async fn act(&self, gateway: &Gateway, text: &str) -> Value {
        let id = || serde_json::from_str::<Value>(text).ok().map(|said| said["userAction"]["id"].clone()).unwrap_or_default();
        let failed = |why: &str| json!({"id": id(), "ok": false, "error": why});
        let still_granted = self.still_granted(gateway).await;
        let granted = self.granted.as_ref().filter(|_| still_granted);
        let Some((_, grant)) = granted else {
            return failed("this page may show but not act: open it by an address of canvas.open");
        };
        let Some(session) = &self.session else { return failed("this page shows no session") };
        let request = ActRequest { session_key: session.clone(), message_json: text.to_owned() };
        let caller = Caller { principal: Some(gateway.context.vouch(grant.principal.clone())), trace: None };
        let acted = match gateway.services.of(ActRequest::METHOD.service) {
            Ok(peer) => peer.call(request, &caller).await,
            Err(status) => Err(status),
        };
        match acted {
            Ok(done) => match done.error {
                None => json!({"id": done.id, "ok": true}),
                Some(why) => json!({"id": done.id, "ok": false, "error": why}),
            },
            Err(status) => failed(status.message()),
        }
    }

    /// Uses the secret address; false when it does not work any more.
    async fn still_granted(&self, gateway: &Gateway) -> bool {
        match &self.granted {
            Some((token, _)) => gateway.canvas_grant(token).await.is_some(),
            None => true,
        }
    }
}

/// Why frames are no longer passed on.
enum Ended {
    /// The page went.
    Gone,
    /// Its secret address does not work any more.
    Expired,
    /// The canvas service went.
    Broken,
}
