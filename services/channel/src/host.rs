//! One account in this process alone: what `isolate: true` moves out of the channel service, which then speaks to it by the contract that
//! adapters of other programs keep.

mod grpc;
mod polls;

use std::sync::Arc;

use verso_adapter::{Handover, Lifeline};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::config::{Env, File};
use verso_kit::reload::Reload;
use verso_kit::service::{Context, Sockets};
use verso_kit::tasks::Tasks;

use crate::error::Error;
use crate::make;
use crate::media::Shelf;
use crate::network::Network;
use crate::store::AccountKey;
use grpc::Hosted;
pub(crate) use polls::Polls;

/// Runs the account that `told` names until `shutdown`, or until whoever started this process is gone.
pub async fn host(told: Handover, lifeline: Lifeline, shutdown: CancellationToken) -> Result<(), Error> {
    lifeline.follow(shutdown.clone()).map_err(verso_kit::service::Error::from)?;
    let network = Network::find(&told.channel).filter(|network| make::speaks(*network));
    let network = network.ok_or_else(|| Error::UnsupportedChannel(told.channel.clone()))?;
    let shelf = Shelf::open(told.folder.join("media")).await.map_err(Error::Shelf)?;
    let key = AccountKey { channel: told.channel.clone(), account: told.account.clone() };
    let tasks = Tasks::new(shutdown.clone());
    let polls = Polls::open(told.folder.join("polls.json")).await;
    let hosted = Hosted::new(key, network, context(&told), (shelf, polls), tasks.clone());
    let served = verso_adapter::serve(hosted, &told, shutdown.clone()).await;
    shutdown.cancel();
    tasks.join().await;
    Ok(served?)
}

/// What code of the channel service expects around it. Nothing of it reaches beyond the account's own folder.
fn context(told: &Handover) -> Context {
    Context {
        name: "channel",
        state_dir: told.folder.clone(),
        run_dir: told.folder.clone(),
        config: Arc::new(File::empty()),
        env: Env::default(),
        epoch: 0,
        incarnation: uuid::Uuid::new_v4().to_string(),
        clock: Clock::system(),
        credential: None,
        sockets: Sockets::bound_at(told.folder.join("unused.sock")),
        reload: Reload::default(),
        links: verso_kit::links::Links::default(),
    }
}
