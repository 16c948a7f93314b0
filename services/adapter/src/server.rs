//! Being an adapter: the contract served on the socket that was handed over.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use subtle::ConstantTimeEq as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};
use tracing::{Span, debug_span};
use verso_kit::CancellationToken;
use verso_kit::grpc::TracingLayer;
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_kit::trace::TraceContext;
use verso_proto::adapter::v1::adapter_server::{Adapter, AdapterServer};
use verso_proto::adapter::v1::{HelloRequest, Inbound};

use crate::VERSION;
use crate::error::Error;
use crate::handover::Handover;

/// Serves `adapter` until `shutdown`.
pub async fn serve<A: Adapter>(adapter: A, told: &Handover, shutdown: CancellationToken) -> Result<(), Error> {
    let failed = |source| Error::Create { path: told.socket.clone(), source };
    let listener = UnixListener::bind(&told.socket).map_err(failed)?;
    fs::set_permissions(&told.socket, Permissions::from_mode(0o600)).map_err(failed)?;
    let server = AdapterServer::new(adapter).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let guarded = InterceptedService::new(server, Guard { expected: format!("Bearer {}", told.token) });
    let serving = Server::builder().layer(TracingLayer).add_service(guarded).serve_with_incoming(UnixListenerStream::new(listener));
    // Streams of an account never end by themselves, so nothing is waited for: what was not acknowledged comes again.
    tokio::select! {
        ended = serving => ended.map_err(Error::Serve),
        () = shutdown.cancelled() => Ok(()),
    }
}

/// Refuses a version of the contract that this build does not speak.
pub fn agree(request: &HelloRequest) -> Result<(), Status> {
    if request.version == VERSION {
        return Ok(());
    }
    Err(Status::failed_precondition(format!("version {} of the contract is not spoken here; {VERSION} is", request.version)))
}

/// Begins the trace of a message that an account has received. The span lasts until the channel service has kept the message: drop it then.
pub fn received(channel: &str, inbound: &mut Inbound) -> Span {
    let span = debug_span!(
        "openclaw.message.received",
        otel.kind = "consumer",
        messaging.system = channel,
        messaging.operation.name = "receive",
        messaging.operation.r#type = "receive",
        openclaw.channel = channel
    );
    let context = TraceContext::generate().enter(&span);
    inbound.traceparent = (!span.is_disabled()).then(|| context.to_string());
    span
}

/// Lets nobody in without the token.
#[derive(Clone)]
struct Guard {
    expected: String,
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization").map(tonic::metadata::MetadataValue::as_bytes).unwrap_or_default();
        if bool::from(given.ct_eq(self.expected.as_bytes())) {
            return Ok(request);
        }
        Err(Status::unauthenticated("the token that was handed over is missing or wrong"))
    }
}
