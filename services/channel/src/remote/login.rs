//! Linking accounts by a code that their owner scans or types.

mod qr;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};
use verso_adapter::{Codes, Process};
use verso_kit::CancellationToken;
use verso_kit::tasks::Tasks;
use verso_proto::adapter::v1::LoginRequest;
use verso_proto::adapter::v1::login_response::Kind;

use super::Launch;
use crate::error::Error;
use crate::store::AccountKey;
use crate::units::Unit;

/// What whoever uses an account is told that waits for its owner.
pub(crate) const NOT_LINKED: &str = "link it first, with `verso channels login`";

/// How long a login may take. Codes are renewed meanwhile.
const LOGIN_MAX: Duration = Duration::from_mins(3);

/// How long a login waits for its first code at the least.
const FIRST_CODE_MIN: Duration = Duration::from_secs(5);

/// What is asked of a login.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    /// Give up the link that there is.
    pub(crate) force: bool,
    /// To be given a code to type instead of one to scan.
    pub(crate) phone_number: Option<String>,
}

/// How far a login is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) connected: bool,
    /// What the owner is told.
    pub(crate) message: String,
    /// The code as a picture.
    pub(crate) qr_data_url: Option<String>,
    /// What the picture says.
    pub(crate) qr_text: Option<String>,
    /// Whether nothing more will come.
    pub(crate) over: bool,
}

/// The logins that are under way, one an account at the most.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    under_way: Arc<Mutex<HashMap<AccountKey, Login>>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Login {
    begun: Instant,
    standing: watch::Receiver<Standing>,
    stop: CancellationToken,
}

impl Desk {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { under_way: Arc::default(), tasks }
    }

    /// Begins a login, or returns the code of the one that is under way.
    pub(crate) async fn start(&self, unit: &Arc<Unit>, launch: Launch, ask: Ask, patience: Duration) -> Result<Standing, Error> {
        let deadline = Instant::now() + patience.max(FIRST_CODE_MIN);
        let standing = {
            let mut under_way = self.under_way.lock().await;
            let going_on = under_way.get(&unit.key).filter(|login| login.begun.elapsed() < LOGIN_MAX && !login.standing.borrow().over);
            match going_on {
                Some(login) if !ask.force => login.standing.clone(),
                _ => {
                    if let Some(earlier) = under_way.remove(&unit.key) {
                        earlier.stop.cancel();
                    }
                    let login = self.begin(unit, &launch, ask).await?;
                    let standing = login.standing.clone();
                    under_way.insert(unit.key.clone(), login);
                    standing
                }
            }
        };
        let late = || refused(unit, "no code came in time; try again");
        changed(standing, deadline, |standing| standing.qr_data_url.is_some() || !standing.message.is_empty()).await.ok_or_else(late)
    }

    /// Waits until the code was used or has changed from `shown`, or time is up. None when no login is under way.
    pub(crate) async fn wait(&self, key: &AccountKey, shown: Option<&str>, patience: Duration) -> Option<Standing> {
        let standing = self.under_way.lock().await.get(key).map(|login| login.standing.clone())?;
        let latest = standing.borrow().clone();
        // Only who says what he sees is told of another code.
        let news = |standing: &Standing| standing.over || (shown.is_some() && standing.qr_data_url.as_deref() != shown);
        Some(changed(standing, Instant::now() + patience, news).await.unwrap_or(latest))
    }

    /// Ends the account's login, if one is under way.
    pub(crate) async fn give_up(&self, key: &AccountKey) {
        if let Some(login) = self.under_way.lock().await.remove(key) {
            login.stop.cancel();
        }
    }

    async fn begin(&self, unit: &Arc<Unit>, launch: &Launch, ask: Ask) -> Result<Login, Error> {
        unit.hold().await;
        let begun = self.open(unit, launch, ask).await;
        let (codes, process) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                unit.release(None);
                return Err(error);
            }
        };
        let (sender, standing) = watch::channel(Standing::default());
        let stop = self.tasks.shutdown().child_token();
        let work = Work { unit: Arc::clone(unit), codes, process, sender, stop: stop.clone() };
        self.tasks.spawn("login", work.follow());
        Ok(Login { begun: Instant::now(), standing, stop })
    }

    async fn open(&self, unit: &Arc<Unit>, launch: &Launch, ask: Ask) -> Result<(Codes, Option<Process>), Error> {
        let started = launch.start().await.map_err(|fault| refused(unit, &fault.to_string()))?;
        if !started.hello.capabilities.is_some_and(|can| can.login) {
            return Err(Error::WebLoginUnsupported(unit.key.channel.clone()));
        }
        let request = LoginRequest {
            account_id: unit.key.account.clone(),
            settings_json: started.settings_json,
            force: ask.force,
            phone_number: ask.phone_number,
        };
        let codes = started.client.login(request).await.map_err(|error| refused(unit, &error.to_string()))?;
        Ok((codes, started.process))
    }
}

