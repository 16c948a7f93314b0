//! `system-presence`, from a copy: every client polls it, and it seldom changes.

use verso_proto::presence::v1::SystemPresenceRequest;

use super::Local;
use crate::error::{fault, wire};

pub(super) fn register(local: &mut Local) {
    local.on_rendered::<SystemPresenceRequest, _, _>(|asking, request| async move {
        let copy = &asking.gateway.presence_list;
        if let Some(known) = copy.get() {
            return Ok(known);
        }
        let ticket = copy.ticket();
        let list = asking.gateway.services.call(request).await.map_err(|status| wire(&status, "presence"))?;
        let rendered = serde_json::to_string(&list).map_err(|error| fault(&error))?;
        copy.put(ticket, rendered.clone());
        Ok(rendered)
    });
}
