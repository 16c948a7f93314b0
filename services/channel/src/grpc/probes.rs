//! Asking networks how accounts are.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use verso_kit::clock::Clock;
use verso_proto::channel::v1::{ChannelsStatusResponse, Probe};
use verso_proto::wire::v1::Json;

use crate::accounts::{Channel, Fare};

/// Asks the networks of all running accounts at once, and adds what they say.
pub(super) async fn add(report: &mut ChannelsStatusResponse, channels: &[Channel], limit: Duration, clock: &Clock) {
    let fares = channels.iter().flat_map(|channel| channel.accounts.iter().map(move |fare| (channel.network.id(), fare)));
    let probes = join_all(fares.map(async |(network, fare)| (network, fare.account.id.clone(), probe(fare, limit).await))).await;
    for (network, id, probe) in probes {
        let account =
            report.channel_accounts.get_mut(network).and_then(|list| list.accounts.iter_mut().find(|account| account.account_id == id));
        if let (Some(account), Some(probe)) = (account, probe) {
            account.last_probe_at_ms = Some(clock.now_ms());
            account.probe = Some(probe);
        }
    }
}

async fn probe(fare: &Fare, limit: Duration) -> Option<Probe> {
    let adapter = fare.state.adapter.as_ref()?;
    let begun = Instant::now();
    let answer = timeout(limit, adapter.probe()).await;
    let (said, error) = match answer {
        Ok(Ok(said)) => (Some(said), None),
        Ok(Err(fault)) => (None, Some(fault.to_string())),
        Err(_) => (None, Some(format!("no answer within {} ms", limit.as_millis()))),
    };
    let detail = |name: &str| said.as_ref().and_then(|said| said.details.get(name)).map(|value| Json { text: value.to_string() });
    Some(Probe {
        ok: error.is_none(),
        elapsed_ms: i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX),
        name: said.as_ref().map(|said| said.name.clone()),
        bot: detail("bot"),
        webhook: detail("webhook"),
        error,
    })
}
