//! Calling an adapter: a deadline on every call, the token in each, and errors that say whether something may have happened.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Response, Status, Streaming};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_kit::trace;
use verso_proto::adapter::v1::adapter_client::AdapterClient;
use verso_proto::adapter::v1::{
    AcknowledgeRequest, EditRequest, FetchRequest, FetchResponse, HelloRequest, HelloResponse, LoginRequest, LoginResponse, LogoutRequest,
    MarkReadRequest, ProbeRequest, ProbeResponse, ReactRequest, RunRequest, RunResponse, SendRequest, SendResponse, StopRequest,
    TypingRequest,
};

use crate::VERSION;
use crate::error::Error;

/// How long a small thing may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a message may take: as long as one sending of the outbox, and a little less, so that it is this side that gives up.
const SEND_TIMEOUT: Duration = Duration::from_secs(55);

/// How long a whole file may take.
const FETCH_TIMEOUT: Duration = Duration::from_mins(2);

/// An adapter as its caller sees it. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    calls: AdapterClient<InterceptedService<Channel, Bearer>>,
}

/// What an account's adapter says while it runs. Dropping it ends the run.
#[derive(Debug)]
pub struct Events(Streaming<RunResponse>);

/// The codes of a login. Dropping it ends the login.
#[derive(Debug)]
pub struct Codes(Streaming<LoginResponse>);

impl Client {
    /// An adapter that listens on the Unix socket at `path`. Connects when it is first called.
    pub fn unix(path: PathBuf, token: &str) -> Result<Self, Error> {
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Self::over(endpoint("http://verso.local")?.connect_with_connector_lazy(connector), token)
    }

