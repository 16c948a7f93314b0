//! The device identity of this machine: an Ed25519 key in `<state>/identity/device.json`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use verso_kit::files::{create_private_dir, write_atomic};
use verso_protocol::auth::PublicKey;

/// What stands before the 32 secret bytes in a DER private key of Ed25519 (PKCS #8).
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands before the 32 public bytes in a DER public key of Ed25519.
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A device: its key, and its id, which is the key's digest.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    created_at_ms: i64,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read.
    #[error("could not read the device identity from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("could not write the device identity to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there but holds no usable key. It is left alone: a new identity would need a new pairing.
    #[error("the device identity in {path} is not usable: {what}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The file's layout, the same as the reference's, so that a migrated device stays paired.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    version: u32,
    device_id: String,
    public_key_pem: String,
    private_key_pem: String,
    #[serde(default)]
    created_at_ms: i64,
}

impl Identity {
    /// Makes a new device.
    pub fn generate(now_ms: i64) -> Self {
        Self { key: SigningKey::from_bytes(&rand::random()), created_at_ms: now_ms }
    }

    /// Where the identity of a state folder is kept.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("identity").join("device.json")
    }

    /// Loads the identity of a state folder, or makes and stores one. Of two processes that do so at once, both get the same.
    pub fn load_or_create(state_dir: &Path, now_ms: i64) -> Result<Self, IdentityError> {
        let path = Self::path(state_dir);
        if let Some(identity) = Self::load(&path)? {
            return Ok(identity);
        }
        let identity = Self::generate(now_ms);
        match identity.store_new(&path) {
            Ok(()) => Ok(identity),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::load(&path)?.ok_or(IdentityError::Invalid { path, what: "it disappeared" })
            }
            Err(source) => Err(IdentityError::Write { path, source }),
        }
    }

    /// Loads an identity; none if there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Read { path: path.to_owned(), source }),
        };
        Self::parse(&text).map(Some).map_err(|what| IdentityError::Invalid { path: path.to_owned(), what })
    }

    /// The device id: lower-case hexadecimal SHA-256 of the public key.
    pub fn device_id(&self) -> String {
        self.verifying().device_id()
    }

    /// The public key, base64url.
    pub fn public_key(&self) -> String {
        self.verifying().to_base64url()
    }

    /// Signs a text; base64url.
    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).to_bytes())
    }

    fn verifying(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.verifying_key().to_bytes())
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let stored: Stored = serde_json::from_str(text).map_err(|_| "it is not the expected JSON")?;
        if stored.version != 1 {
            return Err("its version is not 1");
        }
        let secret = from_pem(&stored.private_key_pem, &PRIVATE_PREFIX).ok_or("its private key is not an Ed25519 key")?;
        let identity = Self { key: SigningKey::from_bytes(&secret), created_at_ms: stored.created_at_ms };
        if identity.device_id() == stored.device_id { Ok(identity) } else { Err("its id does not belong to its key") }
    }

    /// Writes the file unless it exists.
    fn store_new(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(path);
        create_private_dir(folder)?;
        let stored = Stored {
            version: 1,
            device_id: self.device_id(),
            public_key_pem: to_pem("PUBLIC KEY", &PUBLIC_PREFIX, &self.key.verifying_key().to_bytes()),
            private_key_pem: to_pem("PRIVATE KEY", &PRIVATE_PREFIX, &self.key.to_bytes()),
            created_at_ms: self.created_at_ms,
        };
        let text = serde_json::to_string_pretty(&stored).map_err(io::Error::other)? + "\n";
        // A link appears whole or not at all, and never replaces another process's identity.
        let draft = folder.join(format!(".device-{}.json", Uuid::new_v4()));
        write_atomic(&draft, text.as_bytes(), 0o600)?;
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        linked
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("device_id", &self.device_id()).finish_non_exhaustive()
    }
}

fn to_pem(label: &str, prefix: &[u8], key: &[u8; 32]) -> String {
    // Both forms fit the 64 characters of one line.
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode([prefix, key].concat()))
}

fn from_pem(text: &str, prefix: &[u8]) -> Option<[u8; 32]> {
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).ok()?.strip_prefix(prefix)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A made-up device in the reference's layout; its secret is the bytes 1 to 32.
    const FOREIGN: &str = r#"{
  "version": 1,
  "deviceId": "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c",
  "publicKeyPem": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=\n-----END PUBLIC KEY-----\n",
  "privateKeyPem": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\n-----END PRIVATE KEY-----\n",
  "createdAtMs": 1700000000000
}"#;

    fn foreign() -> String {
        FOREIGN.replace(
            "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c",
            "65b60673d6ed884bf01c2c222d82ada0740f29ac3355d6a925c81f17f47a27b8",
        )
    }

    #[test]
    fn an_identity_survives_the_process() {
        let state = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(state.path(), 5).unwrap();
        let again = Identity::load_or_create(state.path(), 6).unwrap();
        assert_eq!((first.device_id(), first.sign("x")), (again.device_id(), again.sign("x")));
        let path = Identity::path(state.path());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn an_identity_of_the_reference_is_read() {
        let identity = Identity::parse(&foreign()).unwrap();
        assert_eq!(identity.public_key(), "ebVWLo_mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ");
        assert_eq!(identity.created_at_ms, 1_700_000_000_000);
    }

    #[test]
    fn an_identity_is_written_as_the_reference_writes_it() {
        let state = tempfile::tempdir().unwrap();
        let path = Identity::path(state.path());
        Identity::parse(&foreign()).unwrap().store_new(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign() + "\n");
    }

    #[test]
    fn an_unusable_identity_is_reported_and_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let path = Identity::path(state.path());
        create_private_dir(path.parent().unwrap()).unwrap();
        for (text, what) in [
            ("{", "it is not the expected JSON"),
            (FOREIGN, "its id does not belong to its key"),
            (&foreign().replace("\"version\": 1", "\"version\": 2"), "its version is not 1"),
            (&foreign().replace("MC4C", "MC4D"), "its private key is not an Ed25519 key"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Identity::load_or_create(state.path(), 1).unwrap_err();
            assert!(error.to_string().ends_with(what), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_second_process_takes_the_identity_of_the_first() {
        let state = tempfile::tempdir().unwrap();
        let path = Identity::path(state.path());
        let first = Identity::generate(1);
        first.store_new(&path).unwrap();
        let error = Identity::generate(2).store_new(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(Identity::load_or_create(state.path(), 3).unwrap().device_id(), first.device_id());
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!format!("{:?}", Identity::generate(1)).contains("key"));
    }
}
