//! The contract, served for one account.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::{Request, Status};
use verso_adapter::VERSION;
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::grpc::{Reply, reply};
use verso_kit::tasks::Tasks;
use verso_proto::adapter::v1 as wire;
use verso_proto::adapter::v1::{Capabilities, TextFormat};
use whatsapp_rust::{Jid, SendError};

use crate::account::{me, read};
use crate::files::{Reference, SENT_BYTES_MAX};
use crate::folder::Folder;
use crate::login::Login;
use crate::run::{Inlet, Run, Waiting};
use crate::session::{Session, Surroundings};
use crate::settings::Settings;
use crate::store::Store;
use crate::titles::Titles;
use crate::writing::Writer;

/// The longest message, in characters.
const TEXT_CHARS_MAX: u32 = 4_000;

/// Messages that may be on their way.
const QUEUE: usize = 64;

/// The largest piece of a file, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// How often it is said that the network was heard, at the least.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// How long the network may take to hear that the device is not linked any more.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(8);

/// How long an answer has to leave before the process ends.
const FAREWELL: Duration = Duration::from_millis(50);

/// What somebody is told who asks for more than there is.
const NOT_RUNNING: &str = "the account is not running";

/// One account.
pub(crate) struct Service {
    account: String,
    around: Surroundings,
    running: Mutex<Running>,
}

/// The run of the account, while there is one.
#[derive(Default)]
struct Running {
    now: Option<Now>,
    stop: CancellationToken,
    waiting: Waiting,
}

/// What a run works with.
#[derive(Clone)]
struct Now {
    session: Arc<Session>,
    inlet: Arc<Inlet>,
    store: Store,
}

type Streamed<T> = BoxStream<'static, Result<T, Status>>;

impl Service {
    pub(crate) fn new(account: String, tasks: Tasks) -> Self {
        Self { account, around: Surroundings { tasks, clock: Clock::system() }, running: Mutex::default() }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, account: &str) -> Result<(), Status> {
        if account == self.account { Ok(()) } else { Err(Status::not_found("that account is not run here")) }
    }

    fn now(&self, account: &str) -> Result<Now, Status> {
        self.check(account)?;
        self.running().now.clone().ok_or_else(|| Status::unavailable(NOT_RUNNING))
    }

    /// Ends the run that there is.
    fn end(&self) -> Running {
        let mut running = self.running();
        running.stop.cancel();
        std::mem::take(&mut *running)
    }

    async fn begin(&self, settings: Settings, interval: Duration) -> Result<Streamed<wire::RunResponse>, Status> {
        self.end();
        let folder = Folder::new(&settings.auth_dir);
        let linked = folder.linked().await.map_err(|error| Status::failed_precondition(format!("the keys cannot be read: {error}")))?;
        let (said, saying) = mpsc::channel(QUEUE);
        let Some((store, _)) = linked else {
            let reason = "the device is not linked; link it with `verso channels login`".to_owned();
            let lost = wire::Disconnected { reason, logged_out: true, status: 401 };
            drop(said.try_send(Ok(wire::RunResponse { kind: Some(wire::run_response::Kind::Disconnected(lost)) })));
            return Ok(streamed(saying));
        };
        let waiting = Waiting::default();
        let inlet = Arc::new(Inlet {
            said,
            waiting: Arc::clone(&waiting),
            store: store.clone(),
            settings: settings.clone(),
            titles: Titles::new(self.around.tasks.clone()),
            clock: self.around.clock.clone(),
            echoes: Mutex::new(VecDeque::new()),
        });
        let opened = Session::open(store.clone(), &settings, Some(Arc::clone(&inlet) as _), &self.around).await;
        let (session, told) = opened.map_err(Status::failed_precondition)?;
        let session = Arc::new(session);
        let stop = self.around.tasks.shutdown().child_token();
        let run = Run { session: Arc::clone(&session), told, inlet: Arc::clone(&inlet), folder, interval, stop: stop.clone() };
        *self.running() = Running { now: Some(Now { session, inlet, store }), stop, waiting };
        self.around.tasks.spawn("run", run.go());
        Ok(streamed(saying))
    }

