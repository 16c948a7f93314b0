//! The files of the browser client: those built in, or those of a folder. Nothing outside of the folder is reached, however it is spelled.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};
use verso_kit::page::decode;

/// The largest file, in bytes.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// Names files of the browser client and brings their contents along.
macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../../../control-ui/", $name)) as &[u8])),*]
    };
}

/// The files that are built in.
const BUILT_IN: &[(&str, &[u8])] = built_in![
    "index.html"
    "assets/app.js"
    "assets/chart.js"
    "assets/chat.css"
    "assets/chat/composer.js"
    "assets/chat/entry.js"
    "assets/chat/markdown.js"
    "assets/chat/outbox.js"
    "assets/chat/outgoing.js"
    "assets/chat/sessions.js"
    "assets/chat/transcript.js"
    "assets/diff.js"
    "assets/dom.js"
    "assets/entrance.js"
    "assets/gateway/device.js"
    "assets/gateway/ed25519.js"
    "assets/gateway/link.js"
    "assets/gateway/storage.js"
    "assets/icons.js"
    "assets/page.js"
    "assets/pages/approvals.js"
    "assets/pages/channels.js"
    "assets/pages/chat.js"
    "assets/pages/config.js"
    "assets/pages/cron.js"
    "assets/pages/devices.js"
    "assets/pages/logs.js"
    "assets/pages/overview.js"
    "assets/pages/usage.js"
    "assets/style.css"
    "assets/words.js"
];

/// Where the client's files with hashed names are.
const ASSETS: &str = "assets/";

/// Kinds of files by the ends of their names.
const MEDIA_TYPES: [(&str, &str); 19] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "application/javascript; charset=utf-8"),
    ("mjs", "application/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json; charset=utf-8"),
    ("map", "application/json; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("webmanifest", "application/manifest+json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("ico", "image/x-icon"),
    ("wasm", "application/wasm"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("mp3", "audio/mpeg"),
];

/// Where files come from.
#[derive(Debug, Clone)]
pub(super) enum Shelf {
    BuiltIn,
    Folder(PathBuf),
}

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    /// Relative to the root.
    pub(super) name: String,
    pub(super) content: Bytes,
    /// Whether its name changes with its content.
    lasting: bool,
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    File(Asset),
    Nothing,
    /// Nowhere that anybody may go.
    Refused,
}

impl Shelf {
    pub(super) fn of(root: Option<&str>) -> Self {
        root.map_or(Self::BuiltIn, |root| Self::Folder(PathBuf::from(root)))
    }

    /// Finds the file of a path as it stands in an address, without its first slash.
    pub(super) fn find(&self, raw: &str) -> Found {
        // What is still encoded then is a name that no file has.
        let Some(decoded) = decode(raw) else { return Found::Refused };
        // Deep links of the client may hold relative addresses of its assets.
        let name = match decoded.find("/assets/") {
            Some(place) => decoded[place + 1..].to_owned(),
            None if decoded.is_empty() || decoded.ends_with('/') => format!("{decoded}index.html"),
            None => decoded,
        };
        if !is_plain(&name) {
            return Found::Refused;
        }
        match self {
            Self::BuiltIn => {
                let known = BUILT_IN.iter().find(|(known, _)| *known == name);
                // Their names stay when their content changes.
                known.map_or(Found::Nothing, |(_, content)| {
                    Found::File(Asset { name, content: Bytes::from_static(content), lasting: false })
                })
            }
            Self::Folder(root) => match read(root, &name) {
                Ok(content) => {
                    let lasting = name.starts_with(ASSETS);
                    Found::File(Asset { name, content: content.into(), lasting })
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Found::Refused,
                Err(_) => Found::Nothing,
            },
        }
    }
}

impl Asset {
    /// Returns the answer; a client that has it already is told so.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let caching = if self.lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
        let tag = self.tag();
        let known = headers
            .get(IF_NONE_MATCH)
            .and_then(|tags| tags.to_str().ok())
            .is_some_and(|tags| tags.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag));
        let shared = [(CACHE_CONTROL, caching.to_owned()), (ETAG, tag)];
        if known {
            return (StatusCode::NOT_MODIFIED, shared).into_response();
        }
        (shared, [(CONTENT_TYPE, media_type(&self.name))], self.content.clone()).into_response()
    }

    /// Names the content.
    pub(super) fn tag(&self) -> String {
        format!("\"{}\"", hex::encode(&Sha256::digest(&self.content)[..12]))
    }
}

