//! From request to response.

use std::convert::Infallible;
use std::io::{self, Read as _};
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

use crate::a2ui::page;
use crate::access::{Access, Denied};
use crate::document;
use crate::inject;
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

/// A page above this size, in bytes, is sent as it is: scripts are put into what is drawn, not into what is stored.
const PAGE_BYTES_MAX: u64 = 8 << 20;

/// On every response. What an agent draws changes all the time, and may be anything.
const HEADERS: [(HeaderName, &str); 3] =
    [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::REFERRER_POLICY, "no-referrer")];

/// For what has no policy of its own.
pub(crate) const POLICY: &str = "frame-ancestors 'self'";

/// Answers requests for the files of one folder. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    root: Root,
    access: Access,
    live_reload: bool,
    answered: Arc<AtomicU64>,
}

impl Site {
    /// Serves the files of `root` to those whom `access` admits.
    pub(crate) fn new(root: Root, access: Access, live_reload: bool) -> Self {
        Self { root, access, live_reload, answered: Arc::default() }
    }

    /// Returns how many requests were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Returns the folder.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Answers one request of `peer`, if it may look.
    pub(crate) async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Result<Response<Body>, Infallible> {
        let response = match self.access.check(peer, request.headers()) {
            // Whoever watches over the process comes from anywhere.
            _ if Route::read(request.uri().path()) == Route::Health => self.admitted(request).await,
            Ok(()) => self.admitted(request).await,
            Err(denied) => self.dress(refused(denied)),
        };
        Ok(response)
    }

    /// Answers one request of somebody who may look.
    pub(crate) async fn admitted<B>(&self, request: Request<B>) -> Response<Body> {
        let (parts, _) = request.into_parts();
        let response = self.route(Request::from_parts(parts, ())).await;
        self.dress(response)
    }

    /// Says whether a page may have a socket; the response says why not.
    pub(crate) fn admits_socket<B>(&self, request: &Request<B>, peer: IpAddr) -> Option<Response<Body>> {
        let denied = self.access.check(peer, request.headers()).err().map(refused);
        denied.or_else(|| (!self.live_reload).then(|| whole(StatusCode::NOT_FOUND, TEXT, "not found"))).map(|response| self.dress(response))
    }

    fn dress(&self, mut response: Response<Body>) -> Response<Body> {
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.headers_mut().entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
        self.answered.fetch_add(1, Ordering::Relaxed);
        response
    }

    async fn route(&self, request: Request<()>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match Route::read(request.uri().path()) {
            Route::Health => whole(StatusCode::OK, JSON, r#"{"ok":true,"status":"live"}"#),
            Route::File(place) => self.file(place, request).await,
            Route::A2ui(name) => a2ui(name.as_deref(), &request),
            Route::Reload if self.live_reload => {
                let mut response = whole(StatusCode::UPGRADE_REQUIRED, TEXT, "upgrade required");
                response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                response
            }
            Route::Reload => whole(StatusCode::NOT_FOUND, TEXT, "not found"),
            Route::Nothing => whole(StatusCode::NOT_FOUND, TEXT, "Not Found"),
            Route::Malformed => whole(StatusCode::BAD_REQUEST, TEXT, "Bad Request"),
        }
    }

    async fn file(&self, place: Place, request: Request<()>) -> Response<Body> {
        let (root, folder) = (self.root.clone(), place.folder);
        let opening = move || -> io::Result<Option<(Opened, Option<document::Document>)>> {
            let document = document::Document::of(&root, &place)?;
            Ok(root.open(&place)?.map(|opened| (opened, document)))
        };
        let opened = tokio::task::spawn_blocking(opening).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        let sent = match opened {
            Ok(Some((opened, None))) if is_page(&opened) => self.page(opened, request.method() == Method::HEAD).await,
            Ok(Some((opened, document))) => send(&opened, request).await.map(|response| document::confine(response, document.as_ref())),
            Ok(None) if folder => return whole(StatusCode::NOT_FOUND, HTML, NO_PAGE),
            Ok(None) => return whole(StatusCode::NOT_FOUND, TEXT, "not found"),
            Err(error) => Err(error),
        };
        sent.unwrap_or_else(|error| {
            error!(error = &error as &dyn std::error::Error, "canvas file unreadable");
            whole(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "Internal Server Error")
        })
    }

    /// Sends a page with what every page gets.
    async fn page(&self, opened: Opened, head: bool) -> io::Result<Response<Body>> {
        let live_reload = self.live_reload;
        let reading = move || -> io::Result<Vec<u8>> {
            let mut html = Vec::new();
            std::fs::File::from(opened.file).take(PAGE_BYTES_MAX).read_to_end(&mut html)?;
            Ok(inject::into_html(&html, live_reload))
        };
        let html = tokio::task::spawn_blocking(reading).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))?;
        let length = html.len();
        let mut response = whole(StatusCode::OK, HTML, if head { Vec::new() } else { html });
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        Ok(response)
    }
}

fn is_page(opened: &Opened) -> bool {
    mime::of(&opened.name) == HTML
        && rustix::fs::fstat(&opened.file).is_ok_and(|facts| u64::try_from(facts.st_size).is_ok_and(|size| size <= PAGE_BYTES_MAX))
}

fn refused(denied: Denied) -> Response<Body> {
    match denied {
        Denied::Remote => whole(StatusCode::UNAUTHORIZED, JSON, UNAUTHORIZED),
        Denied::ForeignHost => whole(StatusCode::FORBIDDEN, TEXT, "Forbidden"),
    }
}

/// A file of the page that shows surfaces. Its parts lie beside it, so it is asked for as a folder.
fn a2ui(name: Option<&str>, request: &Request<()>) -> Response<Body> {
    let Some(name) = name else {
        let mut response = whole(StatusCode::PERMANENT_REDIRECT, TEXT, "");
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(to) = HeaderValue::try_from(format!("a2ui/{query}")) {
            response.headers_mut().insert(header::LOCATION, to);
        }
        return response;
    };
    let Some((kind, text)) = page::file(name) else { return whole(StatusCode::NOT_FOUND, TEXT, "not found") };
    let mut response = whole(StatusCode::OK, kind, if request.method() == Method::HEAD { "" } else { text });
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    response
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

fn whole(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let text = text.into();
    let length = text.len();
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
