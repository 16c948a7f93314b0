//! `WhatsApp`: one linked device in a process of its own. The channel service speaks to it by the contract that every adapter keeps.

mod account;
mod files;
mod folder;
mod ladder;
mod line;
mod login;
mod reading;
mod run;
mod service;
mod session;
mod settings;
mod store;
mod titles;
mod writing;

use verso_adapter::{Error, Handover, Lifeline};
use verso_kit::CancellationToken;
use verso_kit::tasks::Tasks;

/// The network's id in the configuration.
pub const CHANNEL: &str = "whatsapp";

/// Runs the account that `told` names until `shutdown`, or until whoever started this process is gone.
pub async fn host(told: Handover, lifeline: Lifeline, shutdown: CancellationToken) -> Result<(), Error> {
    lifeline.follow(shutdown.clone()).map_err(Error::Handover)?;
    let tasks = Tasks::new(shutdown.clone());
    let served = verso_adapter::serve(service::Service::new(told.account.clone(), tasks.clone()), &told, shutdown.clone()).await;
    shutdown.cancel();
    tasks.join().await;
    served
}
