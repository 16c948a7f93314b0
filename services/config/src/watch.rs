//! Notices that the file, or one that it includes, has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::warn;

/// How often files are looked at where the system does not say that they change.
const POLL: Duration = Duration::from_secs(2);

/// A file that never rests is read anyway after so many times the wait.
const RESTLESS: u32 = 10;

/// Watches a set of files. Folders are watched, because editors replace files: those of the names, and those that links lead to. A cluster
/// mounts a configuration behind two links, of which it replaces the one that has another name than the file.
#[derive(Debug)]
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    files: Arc<Mutex<Files>>,
    folders: BTreeSet<PathBuf>,
    touched: Arc<Notify>,
}

/// The files by name, and where each name led when it was last looked at.
#[derive(Debug, Default)]
struct Files(BTreeMap<PathBuf, Option<PathBuf>>);

impl Files {
    fn new(names: &[PathBuf]) -> Self {
        let absolute = |name: &PathBuf| std::path::absolute(name).unwrap_or_else(|_| name.clone());
        Self(names.iter().map(absolute).map(|name| (name.clone(), name.canonicalize().ok())).collect())
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        let paths = self.0.iter().flat_map(|(name, target)| std::iter::once(name).chain(target));
        paths.filter_map(|path| path.parent().map(Path::to_owned)).collect()
    }

    /// Whether what happened to these paths happened to a file, or to a link that a name goes by.
    fn concerns(&mut self, paths: &[PathBuf]) -> bool {
        let mut ours = paths.iter().any(|path| self.0.contains_key(path));
        for (name, target) in &mut self.0 {
            ours |= target.as_ref().is_some_and(|target| paths.contains(target));
            let now = name.canonicalize().ok();
            ours |= *target != now;
            *target = now;
        }
        ours
    }
}

impl Watch {
    /// Watches these files.
    pub fn new(files: &[PathBuf]) -> Self {
        let (touched, names) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Files::default())));
        let (wake, list) = (Arc::clone(&touched), Arc::clone(&names));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_ours = |paths: &[PathBuf]| list.lock().unwrap_or_else(PoisonError::into_inner).concerns(paths);
            // Reading the file is an event too, and it is we who read it.
            match event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) || !is_ours(&event.paths) => {}
                _ => wake.notify_one(),
            }
        });
        let watcher =
            watcher.inspect_err(|error| warn!(error = error as &dyn std::error::Error, "files are looked at every few seconds")).ok();
        let mut watch = Self { watcher, files: names, folders: BTreeSet::new(), touched };
        watch.follow(files);
        watch
    }

    /// Watches these files instead.
    pub fn follow(&mut self, files: &[PathBuf]) {
        let files = Files::new(files);
        let folders = files.folders();
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        let Some(watcher) = &mut self.watcher else { return };
        for folder in folders.difference(&self.folders) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                warn!(folder = %folder.display(), error = &error as &dyn std::error::Error, "folder cannot be watched");
            }
        }
        for folder in self.folders.difference(&folders) {
            drop(watcher.unwatch(folder));
        }
        self.folders = folders;
    }

    /// Waits until a file has changed and then has been left alone for `rest`.
    pub async fn changed(&mut self, rest: Duration) {
        if self.watcher.is_some() {
            self.touched.notified().await;
        } else {
            self.poll().await;
        }
        let latest = Instant::now() + rest * RESTLESS;
        while Instant::now() < latest && timeout(rest, self.touched.notified()).await.is_ok() {}
    }

    async fn poll(&self) {
        let before = self.stamps();
        loop {
            tokio::time::sleep(POLL).await;
            if self.stamps() != before {
                return;
            }
        }
    }

    fn stamps(&self) -> Vec<Option<(std::time::SystemTime, u64)>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = |file: &PathBuf| file.metadata().ok().and_then(|found| Some((found.modified().ok()?, found.len())));
        files.0.keys().map(stamp).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn notices_edits_and_replacements_and_files_that_join_later() {
        let folder = tempfile::tempdir().unwrap();
        let (main, part) = (folder.path().join("verso.json"), folder.path().join("parts/a.json"));
        std::fs::create_dir(part.parent().unwrap()).unwrap();
        std::fs::write(&main, "{}").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&main));
        std::fs::write(&main, "{a: 1}").unwrap();
        timeout(SOON, watch.changed(Duration::from_millis(10))).await.unwrap();
        std::fs::write(folder.path().join("new"), "{a: 2}").unwrap();
        std::fs::rename(folder.path().join("new"), &main).unwrap();
        timeout(SOON, watch.changed(Duration::from_millis(10))).await.unwrap();
        watch.follow(&[main.clone(), part.clone()]);
        std::fs::write(&part, "{}").unwrap();
        timeout(SOON, watch.changed(Duration::from_millis(10))).await.unwrap();
    }

    #[tokio::test]
    async fn notices_links_that_lead_elsewhere_and_edits_behind_them() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for part in ["..1", "..2"] {
            std::fs::create_dir(at(part)).unwrap();
            std::fs::write(at(part).join("verso.json"), part).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/verso.json", at("verso.json")).unwrap();
        let files = [at("verso.json")];
        let mut watch = Watch::new(&files);
        symlink("..2", at("..next")).unwrap();
        std::fs::rename(at("..next"), at("..data")).unwrap();
        timeout(SOON, watch.changed(Duration::from_millis(10))).await.unwrap();
        watch.follow(&files);
        std::fs::write(at("..2/verso.json"), "{}").unwrap();
        timeout(SOON, watch.changed(Duration::from_millis(10))).await.unwrap();
    }

    #[tokio::test]
    async fn reading_and_other_files_are_not_changes() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("verso.json");
        std::fs::write(&main, "{}").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&main));
        std::fs::read(&main).unwrap();
        std::fs::write(folder.path().join("other"), "x").unwrap();
        assert!(timeout(Duration::from_millis(300), watch.changed(Duration::from_millis(1))).await.is_err());
    }
}
