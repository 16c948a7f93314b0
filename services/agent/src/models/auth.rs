//! Changing the credentials of model providers. They are written to a file that only the gateway reads, and never shown again.

use verso_kit::config::Secret;
use verso_proto::agent::v1::{
    ModelsAuthLogoutRequest, ModelsAuthLogoutResponse, ModelsAuthOrderSetRequest, ModelsAuthOrderSetResponse, ModelsAuthSetApiKeyRequest,
    ModelsAuthSetApiKeyResponse,
};

use super::access::agent;
use crate::error::Error;
use crate::runs::Runs;

/// Keeps an API key.
pub(crate) async fn set_api_key(runs: &Runs, request: ModelsAuthSetApiKeyRequest) -> Result<ModelsAuthSetApiKeyResponse, Error> {
    let agent = agent(runs, "models.authSetApiKey", request.agent_id.as_deref())?;
    let provider = request.provider.trim().to_lowercase();
    let id = request.profile_id.map_or_else(|| format!("{provider}:default"), |id| id.trim().to_owned());
    let key = Secret::new(request.api_key.trim().to_owned());
    runs.parts.keyring.keep(&agent, id.clone(), provider, key).await.map_err(Error::Credentials)?;
    Ok(ModelsAuthSetApiKeyResponse { ok: true, profile_id: id })
}

/// Forgets credentials.
pub(crate) async fn logout(runs: &Runs, request: &ModelsAuthLogoutRequest) -> Result<ModelsAuthLogoutResponse, Error> {
    let agent = agent(runs, "models.authLogout", request.agent_id.as_deref())?;
    let keyring = &runs.parts.keyring;
    let removed = keyring.forget(&agent, request.provider.as_deref(), request.profile_id.as_deref()).await.map_err(Error::Credentials)?;
    Ok(ModelsAuthLogoutResponse { ok: true, removed })
}

/// Puts a provider's credentials into an order.
pub(crate) async fn set_order(runs: &Runs, request: ModelsAuthOrderSetRequest) -> Result<ModelsAuthOrderSetResponse, Error> {
    let agent = agent(runs, "models.authOrderSet", request.agent_id.as_deref())?;
    let provider = request.provider.trim().to_lowercase();
    runs.parts.keyring.set_order(&agent, provider, request.order).await.map_err(Error::Credentials)?;
    Ok(ModelsAuthOrderSetResponse { ok: true })
}
