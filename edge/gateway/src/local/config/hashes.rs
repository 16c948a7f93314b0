//! The names that clients know a text by: protocol 3 a plain hash, protocol 4 a keyed one, from which nobody can guess the text.

use std::path::Path;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use verso_config::content_hash;
use verso_kit::files;
use verso_protocol::Version;

/// As long as the hash.
const KEY_BYTES: usize = 32;

/// What protocol 4 puts before its hashes.
const PREFIX: &str = "hmac-sha256:v1:";

pub(super) struct Hashes {
    key: Vec<u8>,
    version: Version,
}

impl Hashes {
    /// Reads the gateway's key; the first one to need it makes it.
    pub(super) fn of(state_dir: &Path, version: Version) -> io::Result<Self> {
        let folder = state_dir.join("credentials");
        let path = folder.join("config-hash.key");
        let stored = fs::read(&path).ok().filter(|key| key.len() == KEY_BYTES);
        let key = if let Some(key) = stored {
            key
        } else {
            let key = rand::random::<[u8; KEY_BYTES]>();
            files::create_private_dir(&folder)?;
            files::write_atomic(&path, &key, 0o600)?;
            fs::read(&path)?
        };
        Ok(Self { key, version })
    }

    /// Names a text as the client's version does.
    pub(super) fn of_text(&self, text: &str) -> String {
        match self.version {
            Version::V3 => content_hash(text),
            Version::V4 => self.keyed(text),
        }
    }

    /// Whether a client means this text, in either form.
    pub(super) fn matches(&self, text: &str, hash: &str) -> bool {
        hash == content_hash(text) || hash == self.keyed(text)
    }

    fn keyed(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(text.as_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_form_and_both_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let three = Hashes::of(folder.path(), Version::V3).unwrap();
        let four = Hashes::of(folder.path(), Version::V4).unwrap();
        assert_eq!(three.of_text(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(four.of_text("x").starts_with(PREFIX) && four.of_text("x") != four.of_text("y"));
        for hashes in [&three, &four] {
            assert!(hashes.matches("x", &three.of_text("x")) && hashes.matches("x", &four.of_text("x")));
            assert!(!hashes.matches("y", &four.of_text("x")));
        }
    }
}
