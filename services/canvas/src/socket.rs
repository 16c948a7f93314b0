//! The sockets of open pages on the canvas's own port: they are told things, and are not listened to.

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use verso_kit::page;
use verso_kit::tasks::Tasks;

use crate::actions::Sessions;
use crate::live::Live;
use crate::site::Body;

/// How much a page may say at once, in bytes. Nothing that it says here counts.
const HEARD_BYTES_MAX: usize = 64 << 10;

/// Which session a page asks for: `?session=…`.
const SESSION: &str = "session";

/// Opens a page's socket and tells it what there is to tell until one of them goes.
pub(crate) fn open<B>(mut request: Request<B>, live: &Live, sessions: &Sessions, tasks: &Tasks) -> Response<Body> {
    let session = session(request.uri());
    // Any site's page can open a socket here; what is drawn in a conversation is not for all of them.
    if session.is_some() && !page::is_own(request.headers()) {
        return empty(StatusCode::FORBIDDEN);
    }
    let version = request.headers().get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| version) else { return empty(StatusCode::BAD_REQUEST) };
    let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) else { return empty(StatusCode::BAD_REQUEST) };
    let upgraded = hyper::upgrade::on(&mut request);
    let (live, sessions, shutdown) = (live.clone(), sessions.clone(), tasks.shutdown().clone());
    tasks.spawn("canvas page", async move {
        let Ok(upgraded) = upgraded.await else { return };
        let limits = WebSocketConfig::default().max_message_size(Some(HEARD_BYTES_MAX)).max_frame_size(Some(HEARD_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
        let session = match session {
            Some(session) => match sessions.canonical(Some(session)).await {
                Ok(session) => Some(session),
                Err(_) => return,
            },
            None => None,
        };
        shutdown.run_until_cancelled(tell(socket, &live, session)).await;
    });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn tell(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, live: &Live, session: Option<String>) {
    let Some(frames) = live.watch(session) else { return };
    let mut frames = std::pin::pin!(frames);
    loop {
        tokio::select! {
            frame = frames.next() => {
                let Some(frame) = frame else { return };
                if socket.send(Message::Text(Utf8Bytes::from(&*frame))).await.is_err() {
                    return;
                }
            }
            // Pings are answered on the way.
            heard = socket.next() => if !matches!(heard, Some(Ok(_))) { return },
        }
    }
}

/// Reads which session's surfaces are wanted.
pub(crate) fn session(uri: &Uri) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(name, _)| *name == SESSION)?;
    page::decode(value)
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
