//! The run of an account: what its adapter hears, on a stream to the channel service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tonic::Status;
use verso_proto::adapter::v1::run_response::Kind;
use verso_proto::adapter::v1::{Connected, Progress, RunRequest, RunResponse};

use super::{Hosted, Running, Streamed, of_fault};
use crate::adapter::{Adapter, Fault};
use crate::link::{Away, Delivery, Link, Pulse};
use crate::remote::convert;

/// Messages that may be on their way.
const QUEUE: usize = 64;

/// How often it is looked whether the network was heard, at the least.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The same until the network has accepted the account.
const LOOK_INTERVAL_FIRST: Duration = Duration::from_millis(50);

type Said = mpsc::Sender<Result<RunResponse, Status>>;

impl Hosted {
    /// Begins a run, and ends the one before.
    pub(super) fn begin(&self, adapter: Arc<dyn Adapter>, request: &RunRequest) -> Streamed<RunResponse> {
        let (said, saying) = mpsc::channel(QUEUE);
        let (deliveries, delivered) = mpsc::channel(QUEUE);
        let stop = self.tasks.shutdown().child_token();
        {
            let mut running = self.running();
            running.stop.cancel();
            *running = Running { adapter: Some(Arc::clone(&adapter)), stop: stop.clone(), ..Running::default() };
        }
        let pulse = Arc::new(Pulse::default());
        let away = Away { deliveries, position: request.position, polls: self.polls.clone() };
        let link = Link::away(self.key.clone(), self.context.clock.clone(), Arc::clone(&pulse), away);
        let interval = Duration::from_millis(u64::from(request.progress_interval_ms) / 2).clamp(LOOK_INTERVAL_FIRST, LOOK_INTERVAL_MAX);
        let telling = Telling {
            said: said.clone(),
            running: Arc::clone(&self.running),
            pulse,
            interval,
            channel: self.key.channel.clone(),
            name: self.key.account.clone(),
        };
        self.tasks.spawn("run", async move {
            let ended = tokio::select! {
                ended = adapter.receive(&link, &stop) => ended,
                () = telling.tell(delivered) => Ok(()),
                () = said.closed() => Ok(()),
            };
            stop.cancel();
            adapter.close().await;
            let reason = ended.err().unwrap_or_else(|| Fault::Network("the account stopped".to_owned()));
            drop(said.send(Err(of_fault(&reason))).await);
        });
        stream::unfold(saying, |mut saying| async move { saying.recv().await.map(|said| (said, saying)) }).boxed()
    }
}

/// Tells the channel service what was heard.
struct Telling {
    said: Said,
    running: Arc<Mutex<Running>>,
    pulse: Arc<Pulse>,
    interval: Duration,
    channel: String,
    name: String,
}

impl Telling {
    /// Tells until nobody listens.
    async fn tell(&self, mut delivered: mpsc::Receiver<Delivery>) {
        let (mut connected, mut alive) = (None, 0);
        loop {
            let interval = if connected.is_none() { LOOK_INTERVAL_FIRST } else { self.interval };
            let told = tokio::select! {
                delivery = delivered.recv() => match delivery {
                    Some(delivery) => self.pass_on(delivery).await,
                    None => return,
                },
                () = tokio::time::sleep(interval) => true,
            };
            if !told || !self.look(&mut connected, &mut alive).await {
                return;
            }
        }
    }

    /// Tells what the pulse shows. A timer alone tells nothing: an account that hangs must be seen to hang.
    async fn look(&self, connected: &mut Option<i64>, alive: &mut i64) -> bool {
        let (connected_at_ms, alive_at_ms) = (self.pulse.connected_at_ms(), self.pulse.alive_at_ms());
        let told = if connected_at_ms == *connected {
            true
        } else {
            *connected = connected_at_ms;
            self.say(Kind::Connected(Connected { name: self.name.clone(), self_id: String::new() })).await
        };
        if alive_at_ms == *alive || connected.is_none() {
            return told;
        }
        *alive = alive_at_ms;
        told && self.say(Kind::Progress(Progress { position: None })).await
    }

    async fn pass_on(&self, delivery: Delivery) -> bool {
        let Delivery { incoming, position, kept } = delivery;
        let Some(incoming) = incoming else {
            let told = self.say(Kind::Progress(Progress { position })).await;
            // Nothing is lost with it: what is read twice is known by its name.
            kept.send(()).ok();
            return told;
        };
        let mut inbound = convert::inbound(&incoming, position);
        let span = verso_adapter::received(&self.channel, &mut inbound);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).waiting.insert(incoming.event, (kept, span));
        self.say(Kind::Inbound(inbound)).await
    }

    async fn say(&self, kind: Kind) -> bool {
        self.said.send(Ok(RunResponse { kind: Some(kind) })).await.is_ok()
    }
}