fn media_type(name: &str) -> &'static str {
    let ending = ending(name).unwrap_or_default();
    MEDIA_TYPES.iter().find(|(known, _)| *known == ending).map_or("application/octet-stream", |(_, media_type)| media_type)
}

/// Whether a path names a file of a kind that is no page: a missing one is missing, and no page stands in for it.
pub(super) fn has_known_ending(path: &str) -> bool {
    ending(path).is_some_and(|ending| MEDIA_TYPES.iter().any(|(known, _)| *known == ending && *known != "html"))
}

fn ending(name: &str) -> Option<String> {
    Some(Path::new(name).extension()?.to_str()?.to_ascii_lowercase())
}

/// Whether every segment is the name of something in its folder, on any system.
fn is_plain(name: &str) -> bool {
    let forbidden = |letter: char| letter.is_control() || matches!(letter, '\\' | ':' | '%');
    !name.contains(forbidden) && name.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.'))
}

/// Reads a file that really is below the root: links may not lead out.
fn read(root: &Path, name: &str) -> io::Result<Vec<u8>> {
    let root = root.canonicalize()?;
    let mut path = root.join(name).canonicalize()?;
    if path.is_dir() {
        path = path.join("index.html").canonicalize()?;
    }
    let refuse = || io::Error::from(io::ErrorKind::PermissionDenied);
    if !path.starts_with(&root) {
        return Err(refuse());
    }
    let file = File::open(&path)?;
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > FILE_BYTES_MAX {
        return Err(refuse());
    }
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_35_no_spelling_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("assets")).unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        for (name, content) in
            [("root/index.html", "page"), ("root/assets/a-1.js", "js"), ("root/.git/config", "s"), ("secret.txt", "secret")]
        {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        std::os::unix::fs::symlink(folder.path().join("secret.txt"), root.join("link.txt")).unwrap();
        std::os::unix::fs::symlink(folder.path(), root.join("up")).unwrap();
        let shelf = Shelf::of(root.to_str());
        let content = |path: &str| match shelf.find(path) {
            Found::File(asset) => Some(String::from_utf8_lossy(&asset.content).into_owned()),
            Found::Nothing | Found::Refused => None,
        };
        assert_eq!(content("").as_deref(), Some("page"));
        assert_eq!(content("assets/a%2d1.js").as_deref(), Some("js"));
        assert_eq!(content("chat/deep/assets/a-1.js").as_deref(), Some("js"));
        let absolute = folder.path().join("secret.txt");
        for path in [
            "../secret.txt",
            "..%2fsecret.txt",
            "%2e%2e/secret.txt",
            "%2e%2e%2fsecret.txt",
            "%252e%252e%252fsecret.txt",
            "assets/../../secret.txt",
            "x/assets/../../secret.txt",
            "..\\secret.txt",
            "..%5csecret.txt",
            "link.txt",
            "up/secret.txt",
            ".git/config",
            "%2egit/config",
            "assets//a-1.js",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "C:/secret.txt",
            "C%3a%5csecret.txt",
            "index.html%00.js",
            "%00",
            "%zz",
            "%",
            "index.html::$DATA",
            "..;/secret.txt",
            "....//secret.txt",
            absolute.to_str().unwrap(),
        ] {
            assert_eq!(content(path), None, "{path}");
        }
        assert!(matches!(Shelf::BuiltIn.find("../../etc/passwd"), Found::Refused));
    }

    #[test]
    fn what_is_built_in_is_whole() {
        for (name, _) in BUILT_IN {
            assert!(matches!(Shelf::BuiltIn.find(name), Found::File(_)), "{name}");
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../control-ui");
        let (mut folders, mut served) = (vec![folder.join("assets")], 1);
        while let Some(path) = folders.pop() {
            for entry in std::fs::read_dir(path).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    served += 1;
                }
            }
        }
        assert_eq!(served, BUILT_IN.len(), "every file below assets/ is named here");
        assert!(has_known_ending("a/b.JS") && !has_known_ending("a/b.html") && !has_known_ending("chat/agent.main"));
        assert_eq!(media_type("x.unknown"), "application/octet-stream");
    }
}
