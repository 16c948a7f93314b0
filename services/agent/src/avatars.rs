//! The pictures that stand for agents.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use verso_proto::agent::v1::{AvatarRequest, AvatarResponse};

use crate::error::Error;
use crate::runs::Runs;

/// The largest picture, in bytes.
const PICTURE_BYTES_MAX: u64 = 2 << 20;

/// The longest text that is taken for an address, in bytes; longer ones are data.
const ADDRESS_BYTES_MAX: usize = 2_048;

/// Files that are pictures, by the ends of their names.
const MEDIA_TYPES: [(&str, &str); 6] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("svg", "image/svg+xml"),
];

/// Returns an agent's picture: where it is, or its bytes.
pub(crate) async fn get(runs: &Runs, request: AvatarRequest) -> Result<AvatarResponse, Error> {
    const METHOD: &str = "avatar";
    let roster = &runs.parts.roster;
    let named = roster.named(METHOD, Some(&request.agent_id))?;
    let profile = roster.get(&named.unwrap_or_else(|| roster.naming.default_agent.clone()));
    let (name, own) = (profile.display_name().to_owned(), profile.avatar());
    let initial = || name.chars().take(1).collect::<String>().to_uppercase();
    let plain = |initial: String| AvatarResponse { name: name.clone(), initial, ..AvatarResponse::default() };
    let own = own.trim().to_owned();
    if own.starts_with("https://") || own.starts_with("http://") || own.starts_with("data:image/") {
        return Ok(AvatarResponse { source: own, ..plain(initial()) });
    }
    let Some(media_type) = media_type(&own) else {
        // What is no address and no file is an emoji or a letter.
        return Ok(plain(if own.chars().count() <= 4 { own } else { initial() }));
    };
    let (folder, file) = (profile.workspace.clone(), own.clone());
    let read = tokio::task::spawn_blocking(move || read(&folder, &file)).await.map_err(|_| Error::Panicked)?;
    Ok(match read {
        Ok(content) => AvatarResponse { source: own, content: Some(content), media_type: Some(media_type.to_owned()), ..plain(initial()) },
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "an agent's picture cannot be read");
            plain(initial())
        }
    })
}

fn media_type(name: &str) -> Option<&'static str> {
    if name.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    let ending = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
    MEDIA_TYPES.iter().find(|(known, _)| *known == ending).map(|(_, media_type)| *media_type)
}

/// Reads a picture within the agent's folder; what leads out of it, by its name or by a link, is not read.
fn read(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let refuse = || io::Error::from(io::ErrorKind::PermissionDenied);
    let relative = PathBuf::from(name);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if name.contains('\0') || !relative.components().all(plain) {
        return Err(refuse());
    }
    let root = folder.canonicalize()?;
    let path = root.join(relative).canonicalize()?;
    if !path.starts_with(&root) {
        return Err(refuse());
    }
    let file = File::open(&path)?;
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > PICTURE_BYTES_MAX {
        return Err(refuse());
    }
    let mut content = Vec::new();
    file.take(PICTURE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_within_the_agents_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("workspace");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("me.png"), b"png").unwrap();
        std::fs::write(folder.path().join("secret.png"), b"secret").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.png"), inner.join("link.png")).unwrap();
        assert_eq!(read(&inner, "me.png").unwrap(), b"png");
        assert_eq!(read(&inner, "./me.png").unwrap(), b"png");
        let absolute = folder.path().join("secret.png");
        for name in ["../secret.png", "link.png", "a/../../secret.png", absolute.to_str().unwrap(), "me.png\0", "missing.png"] {
            assert!(read(&inner, name).is_err(), "{name}");
        }
        assert_eq!(media_type("a/b.PNG"), Some("image/png"));
        assert_eq!((media_type("🦊"), media_type("notes.txt")), (None, None));
    }
}
