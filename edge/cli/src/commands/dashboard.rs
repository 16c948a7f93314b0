//! `verso dashboard`: where the gateway's own page is.

use std::process::{Command, Stdio};

use super::Session;
use crate::args::{self, Dashboard};
use crate::client::Target;
use crate::output;

pub(super) fn run(session: &Session, arguments: &Dashboard) -> anyhow::Result<()> {
    let target = Target::find(session, &args::Target { url: None, token: None, password: None })?;
    let base = target.url.replacen("ws", "http", 1);
    let path = session.snapshot.file.value().pointer("/gateway/controlUi/basePath").and_then(serde_json::Value::as_str).unwrap_or_default();
    let page = format!("{}/{}", base.trim_end_matches('/'), path.trim_matches('/'));
    // Behind the #, the token stays in the browser: no server writes it into a log.
    let url = match &target.token {
        Some(token) => format!("{}/#token={}", page.trim_end_matches('/'), token.expose()),
        None => page,
    };
    output::line(format!("Dashboard URL: {url}"))?;
    let env = &session.snapshot.env;
    let graphical = cfg!(target_os = "macos") || env.get("DISPLAY").is_some() || env.get("WAYLAND_DISPLAY").is_some();
    if !graphical {
        let port = base.rsplit(':').next().unwrap_or_default();
        let user = env.get("USER").unwrap_or("user");
        output::line(format!(
            "No GUI detected. Open from your computer:\n  ssh -N -L {port}:127.0.0.1:{port} {user}@<host>\nThen open the URL above."
        ))?;
        return Ok(());
    }
    if !arguments.no_open {
        let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let opened = Command::new(program).arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        if opened.is_err() {
            output::notice("No browser could be opened; open the URL above yourself.");
        }
    }
    Ok(())
}
