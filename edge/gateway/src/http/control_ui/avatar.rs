//! `<base path>/avatar/<agent>`: the picture that stands for an agent.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::request::Parts;
use serde_json::json as value;
use verso_proto::agent::v1::AvatarRequest;

use crate::gateway::Gateway;
use crate::http::Asked;
use crate::http::auth::authorize;
use crate::http::errors::{Refusal, json};
use crate::http::models::is_agent_id;

pub(super) async fn serve(gateway: &Arc<Gateway>, asked: &Asked, head: &Parts, base: &str, agent: &str) -> Response {
    let agent = agent.to_ascii_lowercase();
    if !is_agent_id(&agent) {
        return Refusal::NotFound.into_response();
    }
    // Pages of this machine's own user show pictures without a credential.
    if !asked.facts.local
        && let Err(refusal) = authorize(gateway, asked, &head.headers).await
    {
        return refusal.into_response();
    }
    let known = gateway.services.call(AvatarRequest { agent_id: agent.clone() }).await;
    let wants_facts = head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "meta=1"));
    let known = match known {
        Ok(known) => known,
        Err(status) => {
            return match Refusal::from_status(&status) {
                Refusal::Invalid(_) => Refusal::NotFound.into_response(),
                refusal => refusal.into_response(),
            };
        }
    };
    if wants_facts {
        let own = known.content.is_some().then(|| format!("{base}/avatar/{agent}"));
        let url = own.or(Some(known.source.clone()).filter(|source| !source.is_empty()));
        let source = Some(known.source).filter(|source| !source.is_empty() && !source.starts_with("data:"));
        let facts = value!({"avatarUrl": url, "avatarSource": source, "avatarStatus": null, "avatarReason": null});
        let mut response = json(&facts);
        response.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-cache"));
        return response;
    }
    match (known.content, known.media_type) {
        (Some(content), Some(media_type)) => {
            // A drawing may hold scripts.
            let fence = "sandbox; default-src 'none'; style-src 'unsafe-inline'";
            let headers = [(CACHE_CONTROL, "no-cache".to_owned()), (CONTENT_SECURITY_POLICY, fence.to_owned()), (CONTENT_TYPE, media_type)];
            (headers, content).into_response()
        }
        _ => Refusal::NotFound.into_response(),
    }
}
