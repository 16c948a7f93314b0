//! Lets in the calls that the contract allows: from a process that proves who it is, on behalf of nobody but whom the edge or the channel
//! service has let in.
//!
//! A process that was not given a credential (alone, or in a test) lets everybody in who reaches its Unix socket. Who comes over TCP has
//! a certificate, and makes the calls of the service that it names.

mod checked;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ed25519_dalek::VerifyingKey;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Layer, Service};
use tracing::warn;
use verso_proto::wire::v1::{CallerToken, Certificate, Principal, PrincipalToken};
use verso_proto::{GENERATION, methods};

use crate::clock::Clock;
use crate::credential::{self, Credential, TOKEN_LIFE_MS};
use crate::error::{DOMAIN, WireCode};
use crate::links::From;
use crate::principal::{self, Vouched};
use checked::Checked;

/// Says who calls.
pub(crate) const CALLER_KEY: &str = "verso-caller-bin";

/// Says which generation of the contract the caller speaks; absent, the present one.
pub(crate) const GENERATION_KEY: &str = "verso-generation";

/// What every path of ours begins with.
const OURS: &str = "/verso.";

/// How long an edge goes on beside the one that has taken its place, in milliseconds: the longest drain and a little more.
const OVERLAP_MS: i64 = 330_000;

/// The process whose incarnations overlap.
const EDGE: &str = "edge";

/// The processes that let clients and senders in.
const VOUCHERS: [&str; 2] = [EDGE, "channel"];

/// The one door of a process.
#[derive(Debug)]
pub(super) struct Gate {
    service: &'static str,
    /// None: everybody may call.
    authority: Option<VerifyingKey>,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    callers: Checked<(Arc<Certificate>, i64)>,
    principals: Checked<(Arc<Certificate>, Vouched)>,
    /// The newest incarnation of each process, and since when it is known, in milliseconds since 1970.
    newest: HashMap<String, (u64, i64)>,
}

impl Gate {
    pub(super) fn new(service: &'static str, credential: Option<&Credential>, clock: Clock) -> Self {
        Self { service, authority: credential.map(Credential::authority), clock, known: Mutex::default() }
    }

    /// Checks one call; returns on whose behalf it is.
    fn check(&self, path: &str, headers: &HeaderMap, certified: Option<&'static str>) -> Result<Option<Vouched>, Status> {
        if path.starts_with(OURS) {
            self.same_generation(headers)?;
        }
        let Some(callers) = methods::callers(path) else { return Ok(None) };
        // The certificate of its connection says who it is: the calls are the same.
        if let Some(caller) = certified.filter(|caller| !callers.contains(caller)) {
            return Err(Status::permission_denied(format!("{caller} may not call {path}")));
        }
        let token = headers.get(principal::KEY).map(HeaderValue::as_bytes);
        let Some(authority) = &self.authority else { return token.map(unchecked).transpose() };
        let presented = headers.get(CALLER_KEY).map(HeaderValue::as_bytes);
        let presented = presented.ok_or_else(|| Status::unauthenticated("this socket is for processes of the gateway"))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.now_ms();
        let caller = known.caller(authority, self.service, presented, now_ms)?;
        if !callers.contains(&caller.process.as_str()) {
            return Err(Status::permission_denied(format!("{} may not call {path}", caller.process)));
        }
        token.map(|token| known.principal(authority, token, now_ms)).transpose()
    }
}

impl Gate {
    fn same_generation(&self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(spoken) = headers.get(GENERATION_KEY).filter(|spoken| *spoken != GENERATION) else { return Ok(()) };
        let message = format!(
            "the {} service speaks generation {GENERATION} of the contract and its caller {}: run the same version of verso everywhere",
            self.service,
            spoken.to_str().unwrap_or("another")
        );
        let details = ErrorDetails::with_error_info(WireCode::Unavailable.as_str(), DOMAIN, HashMap::new());
        Err(Status::with_error_details(Code::FailedPrecondition, message, details))
    }
}

