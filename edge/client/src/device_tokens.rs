//! The tokens that a gateway issued to this device, in `<state>/identity/device-auth.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use verso_kit::clock::Clock;
use verso_kit::files::{create_private_dir, write_atomic};

/// A file of tokens, one for each role. It is read at each connect and written when the gateway issues another token.
#[derive(Debug, Clone)]
pub struct DeviceTokens {
    path: PathBuf,
}

/// A token that was issued to this device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceToken {
    /// What to present.
    pub token: String,
    /// `operator` or `node`.
    pub role: String,
    /// What it is good for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When it was written down, in milliseconds since 1970.
    #[serde(default)]
    pub updated_at_ms: i64,
}

/// The file's layout, the same as the reference's.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    version: u32,
    device_id: String,
    #[serde(default)]
    tokens: BTreeMap<String, DeviceToken>,
}

impl DeviceTokens {
    /// The tokens of a state folder.
    pub fn in_state_dir(state_dir: &Path) -> Self {
        Self { path: state_dir.join("identity").join("device-auth.json") }
    }

    /// The token of `device_id` for `role`. A file that cannot be used counts as empty: the next connect earns another token.
    pub fn load(&self, device_id: &str, role: &str) -> Option<DeviceToken> {
        self.read(device_id).tokens.remove(role).filter(|token| !token.token.is_empty())
    }

    /// Writes a token down, readable by its owner only. One that is known already changes nothing.
    pub fn store(&self, device_id: &str, role: &str, token: &str, scopes: &[String]) -> io::Result<()> {
        let mut stored = self.read(device_id);
        let known = stored.tokens.get(role);
        if known.is_some_and(|known| known.token == token && known.scopes == scopes) {
            return Ok(());
        }
        let (token, updated_at_ms) = (token.to_owned(), Clock::system().now_ms());
        stored.tokens.insert(role.to_owned(), DeviceToken { token, role: role.to_owned(), scopes: scopes.to_vec(), updated_at_ms });
        self.write(&stored)
    }

    /// Forgets a token that the gateway no longer takes.
    pub fn clear(&self, device_id: &str, role: &str) -> io::Result<()> {
        let mut stored = self.read(device_id);
        if stored.tokens.remove(role).is_none() {
            return Ok(());
        }
        self.write(&stored)
    }

    /// The tokens of another device are not ours to present.
    fn read(&self, device_id: &str) -> Stored {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let stored: Option<Stored> = serde_json::from_str(&text).ok();
        stored.filter(|stored| stored.version == 1 && stored.device_id == device_id).unwrap_or_else(|| Stored {
            version: 1,
            device_id: device_id.to_owned(),
            tokens: BTreeMap::new(),
        })
    }

    fn write(&self, stored: &Stored) -> io::Result<()> {
        create_private_dir(self.path.parent().unwrap_or(&self.path))?;
        let text = serde_json::to_string_pretty(stored).map_err(io::Error::other)? + "\n";
        write_atomic(&self.path, text.as_bytes(), 0o600)
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DeviceToken").field("role", &self.role).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_kept_for_its_device_and_role_and_its_owner_only() {
        let state = tempfile::tempdir().unwrap();
        let tokens = DeviceTokens::in_state_dir(state.path());
        assert_eq!(tokens.load("d", "operator"), None);
        tokens.store("d", "operator", "secret", &["operator.read".to_owned()]).unwrap();
        tokens.store("d", "node", "other", &[]).unwrap();
        assert_eq!(tokens.load("d", "operator").unwrap().token, "secret");
        assert_eq!((tokens.load("another", "operator"), tokens.load("d", "x")), (None, None));
        assert_eq!(tokens.path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{:?}", tokens.load("d", "operator")).contains("secret"));

        tokens.clear("d", "operator").unwrap();
        assert_eq!((tokens.load("d", "operator"), tokens.load("d", "node").is_some()), (None, true));
    }

    #[test]
    fn a_file_of_the_reference_is_read_and_a_broken_one_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let tokens = DeviceTokens::in_state_dir(state.path());
        create_private_dir(tokens.path.parent().unwrap()).unwrap();
        let theirs = r#"{"version":1,"deviceId":"d","tokens":{"operator":{"token":"t","role":"operator","scopes":["operator.admin"],"updatedAtMs":5}}}"#;
        std::fs::write(&tokens.path, theirs).unwrap();
        let token = tokens.load("d", "operator").unwrap();
        assert_eq!((token.token.as_str(), token.scopes.as_slice(), token.updated_at_ms), ("t", &["operator.admin".to_owned()][..], 5));
        std::fs::write(&tokens.path, "{").unwrap();
        assert_eq!(tokens.load("d", "operator"), None);
        tokens.store("d", "operator", "new", &[]).unwrap();
        assert_eq!(tokens.load("d", "operator").unwrap().token, "new");
    }
}
