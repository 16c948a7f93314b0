//! What the service counts: messages in and out, and how each account fares.

use std::sync::Arc;

use verso_kit::metrics::{self, NONE, whole};

use crate::accounts::Accounts;
use crate::store::outbox::Fate;
use crate::store::{AccountKey, Store};

verso_kit::metrics! {
    /// Messages that were taken from a network, each once.
    RECEIVED: Counter = "openclaw_message_received" ["channel", "source"] as "openclaw.message.received";
    /// Messages that were handed to an agent.
    DISPATCHED: Counter = "openclaw_message_dispatch_started" ["channel", "source"] as "openclaw.message.dispatch.started";
    /// Messages that were dealt with.
    COMPLETED: Counter = "openclaw_message_dispatch_completed" ["channel", "outcome"] as "openclaw.message.dispatch.completed";
    /// Messages that were given to a network.
    SENDING: Counter = "openclaw_message_delivery_started" ["channel", "delivery_kind"] as "openclaw.message.delivery.started";
    /// What became of them.
    SENT: Counter = "openclaw_message_delivery" ["channel", "delivery_kind", "error_category", "outcome"];
    /// How long networks took to take them.
    SENT_SECONDS: Histogram(SECONDS) = "openclaw_message_delivery_duration_seconds" ["channel", "delivery_kind", "error_category", "outcome"] as "openclaw.message.delivery.duration_ms";
    /// Messages that came in, by how they were dealt with; `open` ones are not yet.
    INBOX: Gauge = "verso_channel_inbox" ["account", "channel", "state"];
    /// Messages that go out, by how they fare.
    OUTBOX: Gauge = "verso_channel_outbox" ["account", "channel", "state"];
    /// How long the oldest message waits that is to go out.
    OLDEST: Gauge = "verso_channel_outbox_oldest_seconds" [];
    /// Whether an account runs.
    RUNNING: Gauge = "verso_channel_account_running" ["account", "channel"];
    /// Whether an account reaches its network.
    CONNECTED: Gauge = "verso_channel_account_connected" ["account", "channel"];
    /// How long an account's network has said nothing.
    SILENT: Gauge = "verso_channel_account_silent_seconds" ["account", "channel"];
    /// Times that an account was started again.
    RESTARTS: Counter = "verso_channel_account_restarts" ["account", "channel"];
    /// Messages that were taken from an account's network, each once.
    BROUGHT: Counter = "verso_channel_account_received" ["account", "channel"];
    /// What became of messages that an account has given to its network.
    GIVEN: Counter = "verso_channel_account_sent" ["account", "channel", "outcome"];
    /// Memory that an account's own process uses, in bytes; accounts without one are not among them.
    MEMORY: Gauge = "verso_channel_account_memory_bytes" ["account", "channel"];
}

/// Makes what the service counts a part of what its process answers.
pub(crate) fn start(accounts: &Arc<Accounts>, store: &Store, clock: &verso_kit::clock::Clock) {
    metrics::register(METRICS);
    let (accounts, now) = (Arc::downgrade(accounts), clock.clone());
    metrics::reading("accounts", move || {
        if let Some(accounts) = accounts.upgrade() {
            read_accounts(&accounts, now.now_ms());
        }
    });
    let (store, clock) = (store.clone(), clock.clone());
    metrics::reading_later("ledgers", move || {
        let (store, now_ms) = (store.clone(), clock.now_ms());
        Box::pin(async move {
            // A database that cannot be read leaves the gauges as they were; it says so itself.
            let Ok(ledgers) = store.ledgers().await else { return };
            let rows = |rows: Vec<(AccountKey, String, i64)>| {
                rows.into_iter().map(|(key, state, count)| ([key.account, key.channel, state], whole(count)))
            };
            INBOX.replace(rows(ledgers.inbox));
            OUTBOX.replace(rows(ledgers.outbox));
            OLDEST.set([], ledgers.oldest_waiting_ms.map_or(0.0, |at_ms| whole((now_ms - at_ms).max(0)) / 1_000.0));
        })
    });
}

fn read_accounts(accounts: &Accounts, now_ms: i64) {
    let Ok(channels) = accounts.channels(None) else { return };
    let yes = |flag: bool| if flag { 1.0 } else { 0.0 };
    let (mut running, mut connected, mut silent, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for fare in channels.iter().flat_map(|channel| &channel.accounts) {
        let Some(unit) = &fare.unit else { continue };
        let labels = || [unit.key.account.clone(), unit.key.channel.clone()];
        running.push((labels(), yes(fare.state.running)));
        connected.push((labels(), yes(fare.state.running && unit.pulse.is_connected(fare.state.last_start_at_ms))));
        let alive_at_ms = unit.pulse.alive_at_ms();
        silent.push((labels(), if alive_at_ms == 0 { 0.0 } else { whole((now_ms - alive_at_ms).max(0)) / 1_000.0 }));
        let process = fare.state.adapter.as_ref().and_then(|adapter| adapter.process());
        memory.extend(process.and_then(metrics::resident).map(|bytes| (labels(), bytes)));
        RESTARTS.read([&unit.key.account, &unit.key.channel], whole(fare.state.restarts));
    }
    RUNNING.replace(running);
    CONNECTED.replace(connected);
    SILENT.replace(silent);
    MEMORY.replace(memory);
}

/// Counts a message that its network has brought.
pub(crate) fn received(key: &AccountKey) {
    RECEIVED.one_more([&key.channel, "network"]);
    BROUGHT.one_more([&key.account, &key.channel]);
}

/// Counts a message that is handed to an agent.
pub(crate) fn dispatched(channel: &str) {
    DISPATCHED.one_more([channel, "network"]);
}

/// Counts messages that were dealt with: `answered`, `ignored`, `refused` or `failed`.
pub(crate) fn completed(channel: &str, outcome: &str, count: usize) {
    COMPLETED.add([channel, outcome], whole(count));
}

/// Takes down one attempt to give a message to a network.
pub(crate) fn sent(AccountKey { channel, account }: &AccountKey, kind: &str, fate: &Fate, elapsed: std::time::Duration) {
    let (outcome, category) = match fate {
        // It was not tried.
        Fate::Paced { .. } => return,
        Fate::Sent { .. } => ("sent", NONE),
        Fate::Later { .. } => ("retried", "later"),
        Fate::Failed { .. } => ("failed", "refused"),
        Fate::Expired => ("failed", "expired"),
        Fate::Uncertain { .. } => ("uncertain", "unknown"),
    };
    GIVEN.one_more([account, channel, outcome]);
    SENDING.one_more([channel, kind]);
    SENT.one_more([channel, kind, category, outcome]);
    SENT_SECONDS.observe([channel, kind, category, outcome], elapsed.as_secs_f64());
}
