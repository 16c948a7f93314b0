//! Which places hold secrets.

use crate::key_path::Step;

/// Parts of a key's name that mark a secret.
const MARKS: [&str; 7] = ["token", "password", "passwd", "secret", "apikey", "api_key", "api-key"];

/// Names that have such a part and hold none.
const HARMLESS: [&str; 4] = ["tokenfile", "secretfile", "tokens", "tokenizer"];

/// Keys all of whose content is secret.
const WHOLE: [&str; 3] = ["serviceaccount", "headers", "env"];

/// Whether the value at a path is a secret.
pub(crate) fn is_sensitive(path: &[Step]) -> bool {
    let names: Vec<String> =
        path.iter().filter_map(|step| if let Step::Key(key) = step { Some(key.to_lowercase()) } else { None }).collect();
    let Some(last) = names.last() else { return false };
    let marked = |name: &str| MARKS.iter().any(|mark| name.contains(mark)) && !HARMLESS.iter().any(|word| name.contains(word));
    // `env.shellEnv` holds settings; everything else below `env` and `headers` may be a secret.
    let inside = names.iter().rev().skip(1).any(|name| WHOLE.contains(&name.as_str()) || marked(name));
    let settings = names.first().is_some_and(|name| name == "env") && names.get(1).is_some_and(|name| name == "shellenv");
    marked(last) || last == "serviceaccount" || (inside && !settings)
}

/// Whether a string is only a reference to a variable, which is no secret itself.
pub(crate) fn is_reference(text: &str) -> bool {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'))
}

/// Whether a string is an address that carries a name and password, or a token.
pub(crate) fn is_telling_address(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let query = rest.split_once(['?', '#']).map(|(_, query)| query.to_lowercase()).unwrap_or_default();
    host.contains('@') || MARKS.iter().any(|mark| query.contains(&format!("{mark}=")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_path::KeyPath;

    #[test]
    fn knows_secrets_by_their_places() {
        let found = |path: &str| is_sensitive(KeyPath::parse(path).unwrap().steps());
        for path in [
            "gateway.auth.token",
            "channels.slack.accounts.a.signingSecret",
            "models.providers.x.apiKey",
            "models.providers.x.headers.Authorization",
            "env.vars.ANYTHING",
            "env.OTHER",
            "skills.entries.x.env.Y",
            "channels.googlechat.serviceAccount",
            "channels.googlechat.serviceAccount.private_key",
            "channels.matrix.someSecrets[0]",
            "hooks.gmail.pushToken",
        ] {
            assert!(found(path), "{path}");
        }
        for path in ["agents.defaults.contextTokens", "channels.telegram.tokenFile", "env.shellEnv.timeoutMs", "gateway.port"] {
            assert!(!found(path), "{path}");
        }
        assert!(is_telling_address("https://u:p@host/x") && is_telling_address("wss://h/?token=1") && !is_telling_address("https://h/a@b"));
    }
}