    /// Tells the network that the device is not linked any more, if it can be told.
    async fn unlink(&self, store: Store, settings: &Settings) {
        let opened = Session::open(store, settings, None, &self.around).await;
        let Ok((session, mut told)) = opened else { return };
        let telling = async {
            tokio::select! {
                _end = session.connect() => {}
                () = async {
                    while let Some(told) = told.recv().await {
                        if matches!(told, crate::session::Told::Connected) {
                            session.client.logout().await;
                            return;
                        }
                    }
                } => {}
            }
        };
        if tokio::time::timeout(LOGOUT_TIMEOUT, telling).await.is_err() {
            tracing::warn!("WhatsApp was not told that the device is not linked any more; remove it on the phone");
        }
        session.close().await;
    }
}

#[tonic::async_trait]
impl wire::adapter_server::Adapter for Service {
    type RunStream = Streamed<wire::RunResponse>;
    type FetchStream = Streamed<wire::FetchResponse>;
    type LoginStream = Streamed<wire::LoginResponse>;

    async fn hello(&self, request: Request<wire::HelloRequest>) -> Reply<wire::HelloResponse> {
        verso_adapter::agree(request.get_ref())?;
        let capabilities = Capabilities {
            text_format: TextFormat::Whatsapp.into(),
            text_chars_max: TEXT_CHARS_MAX,
            typing: true,
            reactions: true,
            read_receipts: true,
            media_in: true,
            media_bytes_max: SENT_BYTES_MAX,
            login: true,
            polls: true,
            ..Capabilities::default()
        };
        let software = concat!("verso ", env!("CARGO_PKG_VERSION")).to_owned();
        reply(wire::HelloResponse { version: VERSION, label: "WhatsApp".to_owned(), software, capabilities: Some(capabilities) })
    }

    async fn run(&self, request: Request<wire::RunRequest>) -> Reply<Self::RunStream> {
        let request = request.into_inner();
        self.check(&request.account_id)?;
        let settings = Settings::read(&request.settings_json).map_err(Status::invalid_argument)?;
        let interval = Duration::from_millis(u64::from(request.progress_interval_ms)).max(INTERVAL_MIN);
        reply(self.begin(settings, interval).await?)
    }

