//! Credentials that a login has left on the disk, and how they go.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::error::Error;
use crate::network::Network;

/// The folders of credentials, one a network.
#[derive(Debug, Clone)]
pub(crate) struct Logins {
    folder: PathBuf,
}

impl Logins {
    /// Looks below `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Removes the credentials of an account; false when there were none. Networks whose credentials stand in the configuration have
    /// nothing to remove here.
    pub(crate) async fn remove(&self, network: Network, account: &str) -> Result<bool, Error> {
        if network != Network::WhatsApp {
            return Err(Error::NoLogout(network.id()));
        }
        let is_one_name =
            Path::new(account).components().count() == 1 && !account.contains(['/', '\\', '\0']) && account != "." && account != "..";
        if !is_one_name {
            return Ok(false);
        }
        let path = self.folder.join(network.id()).join(account);
        let removing = path.clone();
        let removed = tokio::task::spawn_blocking(move || {
            let any = fs::read_dir(&removing)?.next().is_some();
            fs::remove_dir_all(removing).map(|()| any)
        })
        .await;
        match removed {
            Ok(Ok(any)) => Ok(any),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Ok(Err(source)) => Err(Error::RemoveCredentials { path, source }),
            Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
        }
    }
}
