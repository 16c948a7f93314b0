//! `device.*`: pairing requests, paired devices and their tokens.

use verso_proto::edge::v1::{
    DevicePairApproveRequest, DevicePairApproveResponse, DevicePairListRequest, DevicePairListResponse, DevicePairRejectRequest,
    DevicePairRejectResponse, DevicePairRemoveRequest, DevicePairRemoveResponse, DevicePairRenameRequest, DevicePairRenameResponse,
    DevicePairResolved, DeviceTokenRevokeRequest, DeviceTokenRevokeResponse, DeviceTokenRotateRequest, DeviceTokenRotateResponse,
};
use verso_proto::methods::Scope;
use verso_proto::node::v1::ForgetRequest;
use verso_protocol::auth::{covers, missing_scope};
use verso_protocol::close::Close;
use verso_protocol::{ErrorShape, Version};

use super::Local;
use crate::devices::Error;
use crate::dispatch::Asking;
use crate::error::fault;
use crate::preferences::device_key;

pub(super) fn register(local: &mut Local) {
    local.on::<DevicePairListRequest, _, _>(|asking, _| async move {
        let (pending, mut paired) = asking.gateway.devices.list().await;
        let connected = asking.gateway.connections.device_ids();
        for device in &mut paired {
            device.connected = Some(connected.contains(&device.device_id));
        }
        Ok(DevicePairListResponse { pending, paired })
    });
    local.on::<DevicePairApproveRequest, _, _>(|asking, request| async move {
        let may_grant = |scopes: &[String]| may_grant(&asking, scopes);
        let device = asking.gateway.devices.approve(&request.request_id, may_grant).await?;
        resolved(&asking, &request.request_id, &device.device_id, "approved");
        Ok(DevicePairApproveResponse { request_id: request.request_id, device: Some(device) })
    });
    local.on::<DevicePairRejectRequest, _, _>(|asking, request| async move {
        let device_id = asking.gateway.devices.reject(&request.request_id).await?;
        resolved(&asking, &request.request_id, &device_id, "rejected");
        Ok(DevicePairRejectResponse { request_id: request.request_id, device_id })
    });
    local.on::<DevicePairRemoveRequest, _, _>(|asking, request| async move {
        let gateway = &asking.gateway;
        gateway.devices.remove(&request.device_id).await?;
        gateway.preferences.forget(&device_key(&request.device_id)).await.map_err(|error| fault(&error))?;
        for role in ["operator", "node"] {
            gateway.connections.close_device(&request.device_id, role, &Close::DEVICE_REMOVED);
        }
        // A node service that is away keeps a node that cannot come back; whoever minds removes it by name.
        drop(gateway.services.call(ForgetRequest { node_id: request.device_id.clone() }).await);
        Ok(DevicePairRemoveResponse { device_id: request.device_id })
    });
    local.on::<DevicePairRenameRequest, _, _>(|asking, request| async move {
        let display_name = request.display_name.trim();
        if display_name.is_empty() {
            return Err(ErrorShape::invalid("displayName required"));
        }
        asking.gateway.devices.rename(&request.device_id, display_name).await?;
        Ok(DevicePairRenameResponse { device_id: request.device_id, display_name: display_name.to_owned() })
    });
    local.on::<DeviceTokenRotateRequest, _, _>(|asking, request| async move { rotate(asking, request).await });
    local.on::<DeviceTokenRevokeRequest, _, _>(|asking, request| async move {
        let token = asking.gateway.devices.revoke(&request.device_id, &request.role).await?;
        asking.gateway.connections.close_device(&request.device_id, &request.role, &Close::AUTH_CHANGED);
        let revoked_at_ms = token.revoked_at_ms.unwrap_or_default();
        Ok(DeviceTokenRevokeResponse { device_id: request.device_id, role: request.role, revoked_at_ms })
    });
}

async fn rotate(asking: Asking, request: DeviceTokenRotateRequest) -> Result<DeviceTokenRotateResponse, ErrorShape> {
    let scopes = request.scopes.map(|scopes| scopes.values);
    let own = asking.outlet.device_id.as_deref() == Some(request.device_id.as_str());
    let may_grant = |scopes: &[String]| if own { Ok(()) } else { may_grant(&asking, scopes) };
    let token = asking.gateway.devices.rotate((&request.device_id, &request.role), scopes, may_grant).await?;
    // Newer clients never see another device's token; older administrators print it for the user to carry over.
    let peer = asking.outlet.peer;
    let withheld = !own && (peer.version == Version::V4 || !peer.scopes.holds(Scope::Admin));
    asking.gateway.connections.close_device(&request.device_id, &request.role, &Close::AUTH_CHANGED);
    Ok(DeviceTokenRotateResponse {
        device_id: request.device_id,
        role: request.role,
        rotated_at_ms: token.issued_at_ms(),
        token: (!withheld).then_some(token.value),
        scopes: token.scopes,
        token_delivery: withheld.then(|| "withheld-cross-device".to_owned()),
    })
}

fn resolved(asking: &Asking, request_id: &str, device_id: &str, decision: &str) {
    asking.gateway.emit(DevicePairResolved {
        request_id: request_id.to_owned(),
        device_id: device_id.to_owned(),
        decision: decision.to_owned(),
        ts_ms: asking.gateway.context.clock.now_ms(),
    });
}

/// Nobody gives away more than he has himself: a caller who may only pair devices makes no administrators.
fn may_grant(asking: &Asking, scopes: &[String]) -> Result<(), ErrorShape> {
    let own = &asking.outlet.principal.scopes;
    scopes.iter().find(|scope| !covers(own, &[scope])).map_or(Ok(()), |scope| Err(missing_scope(scope)))
}

impl From<Error> for ErrorShape {
    fn from(error: Error) -> Self {
        match error {
            Error::UnknownRequest | Error::UnknownDevice | Error::UnknownToken => Self::invalid(error.to_string()),
            Error::Save(_) => fault(&error),
        }
    }
}
