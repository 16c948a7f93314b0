//! What newer clients ask for to know where they are. It needs the gateway's secret.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;
use verso_proto::agent::v1::AvatarRequest;

use crate::gateway::Gateway;
use crate::http::Asked;
use crate::http::auth::authorize;
use crate::http::errors::json;

/// How long the agent service may take to say who answers; the page does not wait for it any longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// The longest name and picture, in characters.
const NAME_CHARS_MAX: usize = 50;
const AVATAR_CHARS_MAX: usize = 200;

/// Who answers, as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assistant {
    pub(super) name: String,
    pub(super) avatar: String,
    /// Where the picture comes from, if there is one.
    pub(super) source: Option<String>,
}

/// The section `ui.assistant`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configured {
    name: Option<String>,
    avatar: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ControlUiConfig)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "as clients read it")]
pub(in crate::http) struct Bootstrap {
    base_path: String,
    assistant_name: String,
    assistant_avatar: String,
    assistant_avatar_source: Option<String>,
    assistant_avatar_status: Option<String>,
    assistant_avatar_reason: Option<String>,
    assistant_agent_id: String,
    server_version: &'static str,
    server_build_id: &'static str,
    embed_sandbox: &'static str,
    allow_external_embed_urls: bool,
    automatically_fetch_favicons: bool,
    community_invite: bool,
    terminal_enabled: bool,
    cli_agents_enabled: bool,
    plugin_assets_require_auth: bool,
    #[schema(value_type = Vec<Object>)]
    plugin_frame_grants: [(); 0],
}

pub(super) async fn serve(gateway: &Arc<Gateway>, asked: &Asked, head: &Parts, base: &str) -> Response {
    if let Err(refusal) = authorize(gateway, asked, &head.headers).await {
        return refusal.into_response();
    }
    let assistant = assistant(gateway, base).await;
    let mut response = json(&Bootstrap {
        base_path: base.to_owned(),
        assistant_name: assistant.name,
        assistant_avatar: assistant.avatar,
        assistant_avatar_source: assistant.source,
        assistant_avatar_status: None,
        assistant_avatar_reason: None,
        assistant_agent_id: default_agent(gateway),
        server_version: crate::VERSION,
        server_build_id: crate::VERSION,
        embed_sandbox: "scripts",
        allow_external_embed_urls: false,
        automatically_fetch_favicons: false,
        community_invite: false,
        terminal_enabled: false,
        cli_agents_enabled: false,
        plugin_assets_require_auth: true,
        plugin_frame_grants: [],
    });
    response.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

fn default_agent(gateway: &Gateway) -> String {
    let known = gateway.health.latest();
    Some(known.response.default_agent_id.clone()).filter(|id| !id.is_empty()).unwrap_or_else(|| "main".to_owned())
}

/// Returns who answers: what the configuration says, else the default agent, else somebody without a name.
pub(super) async fn assistant(gateway: &Gateway, base: &str) -> Assistant {
    let configured: Configured = gateway.running_config().section("ui.assistant").unwrap_or_default();
    let agent_id = default_agent(gateway);
    let asking = gateway.services.call(AvatarRequest { agent_id: agent_id.clone() });
    let known = timeout(PATIENCE, asking).await.ok().and_then(Result::ok);
    let own = configured.avatar.filter(|avatar| is_avatar(avatar));
    let (name, initial, picture) = match known {
        Some(known) => {
            let local = known.content.is_some().then(|| format!("{base}/avatar/{agent_id}"));
            (known.name, known.initial, local.or(Some(known.source).filter(|source| is_avatar(source) && !source.is_empty())))
        }
        None => (String::new(), String::new(), None),
    };
    let name = configured.name.filter(|name| !name.trim().is_empty()).unwrap_or(name);
    let name: String = name.trim().chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect();
    let source = own.or(picture);
    Assistant {
        name: if name.is_empty() { "Assistant".to_owned() } else { name },
        avatar: source.clone().unwrap_or_else(|| if initial.is_empty() { "A".to_owned() } else { initial }),
        source,
    }
}

/// An address of a picture, a path, or up to four letters without spaces; nothing that a page could run.
fn is_avatar(text: &str) -> bool {
    let text = text.trim();
    let address = text.starts_with("https://") || text.starts_with("http://") || text.starts_with("data:image/");
    let path = text.starts_with('/') && !text.starts_with("//");
    let short = text.chars().count() <= 4 && !text.contains(char::is_whitespace) && !text.contains(':');
    !text.is_empty() && (short || ((address || path) && text.chars().count() <= AVATAR_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_37_what_could_run_is_no_picture() {
        for avatar in ["javascript:alert(1)", "data:text/html,<script>", "//evil.example/x.png", "a b", "", "vbscript:x", "longword"] {
            assert!(!is_avatar(avatar), "{avatar}");
        }
        for avatar in ["https://example.com/a.png", "data:image/png;base64,aGk=", "/avatar/main", "🦊", "A"] {
            assert!(is_avatar(avatar), "{avatar}");
        }
    }
}
