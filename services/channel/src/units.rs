//! Accounts at work: each is started, watched and started again by itself, so that none can hurt another.

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use jiff::tz::TimeZone;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};
use verso_kit::CancellationToken;
use verso_kit::config::File;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

use crate::adapter::{Adapter, Fault};
use crate::agent::Agent;
use crate::courier::Courier;
use crate::dispatch::Dispatch;
use crate::history::History;
use crate::link::{Link, Pulse};
use crate::make::Make;
use crate::media::Shelf;
use crate::network::Network;
use crate::profile::Profile;
use crate::store::{AccountKey, Store};
use crate::webhooks::Webhooks;

/// The pause before an account is started again; each further one is longer …
const RESTART_FIRST: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(2) };

/// … by this factor …
const RESTART_FACTOR: f64 = 1.8;

/// … up to this. An account is never given up.
const RESTART_LONGEST: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(30) };

/// An account that ran so long begins with the shortest pause again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// How often an account that its owner must link is tried all the same: he may have done it elsewhere.
const UNLINKED_RETRY: Duration = Duration::from_mins(10);

/// How often it is looked whether an account has ended its run.
const HOLD_POLL: Duration = Duration::from_millis(20);

/// How long an account that does not run any more may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the watch looks after an account.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// An account and what is needed to run it.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) key: AccountKey,
    pub(crate) network: Network,
    pub(crate) pulse: Arc<Pulse>,
    /// Told when the outbox has something new.
    pub(crate) posted: Arc<Notify>,
    /// Told when something of the outbox was settled.
    pub(crate) settled: Arc<Notify>,
    state: Mutex<State>,
    /// Set while somebody else has the account's process, such as a login.
    held: watch::Sender<bool>,
    /// Told when the account was linked.
    linked: Notify,
    make: Box<dyn Make>,
    store: Store,
    shelf: Shelf,
    agent: Agent,
    context: Context,
    zone: TimeZone,
    /// What was said in groups, also while the account is started again.
    history: Arc<Mutex<History>>,
}

/// What all accounts share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) shelf: Shelf,
    pub(crate) agent: Agent,
    pub(crate) webhooks: Webhooks,
    pub(crate) context: Context,
}

/// How an account fares.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) running: bool,
    pub(crate) last_error: Option<String>,
    /// Whether the network knows the account as its owner's device; only what was found out since the start.
    pub(crate) linked: Option<bool>,
    pub(crate) restarts: u32,
    pub(crate) last_start_at_ms: Option<i64>,
    pub(crate) last_stop_at_ms: Option<i64>,
    /// There while the account runs.
    pub(crate) adapter: Option<Arc<dyn Adapter>>,
    pub(crate) profile: Arc<Profile>,
}

impl Unit {
    pub(crate) fn new(key: AccountKey, network: Network, make: Box<dyn Make>, shared: Shared) -> Self {
        let Shared { store, shelf, agent, context, .. } = shared;
        Self {
            key,
            network,
            pulse: Arc::default(),
            posted: Arc::default(),
            settled: Arc::default(),
            state: Mutex::default(),
            held: watch::Sender::new(false),
            linked: Notify::new(),
            make,
            store,
            shelf,
            agent,
            context,
            zone: TimeZone::system(),
            history: Arc::default(),
        }
    }

