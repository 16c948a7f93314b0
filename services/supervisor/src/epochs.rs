//! The numbers of incarnations.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;
use verso_kit::clock::Clock;

use crate::error::Error;
use crate::lock::Tenure;
use crate::service_name::ServiceName;

/// Folders of those who keep the number of who may write.
const OWNERS: [&str; 4] = ["agent", "channel", "node", "edge"];

/// Mints the number of each start. A number is on disk before the process that carries it starts.
#[derive(Debug, Clone)]
pub(crate) struct Epochs {
    path: Arc<PathBuf>,
    last: Arc<Mutex<BTreeMap<String, u64>>>,
    tenure: Option<Tenure>,
}

impl Epochs {
    /// Loads the last numbers.
    pub(crate) fn load(state_dir: &Path, clock: &Clock) -> Self {
        let path = state_dir.join("run").join("epochs.json");
        let last = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(error = &error as &dyn std::error::Error, "epochs unreadable; counting on from the clock");
                above_all(clock)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // State that came from elsewhere, such as a backup, was claimed by numbers that nobody here knows.
                let is_used = OWNERS.iter().any(|owner| state_dir.join(owner).exists());
                if is_used { above_all(clock) } else { BTreeMap::new() }
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "epochs unreadable; counting on from the clock");
                above_all(clock)
            }
        };
        Self { path: Arc::new(path), last: Arc::new(Mutex::new(last)), tenure: None }
    }

    /// Mints only as long as the state folder is ours.
    pub(crate) fn during(self, tenure: Tenure) -> Self {
        Self { tenure: Some(tenure), ..self }
    }

    /// Mints the next number of each service, with one write.
    pub(crate) async fn mint_all(&self, names: &[ServiceName]) -> Result<Vec<u64>, Error> {
        let (epochs, names) = (self.clone(), names.to_vec());
        let minted = tokio::task::spawn_blocking(move || epochs.save_next(&names)).await;
        minted
            .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
            .map_err(|source| Error::SaveEpochs { path: self.path.to_path_buf(), source })
    }

    /// Mints the next number of one service.
    pub(crate) async fn mint(&self, name: ServiceName) -> Result<u64, Error> {
        let minted = self.mint_all(&[name]).await?;
        Ok(minted[0])
    }

    fn save_next(&self, names: &[ServiceName]) -> io::Result<Vec<u64>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.tenure.as_ref().is_some_and(|tenure| !tenure.holds()) {
            return Err(io::Error::other("another gateway has taken the state folder over"));
        }
        let mut next = last.clone();
        let minted = names
            .iter()
            .map(|name| {
                let epoch = next.entry(name.as_str().to_owned()).or_default();
                *epoch += 1;
                *epoch
            })
            .collect();
        verso_kit::files::write_atomic(&self.path, &serde_json::to_vec(&next)?, 0o600)?;
        *last = next; // memory never runs ahead of the disk
        Ok(minted)
    }
}

/// Seconds since 1970: more than any count of starts, so numbers still only grow after the file was damaged.
fn above_all(clock: &Clock) -> BTreeMap<String, u64> {
    let seconds = u64::try_from(clock.now_ms() / 1000).unwrap_or_default();
    ServiceName::ALL.iter().map(|name| (name.as_str().to_owned(), seconds)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn grows_over_restarts_of_the_supervisor() {
        let state = tempfile::tempdir().unwrap();
        verso_kit::files::create_private_dir(&state.path().join("run")).unwrap();
        let first = Epochs::load(state.path(), &Clock::fixed(0)).mint_all(&[ServiceName::Edge, ServiceName::Node]).await.unwrap();
        let again = Epochs::load(state.path(), &Clock::fixed(0)).mint(ServiceName::Node).await.unwrap();
        assert_eq!((first, again), (vec![1, 1], 2));
    }

    #[tokio::test]
    async fn never_falls_back_when_the_file_is_damaged() {
        let state = tempfile::tempdir().unwrap();
        let run = state.path().join("run");
        verso_kit::files::create_private_dir(&run).unwrap();
        fs::write(run.join("epochs.json"), "{\"edge\": 7").unwrap();
        let epoch = Epochs::load(state.path(), &Clock::fixed(1_700_000_000_000)).mint(ServiceName::Edge).await.unwrap();
        assert_eq!(epoch, 1_700_000_001);
    }

    #[tokio::test]
    async fn counts_above_what_state_from_elsewhere_was_claimed_by() {
        let state = tempfile::tempdir().unwrap();
        verso_kit::files::create_private_dir(&state.path().join("run")).unwrap();
        verso_kit::files::create_private_dir(&state.path().join("agent")).unwrap();
        let epoch = Epochs::load(state.path(), &Clock::fixed(1_700_000_000_000)).mint(ServiceName::Agent).await.unwrap();
        assert_eq!(epoch, 1_700_000_001);
    }

    #[tokio::test]
    async fn mints_nothing_that_is_not_on_disk() {
        let state = tempfile::tempdir().unwrap();
        let epochs = Epochs::load(state.path(), &Clock::fixed(0)); // there is no `run` folder
        assert!(matches!(epochs.mint(ServiceName::Edge).await, Err(Error::SaveEpochs { .. })));
    }
}
