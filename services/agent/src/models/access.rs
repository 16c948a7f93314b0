//! What clients can ask about models: which there are, which credentials, and whether they answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout};
use verso_proto::agent::v1::{
    Model as WireModel, ModelsAuthStatusRequest, ModelsAuthStatusResponse, ModelsListRequest, ModelsListResponse, ModelsProbeRequest,
    ModelsProbeResponse, ProbeResult, ProfileAuth, ProviderAuth, ThinkingLevel,
};

use super::{Catalog, Endpoint, Key, Model, aside, known};
use crate::error::Error;
use crate::keys::AgentId;
use crate::messages;
use crate::provider::{Failure, Prompt, Sampling};
use crate::runs::Runs;
use crate::sessions::levels;

/// How long a model may take to answer a probe, in milliseconds.
const PROBE_MS_DEFAULT: u64 = 20_000;

/// The longest answer to a probe, in tokens.
const PROBE_TOKENS_DEFAULT: u64 = 8;

/// Models that are probed at once, and at all.
const PROBES_AT_ONCE: usize = 4;
const PROBES_MAX: usize = 32;

/// A credential that ends within this time is about to, in milliseconds.
const EXPIRING_MS: i64 = 24 * 60 * 60 * 1_000;

/// Lists the models.
pub(crate) async fn list(runs: &Runs, request: &ModelsListRequest) -> Result<ModelsListResponse, Error> {
    let parts = &runs.parts;
    let agent = agent(runs, "models.list", request.agent_id.as_deref())?;
    // A local model server may have come up since.
    parts.catalog.default(&parts.clients).await;
    let mut models = Vec::new();
    for model in parts.catalog.list() {
        let available = available(runs, &agent, &model).await;
        if request.view.as_deref() != Some("available") || available {
            models.push(described(&parts.catalog, model, &parts.thinking_default, available));
        }
    }
    Ok(ModelsListResponse { models })
}

fn described(catalog: &Catalog, model: Model, thinking_default: &str, available: bool) -> WireModel {
    let levels = levels::of(&model);
    let level = |level: &&'static str| ThinkingLevel { id: (*level).to_owned(), label: (*level).to_owned() };
    WireModel {
        tags: catalog.tags(&model),
        thinking_levels: levels.iter().map(level).collect(),
        thinking_default: Some(if levels.contains(&thinking_default) { thinking_default } else { levels::OFF }.to_owned()),
        available: Some(available),
        input: std::iter::once("text").chain(model.images.then_some("image")).map(str::to_owned).collect(),
        context_window: i64::try_from(model.context_window).ok(),
        reasoning: Some(model.reasoning),
        id: model.id,
        name: model.name,
        provider: model.provider,
    }
}

/// Whether there is what its provider asks for.
async fn available(runs: &Runs, agent: &AgentId, model: &Model) -> bool {
    match &model.endpoint {
        Endpoint::Offline => true,
        Endpoint::Unusable(_) => false,
        Endpoint::Server(server) => {
            server.local() || server.signing.is_some() || keys(runs, agent, model).await.iter().any(|key| key.credential.is_some())
        }
    }
}

async fn keys(runs: &Runs, agent: &AgentId, model: &Model) -> Vec<Key> {
    let configured = match &model.endpoint {
        Endpoint::Server(server) => server.credential.as_ref(),
        Endpoint::Offline | Endpoint::Unusable(_) => None,
    };
    runs.parts.keyring.keys(agent, "", &model.provider, configured).await
}

pub(super) fn agent(runs: &Runs, method: &'static str, agent: Option<&str>) -> Result<AgentId, Error> {
    let roster = &runs.parts.roster;
    Ok(roster.named(method, agent)?.unwrap_or_else(|| roster.naming.default_agent.clone()))
}