    /// An adapter at `unix:/a/path`, or at `http://127.0.0.1:port` of this machine: a message must not cross a network in the clear.
    pub fn at(address: &str, token: &str) -> Result<Self, Error> {
        if let Some(path) = address.strip_prefix("unix:") {
            return Self::unix(PathBuf::from(path), token);
        }
        let unusable = || Error::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| unusable())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let local = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if uri.scheme_str() != Some("http") || !local || uri.port().is_none() {
            return Err(unusable());
        }
        Self::over(endpoint(address)?.connect_lazy(), token)
    }

    fn over(channel: Channel, token: &str) -> Result<Self, Error> {
        let token = format!("Bearer {token}").parse().map_err(|_| Error::Address("a token that no header can hold".to_owned()))?;
        let calls = AdapterClient::with_interceptor(channel, Bearer { token });
        Ok(Self { calls: calls.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX) })
    }

    /// Agrees on the version.
    pub async fn hello(&self) -> Result<HelloResponse, Error> {
        self.hello_of(VERSION).await
    }

    /// The same with a version of the caller's choice.
    pub async fn hello_of(&self, version: u32) -> Result<HelloResponse, Error> {
        let answer = timeout(CALL_TIMEOUT, self.calls.clone().hello(HelloRequest { version })).await;
        match answer.map_err(|_| Error::Timeout(CALL_TIMEOUT))? {
            Ok(answer) if answer.get_ref().version == version => Ok(answer.into_inner()),
            Ok(answer) => Err(Error::Disagreed { ours: version, theirs: answer.get_ref().version }),
            Err(status) if status.code() == Code::FailedPrecondition => {
                Err(Error::Version { ours: version, theirs: Some(status.message().to_owned()).filter(|words| !words.is_empty()) })
            }
            Err(status) => Err(status.into()),
        }
    }

    /// Runs an account.
    pub async fn run(&self, request: RunRequest) -> Result<Events, Error> {
        within(CALL_TIMEOUT, self.calls.clone().run(request)).await.map(Events)
    }

    /// Says that a message is kept.
    pub async fn acknowledge(&self, account: &str, event: &str) -> Result<(), Error> {
        let request = AcknowledgeRequest { account_id: account.to_owned(), event: event.to_owned() };
        within(CALL_TIMEOUT, self.calls.clone().acknowledge(request)).await.map(drop)
    }

    /// Sends a message.
    pub async fn send(&self, request: SendRequest) -> Result<SendResponse, Error> {
        within(SEND_TIMEOUT, self.calls.clone().send(request)).await
    }

    /// Shows that an answer is being written.
    pub async fn typing(&self, request: TypingRequest) -> Result<(), Error> {
        within(CALL_TIMEOUT, self.calls.clone().typing(request)).await.map(drop)
    }

    /// Reacts to a message.
    pub async fn react(&self, request: ReactRequest) -> Result<(), Error> {
        within(CALL_TIMEOUT, self.calls.clone().react(request)).await.map(drop)
    }

    /// Changes a message.
    pub async fn edit(&self, request: EditRequest) -> Result<(), Error> {
        within(CALL_TIMEOUT, self.calls.clone().edit(request)).await.map(drop)
    }

    /// Says that a message was read.
    pub async fn mark_read(&self, request: MarkReadRequest) -> Result<(), Error> {
        within(CALL_TIMEOUT, self.calls.clone().mark_read(request)).await.map(drop)
    }

    /// Returns a file of at most `bytes_max` bytes.
    pub async fn fetch(&self, account: &str, media: &str, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let request = FetchRequest { account_id: account.to_owned(), media_id: media.to_owned(), bytes_max };
        let fetching = async {
            let mut pieces: Streaming<FetchResponse> = self.calls.clone().fetch(request).await?.into_inner();
            let mut file = Vec::new();
            while let Some(piece) = pieces.message().await? {
                // An adapter that does not keep to the limit must not fill our memory.
                if (file.len() + piece.chunk.len()) as u64 > bytes_max {
                    return Err(Error::TooLarge(bytes_max));
                }
                file.extend_from_slice(&piece.chunk);
            }
            Ok(file)
        };
        timeout(FETCH_TIMEOUT, fetching).await.map_err(|_| Error::Timeout(FETCH_TIMEOUT))?
    }

    /// Asks the network whether the account is well.
    pub async fn probe(&self, account: &str) -> Result<ProbeResponse, Error> {
        within(CALL_TIMEOUT, self.calls.clone().probe(ProbeRequest { account_id: account.to_owned() })).await
    }

    /// Begins to link an account.
    pub async fn login(&self, request: LoginRequest) -> Result<Codes, Error> {
        within(CALL_TIMEOUT, self.calls.clone().login(request)).await.map(Codes)
    }

    /// Forgets an account's credentials. Returns whether there were any.
    pub async fn logout(&self, account: &str, settings_json: &str) -> Result<bool, Error> {
        let request = LogoutRequest { account_id: account.to_owned(), settings_json: settings_json.to_owned() };
        within(CALL_TIMEOUT, self.calls.clone().logout(request)).await.map(|answer| answer.cleared)
    }

    /// Asks the process to end.
    pub async fn stop(&self) -> Result<(), Error> {
        within(CALL_TIMEOUT, self.calls.clone().stop(StopRequest {})).await.map(drop)
    }
}

impl Events {
    /// Returns the next; none when the adapter ended the run.
    pub async fn next(&mut self) -> Result<Option<RunResponse>, Error> {
        Ok(self.0.message().await?)
    }
}

impl Codes {
    /// Returns the next; none when the adapter ended the login.
    pub async fn next(&mut self) -> Result<Option<LoginResponse>, Error> {
        Ok(self.0.message().await?)
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    Ok(timeout(limit, call).await.map_err(|_| Error::Timeout(limit))??.into_inner())
}

/// Without keep-alive probes: common servers answer them by hanging up, and silence is judged by the account's progress anyway.
fn endpoint(address: &str) -> Result<Endpoint, Error> {
    Endpoint::from_shared(address.to_owned()).map_err(|_| Error::Address(address.to_owned()))
}

/// Puts the token into every call, and the trace that it is made in.
#[derive(Clone)]
pub(crate) struct Bearer {
    token: MetadataValue<Ascii>,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.token.clone());
        // What belongs to none begins none over there: runs and signs of life would each be a trace.
        trace::insert(request.metadata_mut(), trace::current());
        Ok(request)
    }
}