impl Known {
    fn caller(&mut self, authority: &VerifyingKey, service: &str, presented: &[u8], now_ms: i64) -> Result<Arc<Certificate>, Status> {
        let refused = || Status::unauthenticated("the caller is not who it says it is");
        let (certificate, issued_at_ms) = if let Some(checked) = self.callers.get(presented, now_ms) {
            checked
        } else {
            let token: CallerToken = decoded(presented).ok_or_else(refused)?;
            let certificate = credential::check_caller(authority, &token).filter(|_| token.audience == service).ok_or_else(refused)?;
            let checked = (Arc::new(certificate), token.issued_at_ms);
            self.callers.insert(presented, checked.clone());
            checked
        };
        if (now_ms - issued_at_ms).abs() > TOKEN_LIFE_MS {
            return Err(refused());
        }
        self.admit(&certificate, now_ms)?;
        Ok(certificate)
    }

    fn principal(&mut self, authority: &VerifyingKey, token: &[u8], now_ms: i64) -> Result<Vouched, Status> {
        let refused = || Status::unauthenticated("nobody vouches for whom the call is made for");
        if let Some((certificate, vouched)) = self.principals.get(token, now_ms) {
            return self.admit(&certificate, now_ms).map(|()| vouched);
        }
        let read: PrincipalToken = decoded(token).ok_or_else(refused)?;
        let certificate = credential::check_principal(authority, &read).ok_or_else(refused)?;
        if !VOUCHERS.contains(&certificate.process.as_str()) {
            return Err(refused());
        }
        self.admit(&certificate, now_ms)?;
        let vouched = vouched(&read)?;
        self.principals.insert(token, (Arc::new(certificate), vouched.clone()));
        Ok(vouched)
    }

    /// Whether the incarnation has not been replaced.
    fn admit(&mut self, certificate: &Certificate, now_ms: i64) -> Result<(), Status> {
        let Certificate { process, epoch, .. } = certificate;
        match self.newest.get_mut(process) {
            Some((newest, since)) if epoch < newest => {
                let overlaps = process == EDGE && now_ms - *since < OVERLAP_MS;
                if overlaps { Ok(()) } else { Err(Status::unauthenticated(format!("another {process} has taken this one's place"))) }
            }
            Some((newest, since)) => {
                if epoch > newest {
                    (*newest, *since) = (*epoch, now_ms);
                }
                Ok(())
            }
            None => {
                self.newest.insert(process.clone(), (*epoch, now_ms));
                Ok(())
            }
        }
    }
}

fn decoded<M: prost::Message + Default>(value: &[u8]) -> Option<M> {
    M::decode(STANDARD_NO_PAD.decode(value).ok()?.as_slice()).ok()
}

/// Takes a principal from a caller who need not prove anything.
fn unchecked(token: &[u8]) -> Result<Vouched, Status> {
    let read: PrincipalToken = decoded(token).ok_or_else(|| Status::invalid_argument("not a principal"))?;
    vouched(&read)
}

fn vouched(read: &PrincipalToken) -> Result<Vouched, Status> {
    let principal = Principal::decode(read.principal.as_slice()).map_err(|_| Status::invalid_argument("not a principal"))?;
    Ok(Vouched::received(principal, read))
}

#[derive(Debug, Clone)]
pub(super) struct GateLayer(pub(super) Arc<Gate>);

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: Arc::clone(&self.0) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Gated<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S, B, R> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let certified = request.extensions().get::<From>().and_then(|from| from.service);
        match self.gate.check(request.uri().path(), request.headers(), certified) {
            Ok(vouched) => {
                if let Some(vouched) = vouched {
                    request.extensions_mut().insert(vouched);
                }
                Box::pin(self.inner.call(request))
            }
            Err(status) => {
                warn!(service = self.gate.service, path = request.uri().path(), reason = status.message(), "refused a call");
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests;
