//! The library's client, and what it tells.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use verso_kit::clock::Clock;
use verso_kit::tasks::Tasks;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::wacore::store::{DeviceCommand, DevicePropsOverride};
use whatsapp_rust::wacore::types::events::{Event, EventHandler, EventInterest, EventKind, InboundMessage, Subscription};
use whatsapp_rust::{Client, InboundDurabilityHook, RawNodeLease, TokioRuntime};

use crate::ladder::End;
use crate::line::{Dialler, Files, Line};
use crate::settings::Settings;
use crate::store::Store;

/// What may be told and not heard yet.
const TOLD_MAX: usize = 256;

/// Confirmations that are remembered.
const CONFIRMED_MAX: usize = 512;

/// How long the network may take to confirm a message.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

/// How often what has changed of the device is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a client may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// What people see in their list of linked devices.
const DEVICE_NAME: &str = "Verso";

/// The server is to be connected to again at once; the library does that by itself.
const RESTART: i32 = 515;

/// What the client is spoken to as, where the network's own page is not asked.
const VERSION: (u32, u32, u32) = (2, 3_000, 0);

/// What the library tells that somebody waits for.
#[derive(Debug)]
pub(crate) enum Told {
    Connected,
    Qr {
        content: String,
        valid: Duration,
    },
    PairCode {
        content: String,
        valid: Duration,
    },
    Paired,
    NotPaired(String),
    /// A message that did not pass [`InboundDurabilityHook`].
    Message(InboundMessage),
}

/// What the network says of a message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Confirmation {
    Taken,
    /// It does not want the message: its number for why.
    Refused(String),
}

/// A client and its connection.
pub(crate) struct Session {
    pub(crate) client: Arc<Client>,
    pub(crate) line: Arc<Line>,
    listener: Arc<Listener>,
    #[expect(dead_code, reason = "what the library tells is told as long as these live")]
    subscribed: (Subscription, RawNodeLease),
}

/// What a session works with.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
}

impl Session {
    /// Makes a client of the keys in `store`. It connects when it is told to.
    pub(crate) async fn open(
        store: Store,
        settings: &Settings,
        hook: Option<Arc<dyn InboundDurabilityHook>>,
        around: &Surroundings,
    ) -> Result<(Self, mpsc::Receiver<Told>), String> {
        let line = Arc::new(Line::new(settings.socket_url.clone(), around.clock.clone(), around.tasks.clone()));
        let keys = PersistenceManager::new(Arc::new(store)).await.map_err(|error| format!("the keys cannot be read: {error}"))?;
        let keys = Arc::new(keys);
        keys.process_command(DeviceCommand::SetDeviceProps(DevicePropsOverride::new().with_os(DEVICE_NAME))).await;
        let mut builder = Client::builder()
            .with_runtime(TokioRuntime)
            .with_persistence_manager(keys)
            .with_transport_factory(Dialler(Arc::clone(&line)))
            .with_http_client(Files::new(Arc::clone(&line)).map_err(|error| error.to_string())?)
            .with_skip_history_sync(true)
            .with_background_saver_interval(SAVE_INTERVAL);
        if let Some(hook) = hook {
            builder = builder.with_inbound_durability_hook_arc(hook);
        }
        if line.is_own() {
            builder = builder.with_version_override(VERSION);
        }
        let client = builder.build().await.map_err(|error| error.to_string())?.into_client();
        line.govern(Arc::clone(&client.enable_auto_reconnect));
        let (told, hearing) = mpsc::channel(TOLD_MAX);
        let listener = Arc::new(Listener {
            line: Arc::clone(&line),
            end: Mutex::default(),
            status: AtomicI32::new(0),
            told,
            confirmed: Mutex::default(),
            confirming: Notify::new(),
        });
        let subscription = client.subscribe_handler(Arc::clone(&listener) as Arc<dyn EventHandler>);
        let subscribed = (subscription, client.acquire_raw_node_forwarding());
        Ok((Self { client, line, listener, subscribed }, hearing))
    }

    /// Connects, and returns why the connection is over once it is. A restart that the server asks for is part of it.
    pub(crate) async fn connect(&self) -> End {
        self.listener.begin();
        self.line.allow(true);
        self.client.run().await;
        let lost = || End::Lost { status: 408, reason: "the connection was lost".to_owned() };
        let trouble =
            self.line.take_trouble().map(|trouble| End::Lost { status: 408, reason: format!("WhatsApp is not reached: {trouble}") });
        self.listener.ended().or(trouble).unwrap_or_else(lost)
    }

