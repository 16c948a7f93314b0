//! Receiving by webhook: the Bot API delivers to a door of ours.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::{info, warn};
use verso_kit::CancellationToken;

use super::api::Failure;
use super::polling::UPDATES;
use super::reading::Reader;
use super::{Bot, Hook};
use crate::adapter::Fault;
use crate::link::Link;
use crate::webhooks::Door;

/// What holds the secret of a delivery.
const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";

/// How often the Bot API is asked whether it still delivers to us.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);

impl Bot {
    /// Receives until `stop`.
    pub(super) async fn receive_by_webhook(
        &self,
        hook: &Hook,
        reader: &Reader,
        link: &Link,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let door = Door { host: &hook.host, port: hook.port, path: &hook.path, header: SECRET_HEADER, secret: hook.secret.as_ref() };
        // The door is open before anybody is told of it.
        let mut visits = self.webhooks.open(door).await?;
        self.set_webhook(hook).await.map_err(Failure::into_fault)?;
        info!(address = %visits.address, path = %hook.path, "the Bot API delivers here");
        link.pulse.connected(link.clock.now_ms());
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.reset();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = check.tick() => self.check_webhook(hook, link).await?,
                visit = visits.next() => {
                    let visit = visit.ok_or_else(|| Fault::Network("the listener of deliveries is gone".to_owned()))?;
                    if let Ok(raw) = serde_json::from_slice::<Value>(&visit.body) {
                        self.take(link, raw, reader).await?;
                    }
                    // Nonsense is kept as nothing: it would be nonsense again.
                    visit.keep();
                }
            }
            link.ready(stop).await?;
        }
    }

    async fn set_webhook(&self, hook: &Hook) -> Result<(), Failure> {
        let secret = hook.secret.as_ref().map(|secret| secret.expose().trim());
        let asked = json!({"url": hook.url, "secret_token": secret, "allowed_updates": UPDATES});
        self.api.call::<Value>("setWebhook", &asked).await.map(drop)
    }

    /// Asks whether the Bot API still delivers to us. That it answers is a sign of life.
    async fn check_webhook(&self, hook: &Hook, link: &Link) -> Result<(), Fault> {
        match self.api.call::<Value>("getWebhookInfo", &json!({})).await {
            Ok(info) => {
                link.pulse.beat(link.clock.now_ms());
                if let Some(error) = info["last_error_message"].as_str() {
                    warn!(%error, "the Bot API could not deliver to the webhook");
                }
                if info["url"].as_str() != Some(hook.url.as_str()) {
                    warn!("somebody else has changed where the Bot API delivers to; it is changed back");
                    self.set_webhook(hook).await.map_err(Failure::into_fault)?;
                }
                Ok(())
            }
            Err(failure @ Failure::Refused { code: 401 | 404, .. }) => Err(failure.into_fault()),
            // The silence is counted.
            Err(_) => Ok(()),
        }
    }
}
