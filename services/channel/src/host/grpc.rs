//! The contract, served by an adapter of this build.

mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;
use tokio::sync::oneshot;
use tonic::{Request, Status};
use tracing::Span;
use verso_adapter::VERSION;
use verso_kit::CancellationToken;
use verso_kit::config::File;
use verso_kit::grpc::{Reply, reply};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::adapter::v1 as wire;
use verso_proto::adapter::v1::send_response::Outcome;
use verso_proto::adapter::v1::{Capabilities, TextFormat};

use crate::adapter::{Adapter, Fault, Refusal};
use crate::host::Polls;
use crate::make::{BuiltIn, Make as _};
use crate::media::{Shelf, Way};
use crate::message::{Address, Attached, Enclosed, MediaKind, Part};
use crate::network::Network;
use crate::profile::Profile;
use crate::remote::convert;
use crate::store::AccountKey;
use crate::webhooks::Webhooks;

/// The largest piece of a file, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// The largest file that is sent, in bytes: what one message between processes holds, and some room.
const MEDIA_BYTES_MAX: u64 = 30 << 20;

/// How long an answer has to leave before the process ends.
const FAREWELL: Duration = Duration::from_millis(50);

/// An account that runs here.
#[derive(Debug)]
pub(super) struct Hosted {
    key: AccountKey,
    network: Network,
    context: Context,
    shelf: Shelf,
    polls: Polls,
    tasks: Tasks,
    running: Arc<Mutex<Running>>,
}

/// The run of the account, while there is one.
#[derive(Debug, Default)]
struct Running {
    adapter: Option<Arc<dyn Adapter>>,
    stop: CancellationToken,
    /// Messages that are not acknowledged yet, and the span of each.
    waiting: HashMap<String, (oneshot::Sender<()>, Span)>,
}

type Streamed<T> = BoxStream<'static, Result<T, Status>>;

impl Hosted {
    pub(super) fn new(key: AccountKey, network: Network, context: Context, kept: (Shelf, Polls), tasks: Tasks) -> Self {
        let (shelf, polls) = kept;
        Self { key, network, context, shelf, polls, tasks, running: Arc::default() }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adapter(&self, account: &str) -> Result<Arc<dyn Adapter>, Status> {
        if account != self.key.account {
            return Err(Status::not_found("that account is not run here"));
        }
        self.running().adapter.clone().ok_or_else(|| Status::unavailable("the account is not running"))
    }

    async fn make(&self, settings_json: &str) -> Result<Arc<dyn Adapter>, Status> {
        let settings: Value = serde_json::from_str(settings_json)
            .map_err(|error| Status::invalid_argument(format!("the settings cannot be read: {error}")))?;
        let profile = Profile::read(&File::from_value(settings), &self.key).map_err(|fault| of_fault(&fault))?;
        let (context, files) = (self.context.clone(), self.shelf.clone());
        let webhooks = Webhooks::new(self.tasks.clone());
        let built_in = BuiltIn { key: self.key.clone(), network: self.network, context, shelf: files, webhooks };
        built_in.make(Arc::new(profile)).await.map_err(|fault| of_fault(&fault))
    }

    /// Keeps what is sent along, where the adapter looks for it.
    async fn enclosed(&self, request: &mut wire::SendRequest) -> Result<Option<Enclosed>, Status> {
        let Some(media) = request.media.pop() else { return Ok(None) };
        let kind = convert::media_kind(media.kind());
        let file = self.shelf.put(Way::Out, &request.send_id, media.content).await;
        let file = file.map_err(|error| Status::resource_exhausted(format!("the file could not be kept: {error}")))?;
        Ok(Some(Enclosed { file, kind, mime_type: media.mime, file_name: media.name }))
    }
}

#[tonic::async_trait]
impl wire::adapter_server::Adapter for Hosted {
    type RunStream = Streamed<wire::RunResponse>;
    type FetchStream = Streamed<wire::FetchResponse>;
    type LoginStream = Streamed<wire::LoginResponse>;

    async fn hello(&self, request: Request<wire::HelloRequest>) -> Reply<wire::HelloResponse> {
        verso_adapter::agree(request.get_ref())?;
        let format = if self.network == Network::Telegram { TextFormat::Html } else { TextFormat::Plain };
        let capabilities = Capabilities {
            text_format: format.into(),
            typing: true,
            reactions: true,
            edits: true,
            media_in: true,
            media_bytes_max: MEDIA_BYTES_MAX,
            polls: true,
            buttons: true,
            ..Capabilities::default()
        };
        reply(wire::HelloResponse {
            version: VERSION,
            label: self.network.label().to_owned(),
            software: concat!("verso ", env!("CARGO_PKG_VERSION")).to_owned(),
            capabilities: Some(capabilities),
        })
    }

    async fn run(&self, request: Request<wire::RunRequest>) -> Reply<Self::RunStream> {
        let request = request.into_inner();
        if request.account_id != self.key.account {
            return Err(Status::not_found("that account is not run here"));
        }
        let adapter = self.make(&request.settings_json).await?;
        reply(self.begin(adapter, &request))
    }

    async fn acknowledge(&self, request: Request<wire::AcknowledgeRequest>) -> Reply<wire::AcknowledgeResponse> {
        // One that nobody waits for was acknowledged before, or belongs to an earlier run.
        if let Some((kept, _span)) = self.running().waiting.remove(&request.get_ref().event) {
            kept.send(()).ok();
        }
        reply(wire::AcknowledgeResponse {})
    }

