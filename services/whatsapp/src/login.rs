//! Linking the device: codes to show, until it is linked.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use verso_proto::adapter::v1::login_response::Kind;
use verso_proto::adapter::v1::{Linked, LoginRequest, LoginResponse, ShownCode};
use whatsapp_rust::pair_code::PairCodeOptions;

use crate::account::me;
use crate::folder::Folder;
use crate::ladder::End;
use crate::session::{Session, Surroundings, Told};
use crate::settings::Settings;

/// How long a login may take.
const LOGIN_MAX: Duration = Duration::from_mins(3);

/// How long a device that was just linked may take to connect as such.
const SETTLE_MAX: Duration = Duration::from_secs(45);

type Saying = mpsc::Sender<Result<LoginResponse, Status>>;

/// One login.
pub(crate) struct Login {
    pub(crate) said: Saying,
    pub(crate) settings: Settings,
    pub(crate) around: Surroundings,
}

impl Login {
    /// Shows codes until the device is linked, or says why it is not.
    pub(crate) async fn go(self, request: LoginRequest) {
        let linking = async {
            match self.link(&request).await {
                Ok(linked) => Kind::Linked(linked),
                Err(reason) => Kind::Failed(reason),
            }
        };
        let ended = tokio::select! {
            ended = linking => ended,
            // Whoever asked for it has given it up.
            () = self.said.closed() => return,
        };
        self.say(ended).await;
    }

    async fn link(&self, request: &LoginRequest) -> Result<Linked, String> {
        let folder = Folder::new(&self.settings.auth_dir);
        let unusable = |error: &dyn std::fmt::Display| format!("the keys cannot be kept: {error}");
        if request.force {
            folder.wipe().map_err(|error| unusable(&error))?;
        } else if let Some((_, device)) = folder.linked().await.map_err(|error| unusable(&error))? {
            folder.mark(&device).map_err(|error| unusable(&error))?;
            let number = device.pn.as_ref().map(crate::account::shown).unwrap_or_default();
            return Ok(Linked { self_id: number, name: device.push_name });
        }
        // A device that was never linked is begun anew: the network may have seen its keys with another code.
        folder.wipe().map_err(|error| unusable(&error))?;
        let store = folder.open().await.map_err(|error| unusable(&error))?;
        let (session, told) = Session::open(store, &self.settings, None, &self.around).await?;
        let linked = {
            let deadline = Instant::now() + LOGIN_MAX;
            let mut following = std::pin::pin!(self.follow(&session, told, request.phone_number.as_deref()));
            let mut connection = std::pin::pin!(session.connect());
            tokio::select! {
                linked = timeout_at(deadline, &mut following) => linked.unwrap_or_else(|_| Err("nobody used the code in time".to_owned())),
                end = &mut connection => Err(over(&end)),
            }
        };
        session.close().await;
        match &linked {
            Ok(_) => {
                let device = session.client.persistence_manager().get_device_snapshot();
                folder.mark(&device).map_err(|error| unusable(&error))?;
            }
            Err(_) => {
                folder.wipe().map_err(|error| unusable(&error))?;
            }
        }
        linked
    }

    /// Shows what the network wants to be shown, until it has let the device in.
    async fn follow(&self, session: &Session, mut told: mpsc::Receiver<Told>, phone_number: Option<&str>) -> Result<Linked, String> {
        let mut asked = false;
        let mut settled_by = None;
        loop {
            let next = match settled_by {
                None => told.recv().await,
                Some(deadline) => match timeout_at(deadline, told.recv()).await {
                    Ok(next) => next,
                    // It is linked all the same: the keys are there, and the next run connects.
                    Err(_) => return Ok(linked(session)),
                },
            };
            match next.ok_or("the client ended")? {
                Told::Qr { content, valid } if phone_number.is_none() => self.say(Kind::Qr(shown(content, valid))).await,
                // The network takes a number once it has offered a code to scan.
                Told::Qr { .. } if !asked => {
                    asked = true;
                    let phone_number = phone_number.unwrap_or_default().to_owned();
                    let options = PairCodeOptions { phone_number, ..PairCodeOptions::default() };
                    // The code itself is told as an event.
                    session.client.pair_with_code(options).await.map_err(|error| error.to_string())?;
                }
                Told::PairCode { content, valid } => self.say(Kind::PairCode(shown(dashed(&content), valid))).await,
                Told::Paired => settled_by = Some(Instant::now() + SETTLE_MAX),
                Told::Connected => return Ok(linked(session)),
                Told::NotPaired(reason) => return Err(reason),
                Told::Qr { .. } | Told::Message(_) => {}
            }
        }
    }

    async fn say(&self, kind: Kind) {
        // Whoever does not listen any more has given it up.
        drop(self.said.send(Ok(LoginResponse { kind: Some(kind) })).await);
    }
}

fn linked(session: &Session) -> Linked {
    Linked { self_id: me(&session.client).shown().unwrap_or_default(), name: session.client.push_name() }
}

/// Says why a connection that should have linked the device is over.
fn over(end: &End) -> String {
    match end {
        End::Unlinked { .. } => "WhatsApp refused the device".to_owned(),
        other => other.reason(),
    }
}

fn shown(content: String, valid: Duration) -> ShownCode {
    ShownCode { content, valid_ms: u32::try_from(valid.as_millis()).unwrap_or(u32::MAX) }
}

/// Writes a code of eight letters as phones show it.
fn dashed(code: &str) -> String {
    match code.split_at_checked(4) {
        Some((head, tail)) if tail.len() == 4 => format!("{head}-{tail}"),
        _ => code.to_owned(),
    }
}
