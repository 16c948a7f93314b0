//! Addresses of the canvas for clients.

use verso_proto::edge::v1::{
    CanvasOpenRequest, CanvasOpenResponse, PluginSurfaceRefreshRequest, PluginSurfaceRefreshResponse, PluginSurfaceUrls,
};
use verso_protocol::{Code, ErrorShape};

use super::Local;
use crate::capabilities::Grant;
use crate::connection::hello::MAIN_SESSION;
use crate::dispatch::Asking;
use crate::http::canvas::surface_url;

/// The only surface.
const CANVAS: &str = "canvas";

pub(super) fn register(local: &mut Local) {
    local.on::<PluginSurfaceRefreshRequest, _, _>(|asking, request| async move {
        let surface = request.surface.trim().to_owned();
        if surface != CANVAS {
            return Err(ErrorShape::invalid(format!("unknown surface \"{surface}\"; there is \"{CANVAS}\"")));
        }
        let (url, expires_at_ms) = address(&asking, MAIN_SESSION, true).await?;
        Ok(PluginSurfaceRefreshResponse { surface, plugin_surface_urls: Some(PluginSurfaceUrls { canvas: Some(url) }), expires_at_ms })
    });
    local.on::<CanvasOpenRequest, _, _>(|asking, request| async move {
        let session = request.session_key.as_deref().unwrap_or(MAIN_SESSION);
        // A browser outlives the call that asked for its address.
        let (base, expires_at_ms) = address(&asking, session, false).await?;
        let page = request.page.as_deref().unwrap_or("a2ui");
        let query = if page == CANVAS { String::new() } else { format!("?session={}", escaped(session)) };
        Ok(CanvasOpenResponse { url: format!("{base}/__verso__/{page}/{query}"), expires_at_ms })
    });
}

async fn address(asking: &Asking, session: &str, ends_with_connection: bool) -> Result<(String, i64), ErrorShape> {
    let outlet = &asking.outlet;
    let grant = Grant { principal: (*outlet.principal).clone(), session_key: session.to_owned() };
    let base = outlet.base.as_deref().ok_or_else(|| ErrorShape::invalid("the connection did not say its Host"))?;
    let conn_id = ends_with_connection.then_some(outlet.conn_id.as_str());
    let found = surface_url(&asking.gateway, base, Some(grant), conn_id).await;
    found.ok_or_else(|| ErrorShape::new(Code::Unavailable, "the canvas is off or away: see canvas.status"))
}

fn escaped(session: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    session.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