    async fn send(&self, request: Request<wire::SendRequest>) -> Reply<wire::SendResponse> {
        let mut request = request.into_inner();
        let adapter = self.adapter(&request.account_id)?;
        let enclosed = self.enclosed(&mut request).await?;
        let part = convert::part(&request, enclosed).ok_or_else(|| Status::invalid_argument("there is nobody to send it to"))?;
        let sent = adapter.deliver(&request.send_id, &part).await;
        if let Some(enclosed) = &part.media {
            self.shelf.remove(Way::Out, &enclosed.file).await;
        }
        let outcome = match sent {
            Ok(receipt) => {
                self.polls.keep(&part.to, &receipt).await;
                Outcome::Sent(wire::Receipt { message_id: receipt.message_id, chat_id: receipt.chat_id, poll_id: receipt.poll_id })
            }
            Err(Refusal::Later { reason, after }) => {
                let after_ms = after.and_then(|after| u64::try_from(after.as_millis()).ok());
                Outcome::Later(wire::Later { reason, after_ms })
            }
            Err(Refusal::Never(reason)) => Outcome::Refused(reason),
            Err(Refusal::Unknown(reason)) => Outcome::Uncertain(reason),
        };
        reply(wire::SendResponse { outcome: Some(outcome) })
    }

    async fn typing(&self, request: Request<wire::TypingRequest>) -> Reply<wire::TypingResponse> {
        let wire::TypingRequest { account_id, to } = request.into_inner();
        self.adapter(&account_id)?.typing(&address(to)?).await;
        reply(wire::TypingResponse {})
    }

    async fn react(&self, request: Request<wire::ReactRequest>) -> Reply<wire::ReactResponse> {
        let wire::ReactRequest { account_id, to, message_id, emoji } = request.into_inner();
        let emoji = Some(emoji.as_str()).filter(|emoji| !emoji.is_empty());
        self.adapter(&account_id)?.react(&address(to)?, &message_id, emoji).await.map_err(|refusal| of_refusal(&refusal))?;
        reply(wire::ReactResponse {})
    }

    async fn edit(&self, request: Request<wire::EditRequest>) -> Reply<wire::EditResponse> {
        let wire::EditRequest { account_id, to, message_id, text, plain } = request.into_inner();
        let part = Part::text(address(to)?, text, plain);
        self.adapter(&account_id)?.edit(&message_id, &part).await.map_err(|refusal| of_refusal(&refusal))?;
        reply(wire::EditResponse {})
    }

    async fn mark_read(&self, _: Request<wire::MarkReadRequest>) -> Reply<wire::MarkReadResponse> {
        Err(Status::unimplemented("this network shows nobody what was read"))
    }

    async fn fetch(&self, request: Request<wire::FetchRequest>) -> Reply<Self::FetchStream> {
        let wire::FetchRequest { account_id, media_id, bytes_max } = request.into_inner();
        let media = Attached { kind: MediaKind::Document, reference: media_id, mime_type: None, file_name: None, bytes: None };
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let file = self.adapter(&account_id)?.fetch(&media, bytes_max).await.map_err(|refusal| of_refusal(&refusal))?;
        let chunks: Vec<_> = file.chunks(CHUNK_BYTES).map(|chunk| Ok(wire::FetchResponse { chunk: chunk.to_vec() })).collect();
        reply(stream::iter(chunks).boxed())
    }

    async fn probe(&self, request: Request<wire::ProbeRequest>) -> Reply<wire::ProbeResponse> {
        let well = self.adapter(&request.get_ref().account_id)?.probe().await.map_err(|fault| of_fault(&fault))?;
        let details_json = (!well.details.is_empty()).then(|| Value::from(well.details).to_string());
        reply(wire::ProbeResponse { name: well.name, mode: well.mode.map(str::to_owned), details_json })
    }

    async fn login(&self, _: Request<wire::LoginRequest>) -> Reply<Self::LoginStream> {
        Err(Status::unimplemented("accounts of this network are not linked by a code"))
    }

    async fn logout(&self, _: Request<wire::LogoutRequest>) -> Reply<wire::LogoutResponse> {
        Err(Status::unimplemented("the credentials of this network stand in the configuration"))
    }

    async fn stop(&self, _: Request<wire::StopRequest>) -> Reply<wire::StopResponse> {
        self.running().stop.cancel();
        let shutdown = self.tasks.shutdown().clone();
        self.tasks.spawn("farewell", async move {
            tokio::time::sleep(FAREWELL).await;
            shutdown.cancel();
        });
        reply(wire::StopResponse {})
    }
}

fn address(to: Option<wire::Destination>) -> Result<Address, Status> {
    let to = to.filter(|to| !to.peer.is_empty()).ok_or_else(|| Status::invalid_argument("there is nobody to send it to"))?;
    Ok(Address { peer: to.peer, thread: to.thread })
}

fn of_fault(fault: &Fault) -> Status {
    let words = fault.to_string();
    match fault {
        Fault::Network(_) => Status::unavailable(words),
        Fault::Account(_) | Fault::Unlinked(_) => Status::failed_precondition(words),
        Fault::Storage(_) => Status::resource_exhausted(words),
    }
}

fn of_refusal(refusal: &Refusal) -> Status {
    let words = refusal.to_string();
    match refusal {
        Refusal::Later { .. } => Status::unavailable(words),
        Refusal::Never(_) => Status::failed_precondition(words),
        Refusal::Unknown(_) => Status::unknown(words),
    }
}
