//! From an account's settings to the adapter that speaks for it.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use verso_kit::service::Context;

use crate::adapter::{Adapter, Fault};
use crate::irc;
use crate::media::Shelf;
use crate::network::Network;
use crate::profile::Profile;
use crate::store::AccountKey;
use crate::telegram::{Bot, Surroundings};
use crate::webhooks::Webhooks;

/// Makes the adapter of one account, each time it is started.
pub(crate) trait Make: Debug + Send + Sync {
    /// Makes it by the settings as they are now.
    fn make(&self, profile: Arc<Profile>) -> BoxFuture<'_, Result<Arc<dyn Adapter>, Fault>>;

    /// Adds to the settings what the account itself knows, such as who its owner is.
    fn complete(&self, profile: Profile) -> BoxFuture<'_, Profile> {
        std::future::ready(profile).boxed()
    }
}

/// Accounts of the networks that this build speaks to.
#[derive(Debug)]
pub(crate) struct BuiltIn {
    pub(crate) key: AccountKey,
    pub(crate) network: Network,
    pub(crate) context: Context,
    pub(crate) shelf: Shelf,
    pub(crate) webhooks: Webhooks,
}

/// Whether this build speaks to a network.
pub(crate) fn speaks(network: Network) -> bool {
    matches!(network, Network::Telegram | Network::Irc)
}

impl Make for BuiltIn {
    fn make(&self, profile: Arc<Profile>) -> BoxFuture<'_, Result<Arc<dyn Adapter>, Fault>> {
        async move {
            Ok(match self.network {
                Network::Telegram => self.telegram(profile).await?,
                Network::Irc => Arc::new(irc::Session::new(&profile)?),
                _ => return Err(Fault::Account("this build does not speak to this network".to_owned())),
            })
        }
        .boxed()
    }
}

impl BuiltIn {
    async fn telegram(&self, profile: Arc<Profile>) -> Result<Arc<dyn Adapter>, Fault> {
        let (of_token, env, account) = (Arc::clone(&profile), self.context.env.clone(), self.key.account.clone());
        let token = tokio::task::spawn_blocking(move || of_token.telegram_token(&env, &account)).await.ok().flatten();
        let token = token.ok_or_else(|| Fault::Account("there is no bot token".to_owned()))?;
        let agent = self.context.peer("agent");
        let surroundings = Surroundings { shelf: self.shelf.clone(), webhooks: self.webhooks.clone(), agent };
        Ok(Arc::new(Bot::new(token, &profile, surroundings)?))
    }
}
