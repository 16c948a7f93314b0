//! `canvasHost` and the environment: whether there is a canvas, where, and for whom.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use verso_kit::service::{Context, Error};

use crate::access::Access;

/// What lies between the gateway's port and the canvas's, unless the configuration names a port.
const PORT_ABOVE_GATEWAY: u16 = 4;

/// The gateway's own port, unless the environment names another.
const GATEWAY_PORT: u16 = 18_789;

/// `canvasHost`, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Section {
    /// Default: true.
    enabled: Option<bool>,
    /// The port. Default: the gateway's port + 4.
    port: Option<u16>,
    /// The folder. Default: `~/verso/canvas`, or `<state>/canvas` when the state folder is not the usual one.
    root: Option<PathBuf>,
    /// Whether open pages load again when a file changes. Default: true.
    live_reload: Option<bool>,
    /// Whether messages that are not A2UI v0.8 are refused; otherwise they are warned of. Default: true.
    validate_a2ui: Option<bool>,
    /// Who may look without proof: `local` or `none`. Default: `local`.
    auth: Access,
}

/// What the canvas host does.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) enabled: bool,
    /// Where to listen when no socket was handed over.
    pub(crate) port: u16,
    pub(crate) root: PathBuf,
    /// Whether open pages load again when a file changes.
    pub(crate) live_reload: bool,
    /// Whether wrong messages are refused.
    pub(crate) validate_a2ui: bool,
    pub(crate) access: Access,
}

impl Config {
    /// Reads the configuration and the environment.
    pub(crate) fn read(context: &Context) -> Result<Self, Error> {
        let section: Section = context.config.section("canvasHost")?;
        let env = &context.env;
        let skipped = env.flag("VERSO_SKIP_CANVAS_HOST") || env.flag("OPENCLAW_SKIP_CANVAS_HOST");
        let number = |name: &str| env.get(name).and_then(|port| port.parse::<u16>().ok());
        let derived = number("VERSO_GATEWAY_PORT").unwrap_or(GATEWAY_PORT).saturating_add(PORT_ABOVE_GATEWAY);
        let port = section.port.or_else(|| number("VERSO_CANVAS_HOST_PORT")).or_else(|| number("OPENCLAW_CANVAS_HOST_PORT"));
        let home = env.get("HOME").map(Path::new);
        Ok(Self {
            enabled: section.enabled.unwrap_or(true) && !skipped,
            port: port.unwrap_or(derived),
            root: root(section.root, home, &context.state_dir),
            live_reload: section.live_reload.unwrap_or(true),
            validate_a2ui: section.validate_a2ui.unwrap_or(true),
            access: section.auth,
        })
    }
}

fn root(written: Option<PathBuf>, home: Option<&Path>, state_dir: &Path) -> PathBuf {
    match (written, home) {
        (Some(written), Some(home)) if written.starts_with("~") => {
            let below: PathBuf = written.components().skip(1).collect();
            home.join(below)
        }
        // An absolute path stays what it is.
        (Some(written), _) => state_dir.join(written),
        (None, Some(home)) if state_dir == home.join(".verso") => home.join("verso/canvas"),
        (None, _) => state_dir.join("canvas"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use verso_kit::config::{Env, File};

    use super::*;

    fn read(config: &Value, env: &[(&str, &str)]) -> Config {
        let context = Context {
            config: Arc::new(File::from_value(json!({"canvasHost": config}))),
            env: Env::from_pairs(env.iter().copied()),
            ..Context::for_test("canvas", Path::new("/home/kit/.verso"))
        };
        Config::read(&context).unwrap()
    }

    #[test]
    fn is_on_unless_a_switch_is_off() {
        assert!(read(&json!({}), &[]).enabled);
        assert!(!read(&json!({"enabled": false}), &[]).enabled);
        assert!(!read(&json!({}), &[("VERSO_SKIP_CANVAS_HOST", "1")]).enabled);
        assert!(!read(&json!({"enabled": true}), &[("OPENCLAW_SKIP_CANVAS_HOST", "yes")]).enabled);
        assert!(read(&json!({}), &[("VERSO_SKIP_CANVAS_HOST", "0")]).enabled);
    }

    #[test]
    fn takes_the_nearest_port() {
        assert_eq!(read(&json!({}), &[]).port, 18_793);
        assert_eq!(read(&json!({}), &[("VERSO_GATEWAY_PORT", "2000")]).port, 2_004);
        let both = [("VERSO_GATEWAY_PORT", "2000"), ("VERSO_CANVAS_HOST_PORT", "3000")];
        assert_eq!(read(&json!({}), &both).port, 3_000);
        assert_eq!(read(&json!({"port": 4000}), &both).port, 4_000);
    }

    #[test]
    fn finds_the_folder() {
        let home = [("HOME", "/home/kit")];
        assert_eq!(read(&json!({}), &home).root, Path::new("/home/kit/verso/canvas"));
        assert_eq!(read(&json!({}), &[("HOME", "/elsewhere")]).root, Path::new("/home/kit/.verso/canvas"));
        assert_eq!(read(&json!({"root": "~/drawings/one"}), &home).root, Path::new("/home/kit/drawings/one"));
        assert_eq!(read(&json!({"root": "/srv/canvas"}), &home).root, Path::new("/srv/canvas"));
        assert_eq!(read(&json!({"root": "pages"}), &home).root, Path::new("/home/kit/.verso/pages"));
    }
}
