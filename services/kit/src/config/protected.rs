//! Variables that no file may set: they decide which program runs, what it loads and whom it trusts.

use serde_json::Value;

/// Beginnings of such names.
const PREFIXES: [&str; 16] = [
    "VERSO_",
    "OPENCLAW_",
    "CLAWDBOT_",
    "LD_",
    "DYLD_",
    "GIT_",
    "NODE_",
    "PYTHON",
    "PERL",
    "RUBY",
    "BASH_",
    "NPM_CONFIG_",
    "PIP_",
    "UV_",
    "CARGO_",
    "RUSTC_",
];

/// Such names.
const NAMES: [&str; 26] = [
    "PATH",
    "HOME",
    "USER",
    "SHELL",
    "SHELLOPTS",
    "ENV",
    "IFS",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "LUA_INIT",
    "VIMINIT",
    "CC",
    "CXX",
    "JAVA_TOOL_OPTIONS",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_BASE_URL",
    "OLLAMA_HOST",
];

/// Whether a file may not set the variable.
pub fn is_protected(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name.as_str())
}

/// Returns the variables that the section `env` sets and may set: `vars` first, then its own strings.
pub fn variables_set_by(root: &Value) -> Vec<(String, String)> {
    let Some(section) = root.get("env").and_then(Value::as_object) else { return Vec::new() };
    let vars = section.get("vars").and_then(Value::as_object).into_iter().flatten();
    let strings = vars.chain(section).filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    strings.filter(|(name, _)| !is_protected(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sec_49_a_file_cannot_steer_the_product_its_programs_or_its_endpoints() {
        let names = ["VERSO_STATE_DIR", "openclaw_gateway_token", "PATH", "LD_PRELOAD", "NODE_OPTIONS", "OPENAI_BASE_URL", "https_proxy"];
        let vars: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), "x".into())).collect();
        let set = variables_set_by(&json!({"env": {"vars": vars, "MINE": "1", "PATH": "/evil", "shellEnv": {}}}));
        assert_eq!(set, [("MINE".to_owned(), "1".to_owned())]);
    }
}
