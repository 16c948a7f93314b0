//! Files of the workspace that an answer refers to. They go along with the words: nobody else opens a file of this host because an answer
//! names it.

use std::path::Path;

use verso_proto::agent::v1::{Payload, ReplyFile};
use verso_tools::files::Place;

/// Files of one answer.
const FILES_MAX: usize = 10;

/// What one file, and all files of an answer, may have, in bytes: they travel in one message.
const FILE_BYTES_MAX: u64 = 16 << 20;
const BYTES_MAX: usize = 24 << 20;

/// How a reference into the workspace begins; all others are addresses.
const INSIDE: &str = "./";

/// Reads the files that payloads refer to. One that cannot be had is left out, and whoever sends the answer says so.
pub(crate) async fn of(workspace: &Path, payloads: &[Payload]) -> Vec<ReplyFile> {
    let mut references: Vec<String> = payloads.iter().flat_map(named).filter(|reference| reference.starts_with(INSIDE)).collect();
    references.sort_unstable();
    references.dedup();
    if references.is_empty() {
        return Vec::new();
    }
    let place = Place::new(workspace);
    let read = move || {
        let (mut files, mut left) = (Vec::new(), BYTES_MAX);
        for reference in references.into_iter().take(FILES_MAX) {
            match place.read(&reference, FILE_BYTES_MAX) {
                Ok(content) if content.len() <= left => {
                    left -= content.len();
                    files.push(file(reference, content));
                }
                Ok(_) => tracing::warn!("the files of an answer are larger than what can be sent at once"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a file of an answer cannot be read"),
            }
        }
        files
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// Returns what a payload refers to.
pub(crate) fn named(payload: &Payload) -> Vec<String> {
    if payload.media_urls.is_empty() { payload.media_url.iter().cloned().collect() } else { payload.media_urls.clone() }
}

fn file(reference: String, content: Vec<u8>) -> ReplyFile {
    let file_name = reference.rsplit('/').next().unwrap_or(&reference).to_owned();
    // What it is, its first bytes tell whoever sends it.
    let mime_type = if std::str::from_utf8(&content).is_ok() { "text/plain" } else { "application/octet-stream" };
    ReplyFile { reference, file_name, mime_type: mime_type.to_owned(), content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sec_53_what_an_answer_refers_to_is_read_in_the_workspace_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().join("workspace");
        std::fs::create_dir_all(workspace.join("sub")).unwrap();
        std::fs::write(folder.path().join("secret"), "s").unwrap();
        std::fs::write(workspace.join("sub/a b.txt"), "fine").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), workspace.join("link")).unwrap();
        std::os::unix::fs::symlink(folder.path(), workspace.join("out")).unwrap();
        let secret = folder.path().join("secret").display().to_string();
        let asked = ["./sub/a b.txt", "./link", "./out/secret", "./../secret", "./sub/../../secret", "./missing", &secret, "../secret"];
        let payload = Payload { media_urls: asked.iter().map(ToString::to_string).collect(), ..Payload::default() };
        let files = of(&workspace, &[payload]).await;
        let found: Vec<(&str, &[u8])> = files.iter().map(|file| (file.file_name.as_str(), file.content.as_slice())).collect();
        assert_eq!(found, [("a b.txt", b"fine".as_slice())]);
    }
}