/// One login.
struct Work {
    unit: Arc<Unit>,
    codes: Codes,
    process: Option<Process>,
    sender: watch::Sender<Standing>,
    stop: CancellationToken,
}

impl Work {
    /// Follows the login to its end, and lets the account run again.
    async fn follow(mut self) {
        let stop = self.stop.clone();
        let ended = tokio::select! {
            ended = timeout(LOGIN_MAX, self.codes()) => ended.unwrap_or_else(|_| Err("nobody used the code in time".to_owned())),
            () = stop.cancelled() => Err("the login was given up".to_owned()),
        };
        if let Some(process) = &mut self.process {
            process.stop().await;
        }
        let AccountKey { channel, account } = &self.unit.key;
        let linked = match ended {
            Ok(name) => {
                info!(%channel, %account, "account linked");
                let message = format!("Linked as {name}.");
                self.sender.send_replace(Standing { connected: true, message, over: true, ..Standing::default() });
                Some(true)
            }
            Err(reason) => {
                warn!(%channel, %account, reason, "account not linked");
                let message = format!("Not linked: {reason}.");
                self.sender.send_replace(Standing { message, over: true, ..Standing::default() });
                None
            }
        };
        self.unit.release(linked);
    }

    /// Shows each code. Returns who the account is once it is linked.
    async fn codes(&mut self) -> Result<String, String> {
        loop {
            let said = self.codes.next().await.map_err(|error| error.to_string())?;
            let kind = said.and_then(|said| said.kind).ok_or_else(|| "the adapter ended the login".to_owned())?;
            let standing = match kind {
                Kind::Qr(code) => {
                    let picture = qr::data_url(&code.content).ok_or_else(|| "the code is too long for a picture".to_owned())?;
                    let message = "Scan this code with the account's device, where it links other devices.".to_owned();
                    Standing { message, qr_data_url: Some(picture), qr_text: Some(code.content), ..Standing::default() }
                }
                Kind::PairCode(code) => {
                    let message = format!("Type this code on the account's device, where it links other devices: {}", code.content);
                    Standing { message, ..Standing::default() }
                }
                Kind::Linked(linked) if linked.name.is_empty() => return Ok(linked.self_id),
                Kind::Linked(linked) => return Ok(format!("{} ({})", linked.name, linked.self_id)),
                Kind::Failed(reason) => return Err(reason),
            };
            self.sender.send_replace(standing);
        }
    }
}

/// Waits until a login's standing is as asked. None when time is up.
async fn changed(mut standing: watch::Receiver<Standing>, deadline: Instant, enough: impl FnMut(&Standing) -> bool) -> Option<Standing> {
    let waited = timeout_at(deadline, standing.wait_for(enough)).await.ok()?;
    waited.ok().map(|standing| standing.clone())
}

fn refused(unit: &Unit, reason: &str) -> Error {
    Error::Login { channel: unit.network.id(), reason: reason.to_owned() }
}
