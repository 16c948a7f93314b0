//! Takes over changes of the configuration that need no restart.

use std::sync::Arc;

use crate::config::Config;
use crate::gateway::Gateway;

/// Puts every later configuration in force, for WebSocket and HTTP at once.
pub(crate) fn follow(gateway: &Arc<Gateway>) {
    // The gateway owns what would own it.
    let (house, hearing) = (Arc::downgrade(gateway), Arc::downgrade(gateway));
    gateway.context.reload.on_notice(move || {
        if let Some(gateway) = hearing.upgrade() {
            gateway.health.request_refresh();
        }
    });
    gateway.context.reload.on_change(move |file| {
        let house = house.upgrade();
        async move {
            let Some(gateway) = house else { return Ok(None) };
            let config = Config::load(&file, &gateway.context.env).map_err(|error| error.to_string())?;
            gateway.replace_config(file, config);
            Ok(None)
        }
    });
}