/// Says which credentials there are for each provider that has a model.
pub(crate) async fn auth_status(runs: &Runs, request: &ModelsAuthStatusRequest) -> Result<ModelsAuthStatusResponse, Error> {
    let agent = agent(runs, "models.authStatus", request.agent_id.as_deref())?;
    let now_ms = runs.parts.clock.now_ms();
    let mut providers: Vec<ProviderAuth> = Vec::new();
    for model in runs.parts.catalog.list() {
        if model.offline() || providers.iter().any(|provider| provider.provider == model.provider) {
            continue;
        }
        let keys = keys(runs, &agent, &model).await;
        let profiles: Vec<ProfileAuth> =
            keys.into_iter().filter(|key| key.credential.is_some()).map(|key| profile(runs, key, now_ms)).collect();
        let local = matches!(&model.endpoint, Endpoint::Server(server) if server.local());
        let status = match profiles.first() {
            Some(profile) if profile.status == "cooldown" => "static",
            Some(profile) => profile.status.as_str(),
            None if local => "static",
            None => "missing",
        };
        let status = status.to_owned();
        let display_name = known::find(&model.provider).map_or(model.provider.as_str(), |known| known.name).to_owned();
        providers.push(ProviderAuth { provider: model.provider, display_name, status, profiles });
    }
    Ok(ModelsAuthStatusResponse { ts_ms: now_ms, providers })
}

fn profile(runs: &Runs, key: Key, now_ms: i64) -> ProfileAuth {
    let fate = runs.parts.keyring.fate(&key.id);
    let cools = fate.cools(now_ms);
    let status = match key.expires_at_ms {
        _ if cools => "cooldown",
        None => "static",
        Some(expires_at_ms) if expires_at_ms - now_ms < EXPIRING_MS => "expiring",
        Some(_) => "ok",
    };
    ProfileAuth {
        profile_id: key.id,
        r#type: key.kind.to_owned(),
        status: status.to_owned(),
        expires_at_ms: key.expires_at_ms,
        cooldown_until_ms: cools.then_some(fate.until_ms),
        cooldown_reason: fate.reason.filter(|_| cools),
    }
}

/// Asks models for a word. Neither their cooldowns nor anybody's transcript hear of it.
pub(crate) async fn probe(runs: &Runs, request: ModelsProbeRequest) -> Result<ModelsProbeResponse, Error> {
    let parts = &runs.parts;
    let agent = agent(runs, "models.probe", request.agent_id.as_deref())?;
    let profile = parts.roster.get(&agent);
    let models: Vec<Arc<Model>> = match (&request.model, &request.provider) {
        (Some(name), _) => vec![parts.catalog.choose(&parts.clients, Some(name), None).await?],
        (None, Some(provider)) => {
            parts.catalog.list().into_iter().filter(|model| model.provider.eq_ignore_ascii_case(provider)).map(Arc::new).collect()
        }
        (None, None) => parts.catalog.chain(&parts.clients, None, &profile).await?,
    };
    let limit = Duration::from_millis(request.timeout_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(PROBE_MS_DEFAULT));
    let tokens = request.max_tokens.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(PROBE_TOKENS_DEFAULT);
    let probes = futures_util::stream::iter(models.into_iter().take(PROBES_MAX).map(|model| {
        let agent = &agent;
        async move { probe_one(runs, agent, &model, limit, tokens).await }
    }));
    let results = probes.buffered(PROBES_AT_ONCE).collect().await;
    Ok(ModelsProbeResponse { ts_ms: parts.clock.now_ms(), results })
}

async fn probe_one(runs: &Runs, agent: &AgentId, model: &Model, limit: Duration, tokens: u64) -> ProbeResult {
    let key = keys(runs, agent, model).await.into_iter().next();
    let began = Instant::now();
    let outcome = timeout(limit, word(runs, model, key.as_ref(), tokens)).await;
    let (status, error) = match outcome {
        Ok(Ok(_)) => ("ok", None),
        Ok(Err(failure)) => (failure.kind.reason(), Some(failure.to_string())),
        Err(_) => ("timeout", Some(format!("the provider did not answer within {} ms", limit.as_millis()))),
    };
    ProbeResult {
        provider: model.provider.clone(),
        model: model.id.clone(),
        profile_id: key.filter(|key| key.credential.is_some()).map(|key| key.id),
        ok: error.is_none(),
        status: status.to_owned(),
        error,
        latency_ms: i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
    }
}

async fn word(runs: &Runs, model: &Model, key: Option<&Key>, tokens: u64) -> Result<String, Failure> {
    let prompt = Prompt { system: String::new(), messages: vec![Arc::new(messages::user("Reply with the word OK.", &[], 0))] };
    let sampling = Sampling { max_tokens: Some(tokens), ..Sampling::default() };
    aside::once(runs, model, key.and_then(|key| key.credential.as_ref()), &prompt, &sampling).await
}
