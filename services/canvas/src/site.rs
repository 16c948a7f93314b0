//! From request to response.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tower_http::services::ServeFile;
use tracing::error;

use crate::access::{Access, Denied};
use crate::mime;
use crate::root::{Opened, Root};
use crate::route::{Place, Route};

/// The body of a response.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

const UNAUTHORIZED: &str = r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#;

const NO_PAGE: &str = "<!doctype html>\n<meta charset=\"utf-8\">\n<title>No page here</title>\n\
    <p>There is no <code>index.html</code> at this place of the canvas yet.</p>\n";

/// On every response. What an agent draws changes all the time, and may be anything.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'self'"),
];

/// Answers requests for the files of one folder. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    root: Root,
    access: Access,
    answered: Arc<AtomicU64>,
}

impl Site {
    /// Serves the files of `root` to those whom `access` admits.
    pub(crate) fn new(root: Root, access: Access) -> Self {
        Self { root, access, answered: Arc::default() }
    }

    /// Returns how many requests were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Returns the folder.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Answers one request of `peer`.
    pub(crate) async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Result<Response<Body>, Infallible> {
        let (parts, _) = request.into_parts();
        let mut response = self.route(Request::from_parts(parts, ()), peer).await;
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(response)
    }

    async fn route(&self, request: Request<()>, peer: IpAddr) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let route = Route::read(request.uri().path());
        if route == Route::Health {
            return whole(StatusCode::OK, JSON, r#"{"ok":true,"status":"live"}"#);
        }
        match self.access.check(peer, request.headers()) {
            Ok(()) => {}
            Err(Denied::Remote) => return whole(StatusCode::UNAUTHORIZED, JSON, UNAUTHORIZED),
            Err(Denied::ForeignHost) => return whole(StatusCode::FORBIDDEN, TEXT, "Forbidden"),
        }
        match route {
            Route::File(place) => self.file(place, request).await,
            Route::A2ui => whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, "A2UI assets not found"),
            Route::Reload => whole(StatusCode::NOT_FOUND, TEXT, "not found"),
            Route::Nothing | Route::Health => whole(StatusCode::NOT_FOUND, TEXT, "Not Found"),
            Route::Malformed => whole(StatusCode::BAD_REQUEST, TEXT, "Bad Request"),
        }
    }

    async fn file(&self, place: Place, request: Request<()>) -> Response<Body> {
        let (root, folder) = (self.root.clone(), place.folder);
        let opened = tokio::task::spawn_blocking(move || root.open(&place)).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        let sent = match opened {
            Ok(Some(opened)) => send(&opened, request).await,
            Ok(None) if folder => return whole(StatusCode::NOT_FOUND, HTML, NO_PAGE),
            Ok(None) => return whole(StatusCode::NOT_FOUND, TEXT, "not found"),
            Err(error) => Err(error),
        };
        sent.unwrap_or_else(|error| {
            error!(error = &error as &dyn std::error::Error, "canvas file unreadable");
            whole(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "Internal Server Error")
        })
    }
}

/// Sends an open file: all of it, a range, or only that it did not change.
async fn send(opened: &Opened, request: Request<()>) -> io::Result<Response<Body>> {
    // By its descriptor: the name may be another file's by now.
    let path = format!("/dev/fd/{}", opened.file.as_raw_fd());
    let response = ServeFile::new(path).ignore_multi_range_requests(true).try_call(request).await?;
    let mut response = response.map(BodyExt::boxed_unsync);
    if let Some(kind) = response.headers_mut().get_mut(header::CONTENT_TYPE) {
        *kind = HeaderValue::from_static(mime::of(&opened.name));
    }
    Ok(response)
}

fn whole(status: StatusCode, kind: &'static str, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    response
}
