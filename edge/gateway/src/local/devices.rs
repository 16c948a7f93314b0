//! `device.*`: pairing requests, paired devices and their tokens.

use verso_proto::edge::v1::{
    DevicePairApproveRequest, DevicePairApproveResponse, DevicePairListRequest, DevicePairListResponse, DevicePairRejectRequest,
    DevicePairRejectResponse, DevicePairResolved, DeviceTokenRevokeRequest, DeviceTokenRevokeResponse, DeviceTokenRotateRequest,
    DeviceTokenRotateResponse,
};
use verso_protocol::close::Close;
use verso_protocol::{ErrorShape, Version};

use super::Local;
use crate::devices::Error;
use crate::dispatch::Asking;
use crate::error::fault;

pub(super) fn register(local: &mut Local) {
    local.on::<DevicePairListRequest, _, _>(|asking, _| async move {
        let (pending, paired) = asking.gateway.devices.list().await;
        Ok(DevicePairListResponse { pending, paired })
    });
    local.on::<DevicePairApproveRequest, _, _>(|asking, request| async move {
        let device = asking.gateway.devices.approve(&request.request_id).await.map_err(shape)?;
        resolved(&asking, &request.request_id, &device.device_id, "approved");
        Ok(DevicePairApproveResponse { request_id: request.request_id, device: Some(device) })
    });
    local.on::<DevicePairRejectRequest, _, _>(|asking, request| async move {
        let device_id = asking.gateway.devices.reject(&request.request_id).await.map_err(shape)?;
        resolved(&asking, &request.request_id, &device_id, "rejected");
        Ok(DevicePairRejectResponse { request_id: request.request_id, device_id })
    });
    local.on::<DeviceTokenRotateRequest, _, _>(|asking, request| async move { rotate(asking, request).await });
    local.on::<DeviceTokenRevokeRequest, _, _>(|asking, request| async move {
        let token = asking.gateway.devices.revoke(&request.device_id, &request.role).await.map_err(shape)?;
        asking.gateway.connections.close_device(&request.device_id, &request.role, &Close::AUTH_CHANGED);
        let revoked_at_ms = token.revoked_at_ms.unwrap_or_default();
        Ok(DeviceTokenRevokeResponse { device_id: request.device_id, role: request.role, revoked_at_ms })
    });
}

async fn rotate(asking: Asking, request: DeviceTokenRotateRequest) -> Result<DeviceTokenRotateResponse, ErrorShape> {
    let scopes = request.scopes.map(|scopes| scopes.values);
    let token = asking.gateway.devices.rotate(&request.device_id, &request.role, scopes).await.map_err(shape)?;
    let own = asking.outlet.device_id.as_deref() == Some(request.device_id.as_str());
    // Newer clients never see another device's token; older operators print it for the user to carry over.
    let withheld = !own && asking.outlet.peer.version == Version::V4;
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

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn shape(error: Error) -> ErrorShape {
    match error {
        Error::UnknownRequest | Error::UnknownToken => ErrorShape::invalid(error.to_string()),
        Error::Save(_) => fault(&error),
    }
}