    /// Waits until the network has confirmed a message that was sent. None when it did not in time.
    pub(crate) async fn confirmed(&self, message_id: &str) -> Option<Confirmation> {
        let confirmed = async {
            loop {
                let change = self.listener.confirming.notified();
                if let Some(answer) = self.listener.take_confirmation(message_id) {
                    return answer;
                }
                change.await;
            }
        };
        timeout(CONFIRM_TIMEOUT, confirmed).await.ok()
    }

    /// Ends the connection, and keeps what is to be kept.
    pub(crate) async fn close(&self) {
        if timeout(CLOSE_TIMEOUT, self.client.disconnect()).await.is_err() {
            tracing::warn!("the connection to WhatsApp did not end in time");
        }
    }
}

/// Hears what the library tells.
struct Listener {
    line: Arc<Line>,
    end: Mutex<Option<End>>,
    /// The last error that the server named on this connection.
    status: AtomicI32,
    told: mpsc::Sender<Told>,
    /// Messages that the network has confirmed or refused.
    confirmed: Mutex<VecDeque<(String, Confirmation)>>,
    confirming: Notify,
}

impl Listener {
    fn begin(&self) {
        self.ended();
        self.status.store(0, Ordering::Relaxed);
    }

    fn ended(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn take_confirmation(&self, message_id: &str) -> Option<Confirmation> {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let at = confirmed.iter().position(|(id, _)| id == message_id)?;
        confirmed.remove(at).map(|(_, answer)| answer)
    }

    fn confirm(&self, message_id: &str, error: Option<&String>) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.len() >= CONFIRMED_MAX {
            confirmed.pop_front();
        }
        let answer = error.map_or(Confirmation::Taken, |code| Confirmation::Refused(code.clone()));
        confirmed.push_back((message_id.to_owned(), answer));
        self.confirming.notify_waiters();
    }

    fn tell(&self, told: Told) {
        if let Err(error) = self.told.try_send(told) {
            tracing::warn!(%error, "something that WhatsApp told is not heard");
        }
    }
}

impl EventHandler for Listener {
    fn handle_event(&self, event: Arc<Event>) {
        match &*event {
            Event::RawNode(node) => {
                let node = node.get();
                if node.tag == "stream:error"
                    && let Some(status) = node.get_attr("code").and_then(|code| code.as_str().parse().ok())
                    && status != RESTART
                {
                    self.status.store(status, Ordering::Relaxed);
                }
            }
            Event::Connected(_) => self.tell(Told::Connected),
            Event::PairingQrCode(qr) => self.tell(Told::Qr { content: qr.code.clone(), valid: qr.timeout }),
            Event::PairingCode(code) => self.tell(Told::PairCode { content: code.code.clone(), valid: code.timeout }),
            Event::PairSuccess(_) => self.tell(Told::Paired),
            Event::PairError(error) => self.tell(Told::NotPaired(error.error.clone())),
            Event::PairingCodeError(error) => self.tell(Told::NotPaired(error.error.clone())),
            Event::PairingQrCodesExhausted(_) => self.tell(Told::NotPaired("nobody scanned the code in time".to_owned())),
            Event::QrScannedWithoutMultidevice(_) => {
                self.tell(Told::NotPaired("the phone cannot link devices: update WhatsApp there".to_owned()));
            }
            Event::ServerAck(ack) if ack.class.as_deref() == Some("message") => self.confirm(&ack.id, ack.error.as_ref()),
            Event::Messages(batch) if !batch.hook_committed => {
                batch.iter().for_each(|message| self.tell(Told::Message(message.clone())));
            }
            ended => {
                let status = Some(self.status.load(Ordering::Relaxed)).filter(|status| *status != 0);
                if let Some(end) = End::of(ended, status) {
                    self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
                    self.line.allow(false);
                }
            }
        }
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::RawNode,
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::PairSuccess,
            EventKind::PairError,
            EventKind::PairingQrCode,
            EventKind::PairingCode,
            EventKind::PairingCodeError,
            EventKind::PairingQrCodesExhausted,
            EventKind::QrScannedWithoutMultidevice,
            EventKind::LoggedOut,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
            EventKind::ClientOutdated,
            EventKind::ConnectFailure,
            EventKind::Messages,
            EventKind::ServerAck,
        ])
    }
}
