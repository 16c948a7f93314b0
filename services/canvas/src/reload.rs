//! Notices that files of the folder change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::EventKind;
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};
use verso_kit::CancellationToken;

use crate::live::Live;

/// How long files must have been left alone: half of it for one that is being written, half for what comes together.
const QUIET: Duration = Duration::from_millis(150);

/// After this long, pages load again although files still change.
const NOISE_MAX: Duration = Duration::from_secs(2);

/// How often a folder is looked for that went away.
const SEARCH: Duration = Duration::from_secs(2);

/// What packages bring is not drawn by anybody.
const PACKAGES: &str = "node_modules";

/// Tells pages of changes until the shutdown. What cannot be watched ends this, with a line in the log, and nothing else.
pub(crate) async fn follow(root: PathBuf, live: Live, shutdown: CancellationToken) {
    let following = async {
        loop {
            match watch_once(&root, &live).await {
                Ok(()) => debug!(root = %root.display(), "canvas folder went away"),
                Err(error) => {
                    warn!(root = %root.display(), error = &error as &dyn std::error::Error, "live reload is off: the folder cannot be watched");
                    return;
                }
            }
            while !root.is_dir() {
                sleep(SEARCH).await;
            }
            live.changed();
        }
    };
    shutdown.run_until_cancelled(following).await;
}

/// Watches the folder until it goes away.
async fn watch_once(root: &Path, live: &Live) -> notify::Result<()> {
    // One place: that something happened is all there is to know.
    let (tell, mut told) = mpsc::channel(1);
    let (mut gone, below) = (false, root.to_owned());
    let heard = move |event: notify::Result<Event>| {
        // A full channel has said it already.
        if event.is_ok_and(|event| counts(&event, &below)) {
            let _full = tell.try_send(());
        }
    };
    // What a link leads to is not served, so it is not watched.
    let mut watcher = RecommendedWatcher::new(heard, Config::default().with_follow_symlinks(false))?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    while !gone && told.recv().await.is_some() {
        let since = Instant::now();
        while since.elapsed() < NOISE_MAX && matches!(timeout(QUIET, told.recv()).await, Ok(Some(()))) {}
        live.changed();
        gone = !root.is_dir();
    }
    Ok(())
}

/// Whether somebody who looks at the folder could see a difference.
fn counts(event: &Event, root: &Path) -> bool {
    let visible = |path: &PathBuf| {
        let mut names = path.strip_prefix(root).unwrap_or(path).components().map(|name| name.as_os_str().as_encoded_bytes());
        names.all(|name| !name.starts_with(b".") && name != PACKAGES.as_bytes())
    };
    !matches!(event.kind, EventKind::Access(_)) && (event.paths.is_empty() || event.paths.iter().any(visible))
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, ModifyKind};

    use super::*;

    #[test]
    fn hidden_files_and_packages_do_not_count() {
        let event = |kind, path: &str| Event::new(kind).add_path(PathBuf::from(path));
        let changed = EventKind::Modify(ModifyKind::Any);
        for (kind, path, expected) in [
            (changed, "/c/.d/index.html", true),
            (changed, "/c/.d/deep/a.css", true),
            (changed, "/c/.d", true),
            (EventKind::Create(CreateKind::File), "/c/.d/.swp", false),
            (changed, "/c/.d/.git/index", false),
            (changed, "/c/.d/node_modules/a/b.js", false),
            (EventKind::Access(AccessKind::Any), "/c/.d/index.html", false),
        ] {
            assert_eq!(counts(&event(kind, path), Path::new("/c/.d")), expected, "{path}");
        }
    }
}
