//! Where a message is to go: over which network, from which account, to whom.

use std::sync::Arc;

use crate::accounts::{Channel, Fare};
use crate::adapter::Adapter;
use crate::error::Error;
use crate::network::Network;
use crate::profile::Profile;
use crate::remote::login::NOT_LINKED;
use crate::units::Unit;

/// The network that is meant when nothing says which and the configuration does not tell.
const USUAL: Network = Network::WhatsApp;

/// The networks that have polls.
const WITH_POLLS: [Network; 3] = [Network::WhatsApp, Network::Telegram, Network::Discord];

/// Where a message is to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) channel: Option<&'a str>,
    pub(crate) account: Option<&'a str>,
    pub(crate) to: &'a str,
}

impl Target<'_> {
    /// Finds the network: the named one, else the only one that is configured.
    pub(crate) fn network(&self, channels: &[Channel]) -> Result<Network, Error> {
        let named = self.channel.map(|channel| channel.trim().to_lowercase()).filter(|channel| !channel.is_empty());
        if let Some(named) = named {
            return Network::find(&named).ok_or(Error::UnsupportedChannel(named));
        }
        let mut able =
            channels.iter().filter(|channel| channel.accounts.iter().any(|fare| fare.account.enabled && fare.account.configured));
        match (able.next(), able.next()) {
            (Some(only), None) => Ok(only.network),
            _ => Ok(USUAL),
        }
    }

    /// The same for a poll.
    pub(crate) fn network_with_polls(&self, channels: &[Channel]) -> Result<Network, Error> {
        let network = self.network(channels)?;
        if WITH_POLLS.contains(&network) { Ok(network) } else { Err(Error::UnsupportedPollChannel(network.id().to_owned())) }
    }

    /// Checks that the network could know somebody of that address.
    pub(crate) fn check_target(&self, network: Network) -> Result<(), Error> {
        let to = self.to.trim().trim_start_matches(network.id()).trim_start_matches(':').trim();
        let (hint, known) = match network {
            Network::WhatsApp => ("<E.164|group JID>", is_number(to) || to.contains('@')),
            Network::Signal => {
                ("<E.164|group ID|signal:group:ID|signal:+E.164>", is_number(to) || to.starts_with("group:") || to.len() > 20)
            }
            Network::Telegram => ("<chatId>", !to.is_empty()),
            Network::Discord | Network::Slack => ("<channelId|user:ID|channel:ID>", !to.is_empty()),
            Network::Other(_) => ("<an address of this network>", !to.is_empty()),
            Network::IMessage => ("<handle|chat_id:ID>", !to.is_empty()),
            Network::Irc => ("<#channel|nick>", !to.is_empty() && !to.contains(char::is_whitespace)),
        };
        if known { Ok(()) } else { Err(Error::NoTarget { label: network.label(), hint }) }
    }

    /// Returns the account, if it can send; else says why it cannot.
    pub(crate) fn account<'c>(&self, network: Network, channels: &'c [Channel]) -> Result<Sender<'c>, Error> {
        let channel = channels.iter().find(|channel| channel.network == network);
        let named = self.account.map(str::trim).filter(|account| !account.is_empty());
        let fare = match (channel, named) {
            (None, _) => return Err(Error::NotRunning { channel: network.id(), reason: "it is not configured".to_owned() }),
            (Some(channel), None) => channel.default_account(),
            (Some(channel), Some(named)) => match channel.accounts.iter().find(|fare| fare.account.id == named) {
                None => return Err(Error::UnknownAccount { channel: network.id(), account: named.to_owned() }),
                known => known,
            },
        };
        match fare.and_then(|fare| {
            Some(Sender { unit: fare.unit.as_ref()?, adapter: fare.state.adapter.as_ref()?, profile: &fare.state.profile })
        }) {
            Some(sender) => Ok(sender),
            None if fare.is_some_and(|fare| fare.account.enabled && fare.linked() == Some(false)) => {
                Err(Error::NotLinked { channel: network.id(), reason: NOT_LINKED.to_owned() })
            }
            None => Err(Error::NotRunning { channel: network.id(), reason: reason(fare) }),
        }
    }
}

/// An account that can send.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) unit: &'a Arc<Unit>,
    pub(crate) adapter: &'a Arc<dyn Adapter>,
    pub(crate) profile: &'a Arc<Profile>,
}

fn reason(fare: Option<&Fare>) -> String {
    let Some(fare) = fare else { return "it has no account".to_owned() };
    if !fare.account.enabled {
        return "its account is disabled".to_owned();
    }
    if !fare.account.configured {
        return "its account lacks credentials".to_owned();
    }
    fare.state.last_error.clone().unwrap_or_else(|| "its account is not running".to_owned())
}

/// A telephone number as people write it.
fn is_number(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    (5..=15).contains(&digits) && text.chars().all(|letter| letter.is_ascii_digit() || "+ -().".contains(letter))
}