    /// Returns how it fares.
    pub(crate) fn state(&self) -> State {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Ends the account's run, and lets it not run again before [`Self::release`].
    pub(crate) async fn hold(&self) {
        self.held.send_replace(true);
        while self.state().running {
            // It ends within seconds: its process is killed otherwise.
            tokio::time::sleep(HOLD_POLL).await;
        }
    }

    /// Lets the account run again; `linked` says what was found out meanwhile.
    pub(crate) fn release(&self, linked: Option<bool>) {
        self.change(|state| {
            state.linked = linked.or(state.linked);
            if linked == Some(true) {
                state.last_error = None;
            }
        });
        self.held.send_replace(false);
        self.linked.notify_one();
    }

    /// Waits until the account is to be held, or is not any more.
    async fn is_held(&self, held: bool) {
        // The sender lives as long as the account.
        drop(self.held.subscribe().wait_for(|now| *now == held).await);
    }

    /// Runs the account until `stop`, however often it fails.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let AccountKey { channel, account } = &self.key;
        let mut pause = RESTART_FIRST;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.is_held(false) => {}
            }
            let begun = tokio::time::Instant::now();
            self.change(|state| state.last_start_at_ms = Some(self.context.clock.now_ms()));
            // A panic in here is this account's affair alone.
            let run = stop.child_token();
            let mut once = std::pin::pin!(AssertUnwindSafe(self.once(&run)).catch_unwind());
            let ended = tokio::select! {
                ended = &mut once => ended,
                () = self.is_held(true) => {
                    run.cancel();
                    once.await
                }
            };
            let reason = match ended {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some("the account's code panicked".to_owned()),
            };
            self.change(|state| {
                state.running = false;
                state.adapter = None;
                state.last_stop_at_ms = Some(self.context.clock.now_ms());
                state.last_error.clone_from(&reason);
                state.restarts = state.restarts.saturating_add(1);
            });
            if stop.is_cancelled() {
                return;
            }
            if self.state().linked == Some(false) {
                warn!(%channel, %account, reason = reason.unwrap_or_default(), "account waits to be linked");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.linked.notified() => {}
                    () = tokio::time::sleep(UNLINKED_RETRY) => {}
                }
                continue;
            }
            if begun.elapsed() >= HEALTHY_AFTER {
                pause = RESTART_FIRST;
            }
            let jittered = pause.mul_f64(rand::random_range(0.75..=1.25));
            warn!(%channel, %account, reason = reason.unwrap_or_default(), in_ms = jittered.as_millis(), "account stopped; it is started again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.is_held(true) => {}
                () = tokio::time::sleep(jittered) => {}
            }
            pause = pause.mul_f64(RESTART_FACTOR).min(RESTART_LONGEST);
        }
    }

    /// Runs the account once, with the configuration as it is now.
    async fn once(&self, stop: &CancellationToken) -> Result<(), String> {
        let file = self.file().await;
        let profile = Profile::read(&file, &self.key).map_err(|fault| fault.to_string())?;
        let profile = Arc::new(self.make.complete(profile).await);
        let made = tokio::select! {
            made = self.make.make(Arc::clone(&profile)) => made,
            () = stop.cancelled() => return Ok(()),
        };
        let adapter = made.map_err(|fault| self.told(&fault))?;
        let interrupted = self.store.interrupted(&self.key, self.context.clock.now_ms(), adapter.repeats()).await;
        let interrupted = interrupted.map_err(|error| error.to_string())?;
        if interrupted > 0 {
            warn!(channel = %self.key.channel, account = %self.key.account, messages = interrupted, sent_again = adapter.repeats(), "messages were being sent when the account stopped");
        }
        let (tasks, ended) = (Tasks::new(stop.child_token()), stop.child_token());
        self.pulse.beat(self.context.clock.now_ms());
        self.change(|state| {
            state.running = true;
            state.last_error = None;
            state.adapter = Some(Arc::clone(&adapter));
            state.profile = Arc::clone(&profile);
        });
        info!(channel = %self.key.channel, account = %self.key.account, "account started");
        let arrived = Arc::new(Notify::new());
        let link =
            Link::new(self.key.clone(), self.store.clone(), self.context.clock.clone(), Arc::clone(&self.pulse), Arc::clone(&arrived));
        let dispatch = self.dispatch(&profile, &adapter, arrived);
        let courier = Courier {
            key: self.key.clone(),
            store: self.store.clone(),
            shelf: self.shelf.clone(),
            clock: self.context.clock.clone(),
            pulse: Arc::clone(&self.pulse),
            retry: profile.retry,
            posted: Arc::clone(&self.posted),
            settled: Arc::clone(&self.settled),
        };
        let mut sending = std::pin::pin!(courier.run(adapter.as_ref(), &ended).fuse());
        let result = tokio::select! {
            received = adapter.receive(&link, &ended) => received.map_err(|fault| self.told(&fault)),
            handed = dispatch.run(&tasks, &ended) => handed.map_err(|error| error.to_string()),
            sent = &mut sending => sent.map_err(|error| error.to_string()),
            silent = self.watch(adapter.as_ref()) => Err(silent),
            () = tasks.shutdown().cancelled() => Ok(()),
        };
        ended.cancel();
        if !sending.is_terminated() {
            // What is being sent is not cut off: nobody could tell then whether it was taken.
            drop(sending.await);
        }
        tasks.shutdown().cancel();
        tasks.join().await;
        if tokio::time::timeout(CLOSE_TIMEOUT, adapter.close()).await.is_err() {
            warn!(channel = %self.key.channel, account = %self.key.account, "the account does not end in time");
        }
        result
    }

    /// Words why the account stopped, and remembers what that says of it.
    fn told(&self, fault: &Fault) -> String {
        if matches!(fault, Fault::Unlinked(_)) {
            self.change(|state| state.linked = Some(false));
        }
        fault.to_string()
    }

    fn dispatch(&self, profile: &Arc<Profile>, adapter: &Arc<dyn Adapter>, arrived: Arc<Notify>) -> Dispatch {
        Dispatch {
            key: self.key.clone(),
            label: self.network.label().to_owned(),
            profile: Arc::clone(profile),
            usual_mentions: profile.usual_mentions(),
            adapter: Arc::clone(adapter),
            store: self.store.clone(),
            shelf: self.shelf.clone(),
            agent: self.agent.clone(),
            clock: self.context.clock.clone(),
            zone: self.zone.clone(),
            arrived,
            posted: Arc::clone(&self.posted),
            history: Arc::clone(&self.history),
        }
    }

    /// Reads the configuration anew: a correction of it must not need a restart of the service.
    async fn file(&self) -> Arc<File> {
        let context = self.context.clone();
        let read = tokio::task::spawn_blocking(move || context.reread_config()).await;
        match read {
            Ok(Ok(file)) if file.exists() => Arc::new(file),
            _ => Arc::clone(&self.context.config),
        }
    }

    /// Waits until nothing was heard of the network for too long.
    async fn watch(&self, adapter: &dyn Adapter) -> String {
        let silence_max = adapter.silence_max();
        loop {
            tokio::time::sleep(WATCH_INTERVAL.min(silence_max / 2)).await;
            let silent_ms = self.context.clock.now_ms() - self.pulse.alive_at_ms();
            if u128::try_from(silent_ms).is_ok_and(|silent_ms| silent_ms > silence_max.as_millis()) {
                return format!("nothing was heard of the network for {} s", silence_max.as_secs());
            }
        }
    }
}