    async fn acknowledge(&self, request: Request<wire::AcknowledgeRequest>) -> Reply<wire::AcknowledgeResponse> {
        let waiting = Arc::clone(&self.running().waiting);
        // One that nobody waits for was acknowledged before, or belongs to an earlier run.
        if let Some((kept, _span)) = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.get_ref().event) {
            // Who waited may have gone.
            kept.send(()).ok();
        }
        reply(wire::AcknowledgeResponse {})
    }

    async fn send(&self, request: Request<wire::SendRequest>) -> Reply<wire::SendResponse> {
        let request = request.into_inner();
        let now = self.now(&request.account_id)?;
        now.inlet.sends(&request.text);
        let outcome = Writer { session: &now.session, store: &now.store }.send(request).await;
        reply(wire::SendResponse { outcome: Some(outcome) })
    }

    async fn typing(&self, request: Request<wire::TypingRequest>) -> Reply<wire::TypingResponse> {
        let wire::TypingRequest { account_id, to } = request.into_inner();
        let (now, to) = (self.now(&account_id)?, address(to)?);
        now.session.client.chatstate().send_composing(&to).await.map_err(|error| Status::unavailable(error.to_string()))?;
        reply(wire::TypingResponse {})
    }

    async fn react(&self, request: Request<wire::ReactRequest>) -> Reply<wire::ReactResponse> {
        let wire::ReactRequest { account_id, to, message_id, emoji } = request.into_inner();
        let (now, to) = (self.now(&account_id)?, address(to)?);
        let writer = Writer { session: &now.session, store: &now.store };
        writer.react(&to, &message_id, &emoji).await.map_err(|error| of_error(&error))?;
        reply(wire::ReactResponse {})
    }

    async fn edit(&self, _: Request<wire::EditRequest>) -> Reply<wire::EditResponse> {
        Err(Status::unimplemented("messages of WhatsApp are not changed: everybody would see that they were"))
    }

    async fn mark_read(&self, request: Request<wire::MarkReadRequest>) -> Reply<wire::MarkReadResponse> {
        let wire::MarkReadRequest { account_id, to, message_id, sender } = request.into_inner();
        let (now, to) = (self.now(&account_id)?, address(to)?);
        if now.inlet.settings.shows_reading(me(&now.session.client).shown().as_deref()) {
            let sender = read(&sender).filter(|_| to.server == whatsapp_rust::Server::Group);
            let marked = now.session.client.mark_as_read(&to, sender.as_ref(), &[&message_id]).await;
            marked.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        reply(wire::MarkReadResponse {})
    }

    async fn fetch(&self, request: Request<wire::FetchRequest>) -> Reply<Self::FetchStream> {
        let wire::FetchRequest { account_id, media_id, bytes_max } = request.into_inner();
        let now = self.now(&account_id)?;
        let unknown = || Status::not_found("there is no such file");
        let reference = Reference::read(&media_id).ok_or_else(unknown)?;
        let too_large = || Status::resource_exhausted(format!("the file is larger than {bytes_max} bytes"));
        if reference.bytes > bytes_max {
            return Err(too_large());
        }
        let params = reference.params().ok_or_else(unknown)?;
        let file = now.session.client.download_from_params(&params).await.map_err(|error| Status::unavailable(error.to_string()))?;
        if file.len() as u64 > bytes_max {
            return Err(too_large());
        }
        let chunks: Vec<_> = file.chunks(CHUNK_BYTES).map(|chunk| Ok(wire::FetchResponse { chunk: chunk.to_vec() })).collect();
        reply(stream::iter(chunks).boxed())
    }

    async fn probe(&self, request: Request<wire::ProbeRequest>) -> Reply<wire::ProbeResponse> {
        let now = self.now(&request.get_ref().account_id)?;
        let me = me(&now.session.client);
        if !now.session.client.is_logged_in() {
            return Err(Status::unavailable("WhatsApp is not connected"));
        }
        let details = json!({"linked": true, "number": me.shown()});
        let name = Some(now.session.client.push_name()).filter(|name| !name.is_empty()).or_else(|| me.shown());
        reply(wire::ProbeResponse {
            name: name.unwrap_or_default(),
            mode: Some("socket".to_owned()),
            details_json: Some(details.to_string()),
        })
    }

    async fn login(&self, request: Request<wire::LoginRequest>) -> Reply<Self::LoginStream> {
        let request = request.into_inner();
        self.check(&request.account_id)?;
        let settings = Settings::read(&request.settings_json).map_err(Status::invalid_argument)?;
        self.end();
        let (said, saying) = mpsc::channel(QUEUE);
        let login = Login { said, settings, around: self.around.clone() };
        self.around.tasks.spawn("login", login.go(request));
        reply(streamed(saying))
    }

    async fn logout(&self, request: Request<wire::LogoutRequest>) -> Reply<wire::LogoutResponse> {
        let wire::LogoutRequest { account_id, settings_json } = request.into_inner();
        self.check(&account_id)?;
        let settings = Settings::read(&settings_json).map_err(Status::invalid_argument)?;
        self.end();
        let folder = Folder::new(&settings.auth_dir);
        // Keys that cannot be read are forgotten all the same.
        let linked = folder.linked().await.ok().flatten();
        let was_linked = linked.is_some();
        if let Some((store, _)) = linked {
            self.unlink(store, &settings).await;
        }
        let wiped = folder.wipe().map_err(|error| Status::internal(format!("the keys stay: {error}")))?;
        reply(wire::LogoutResponse { cleared: was_linked || wiped })
    }

    async fn stop(&self, _: Request<wire::StopRequest>) -> Reply<wire::StopResponse> {
        self.end();
        let shutdown = self.around.tasks.shutdown().clone();
        self.around.tasks.spawn("farewell", async move {
            tokio::time::sleep(FAREWELL).await;
            shutdown.cancel();
        });
        reply(wire::StopResponse {})
    }
}

fn streamed<T: Send + 'static>(saying: mpsc::Receiver<Result<T, Status>>) -> Streamed<T> {
    stream::unfold(saying, |mut saying| async move { saying.recv().await.map(|said| (said, saying)) }).boxed()
}

fn address(to: Option<wire::Destination>) -> Result<Jid, Status> {
    to.and_then(|to| read(&to.peer)).ok_or_else(|| Status::invalid_argument("that is neither a telephone number nor a group of WhatsApp"))
}

fn of_error(error: &SendError) -> Status {
    let words = error.to_string();
    match error {
        SendError::InvalidRequest(_) => Status::failed_precondition(words),
        SendError::NotLoggedIn | SendError::Iq(_) | SendError::Client(_) => Status::unavailable(words),
        _ => Status::unknown(words),
    }
}
