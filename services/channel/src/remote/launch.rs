//! Starting the process of an account, or finding the one that runs already.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tracing::info;
use verso_adapter::{Client, Limits, Process, Program, START_TIMEOUT};
use verso_kit::CancellationToken;
use verso_kit::config::{Env, File};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_kit::telemetry::Destination;
use verso_proto::adapter::v1::HelloResponse;

use super::settings::{self, Settings};
use super::{Remote, convert, fault};
use crate::adapter::{Adapter, Fault};
use crate::error::Error;
use crate::make::{BuiltIn, Make};
use crate::media::Shelf;
use crate::mentions::Mentions;
use crate::network::Network;
use crate::profile::Profile;
use crate::store::AccountKey;
use crate::units::Unit;
use crate::webhooks::Webhooks;

/// What an adapter sees of our environment.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// What our own program in another process sees besides.
const OURS: [&str; 5] = ["NO_COLOR", "RUST_LOG", "VERSO_LOG", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What an account of ours may be silent for longer than it would be in this process: what it says has a longer way.
const SILENCE_GRACE: Duration = Duration::from_secs(10);

/// How long an account may be silent whose network we do not know here.
const SILENCE_OURS: Duration = Duration::from_mins(3);

/// Makes the adapter of an account that is in a process of its own.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) key: AccountKey,
    pub(crate) network: Network,
    pub(crate) context: Context,
    pub(crate) shelf: Shelf,
}

/// An account's process, and what is needed to use it.
pub(super) struct Started {
    pub(super) client: Client,
    pub(super) process: Option<Process>,
    pub(super) hello: HelloResponse,
    pub(super) settings_json: String,
    pub(super) silence_max: Duration,
}

impl Make for Launch {
    fn make(&self, profile: Arc<Profile>) -> BoxFuture<'_, Result<Arc<dyn Adapter>, Fault>> {
        self.adapter(profile).boxed()
    }

    fn complete(&self, profile: Profile) -> BoxFuture<'_, Profile> {
        async move {
            if self.network != Network::WhatsApp {
                return profile;
            }
            let (state_dir, account) = (self.context.state_dir.clone(), self.key.account.clone());
            let reading = tokio::task::spawn_blocking(move || {
                let folder = crate::settings::device_folder(&state_dir, &account, profile.auth_dir.as_deref());
                (crate::settings::device_number(&folder), profile)
            });
            match reading.await {
                Ok((number, profile)) => profile.with_owner(number),
                Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
            }
        }
        .boxed()
    }
}

impl Launch {
    async fn adapter(&self, profile: Arc<Profile>) -> Result<Arc<dyn Adapter>, Fault> {
        if self.network == Network::WhatsApp {
            let (state_dir, account) = (self.context.state_dir.clone(), self.key.account.clone());
            let auth_dir = profile.auth_dir.clone();
            let linked = move || crate::settings::has_device_keys(&state_dir, &account, auth_dir.as_deref());
            if !tokio::task::spawn_blocking(linked).await.unwrap_or(false) {
                return Err(Fault::Unlinked(super::login::NOT_LINKED.to_owned()));
            }
        }
        let local = self.local(&profile).await?;
        let started = self.start().await?;
        let can = started.hello.capabilities.unwrap_or_default();
        info!(channel = %self.key.channel, account = %self.key.account, software = started.hello.software, "adapter started");
        Ok(Arc::new(Remote {
            account: self.key.account.clone(),
            settings_json: started.settings_json,
            client: started.client,
            pid: started.process.as_ref().map(Process::id),
            process: Mutex::new(started.process),
            abilities: local.as_ref().map_or_else(|| convert::abilities(&can), |local| local.abilities().to_vec()),
            silence_max: local.as_ref().map_or(started.silence_max, |local| local.silence_max() + SILENCE_GRACE),
            can,
            // Our own adapters have looked already.
            mentions: if local.is_some() { Mentions::default() } else { profile.mentions() },
            local,
            shelf: self.shelf.clone(),
        }))
    }

    /// Ends the account's run, and has its adapter forget its credentials. Returns whether there were any.
    pub(crate) async fn log_out(&self, unit: &Unit) -> Result<bool, Error> {
        unit.hold().await;
        let reason = |reason: String| Error::Login { channel: self.network.id(), reason };
        let forgotten = async {
            let mut started = self.start().await.map_err(|fault| reason(fault.to_string()))?;
            if !started.hello.capabilities.is_some_and(|can| can.login) {
                return Err(Error::NoLogout(self.network.id()));
            }
            let cleared = started.client.logout(&self.key.account, &started.settings_json).await.map_err(|error| reason(error.to_string()));
            if let Some(process) = &mut started.process {
                process.stop().await;
            }
            cleared
        }
        .await;
        unit.release(forgotten.is_ok().then_some(false));
        forgotten
    }

    /// Returns the adapter that this build has for the network. It never runs here: it only knows how texts and addresses are written.
    async fn local(&self, profile: &Arc<Profile>) -> Result<Option<Arc<dyn Adapter>>, Fault> {
        if !crate::make::speaks(self.network) {
            return Ok(None);
        }
        let (context, files) = (self.context.clone(), self.shelf.clone());
        // It never receives, so it opens no door.
        let webhooks = Webhooks::new(Tasks::new(CancellationToken::new()));
        let built_in = BuiltIn { key: self.key.clone(), network: self.network, context, shelf: files, webhooks };
        built_in.make(Arc::clone(profile)).await.map(Some)
    }

    /// Starts the process, or connects to the one that runs, and agrees with it on the version.
    pub(super) async fn start(&self) -> Result<Started, Fault> {
        let (context, key, ours) = (self.context.clone(), self.key.clone(), self.network.is_built_in());
        let reading = tokio::task::spawn_blocking(move || Plan::read(&context, &key, ours)).await;
        let plan = reading.map_err(|error| Fault::Account(error.to_string()))??;
        let (client, process, hello) = match plan.way {
            Way::Address { address, token } => {
                let client = Client::at(&address, &token).map_err(|error| fault(&error))?;
                let hello = client.hello().await.map_err(|error| fault(&error))?;
                (client, None, hello)
            }
            Way::Program(program) => {
                let (process, hello) = program.start().await.map_err(|error| fault(&error))?;
                (process.client().clone(), Some(process), hello)
            }
        };
        Ok(Started { client, process, hello, settings_json: plan.settings_json, silence_max: plan.silence_max })
    }
}

/// How an account's adapter is reached, as the configuration says now.
struct Plan {
    way: Way,
    settings_json: String,
    silence_max: Duration,
}

enum Way {
    Program(Box<Program>),
    Address { address: String, token: String },
}

impl Plan {
    /// Reads it. It looks for files, so it blocks.
    fn read(context: &Context, key: &AccountKey, ours: bool) -> Result<Self, Fault> {
        let file = match context.reread_config() {
            Ok(file) if file.exists() => file,
            _ => File::clone(&context.config),
        };
        if ours { Self::of_ours(context, key, &file) } else { Self::of_others(context, key, &file) }
    }

    fn of_others(context: &Context, key: &AccountKey, file: &File) -> Result<Self, Fault> {
        let settings = Settings::read(file, &key.channel)?;
        let way = match (&settings.address, settings.command.is_empty()) {
            (Some(address), true) => Way::Address { address: address.clone(), token: token(&settings, &key.channel)? },
            (None, false) => {
                let mut environment = inherited(&context.env, &INHERITED);
                environment.extend(settings.env.clone());
                let program = program(context, key, settings.command.clone(), environment)?;
                Way::Program(Box::new(Program { limits: settings.limits(), start_timeout: settings.start_timeout(), ..program }))
            }
            _ => {
                let words = format!("adapters.{}: give it either a command to start or an address where it listens", key.channel);
                return Err(Fault::Account(words));
            }
        };
        let settings_json = Value::from(settings::merged(file, key)?).to_string();
        Ok(Self { way, settings_json, silence_max: settings.silence_max() })
    }

    fn of_ours(context: &Context, key: &AccountKey, file: &File) -> Result<Self, Fault> {
        if key.channel == Network::WhatsApp.id() {
            return Self::of_whatsapp(context, key, file);
        }
        let mut also = Map::new();
        if key.channel == Network::Telegram.id() {
            // It may come from a file or from our environment, neither of which the other process sees.
            let token = Profile::read(file, key)?.telegram_token(&context.env, &key.account);
            also.extend(token.map(|token| ("botToken".to_owned(), Value::from(token.expose().clone()))));
        }
        Self::of_this_program(context, key, file, &settings::alone(file, key, also)?)
    }

    /// `WhatsApp` keeps its keys where other credentials are, and is told of `web` how links are made.
    fn of_whatsapp(context: &Context, key: &AccountKey, file: &File) -> Result<Self, Fault> {
        let profile = Profile::read(file, key)?;
        let folder = crate::settings::device_folder(&context.state_dir, &key.account, profile.auth_dir.as_deref());
        let web: Value = file.section("web").map_err(|error| Fault::Account(error.to_string()))?;
        let mut settings = settings::merged(file, key)?;
        settings.insert("authDir".to_owned(), Value::from(folder.display().to_string()));
        settings.insert("web".to_owned(), if web.is_object() { web } else { Value::Object(Map::new()) });
        Self::of_this_program(context, key, file, &Value::from(settings))
    }

    fn of_this_program(context: &Context, key: &AccountKey, file: &File, settings: &Value) -> Result<Self, Fault> {
        let mut environment = inherited(&context.env, &INHERITED);
        environment.extend(inherited(&context.env, &OURS));
        environment.insert("VERSO_STATE_DIR".to_owned(), context.state_dir.display().to_string());
        let command = vec![executable()?.display().to_string(), "channel-account".to_owned()];
        // What cannot be read keeps no account from running: this process says what is wrong with it.
        let telemetry = Destination::of(file, &context.env).ok();
        let program = Program { telemetry, ..program(context, key, command, environment)? };
        Ok(Self { way: Way::Program(Box::new(program)), settings_json: settings.to_string(), silence_max: SILENCE_OURS })
    }
}

fn program(context: &Context, key: &AccountKey, command: Vec<String>, environment: BTreeMap<String, String>) -> Result<Program, Fault> {
    let own = context.folder().map_err(|error| Fault::Storage(error.to_string()))?.join("accounts");
    Ok(Program {
        command,
        environment,
        limits: Limits::default(),
        verso: executable()?,
        channel: key.channel.clone(),
        account: key.account.clone(),
        folder: own.join(one_name(&key.channel)).join(one_name(&key.account)),
        sockets: context.run_dir.join("accounts"),
        start_timeout: START_TIMEOUT,
        telemetry: None,
    })
}

/// This program, which is started again for accounts.
fn executable() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(|error| Fault::Account(format!("this program does not know where it is: {error}")))
}

fn inherited(env: &Env, names: &[&str]) -> BTreeMap<String, String> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), env.get(name)?.to_owned()))).collect()
}

/// Reads what is presented to an adapter that was not started by us.
fn token(settings: &Settings, channel: &str) -> Result<String, Fault> {
    let missing = |why: String| Fault::Account(format!("adapters.{channel}.tokenFile: {why}"));
    let path = settings.token_file.as_ref().ok_or_else(|| missing("an adapter with an address must be presented a token".to_owned()))?;
    let token = std::fs::read_to_string(path).map_err(|error| missing(format!("{}: {error}", path.display())))?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty()).ok_or_else(|| missing("the file is empty".to_owned()))
}

/// Makes a name of the configuration one name of the disk, different for different ones.
fn one_name(name: &str) -> String {
    name.bytes().fold(String::new(), |mut safe, byte| {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            other => {
                // Writing to a text cannot fail.
                let _written = write!(safe, "%{other:02x}");
            }
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(adapter: &Value) -> Result<Plan, Fault> {
        let state = tempfile::tempdir().unwrap();
        let file = File::from_value(serde_json::json!({"adapters": {"doves": adapter}, "channels": {"doves": {}}}));
        let key = AccountKey { channel: "doves".into(), account: "home; reboot".into() };
        Plan::of_others(&Context::for_test("channel", state.path()), &key, &file)
    }

    #[test]
    fn sec_54_a_command_is_words_that_no_shell_ever_reads() {
        let words = ["/opt/doves; touch /tmp/x", "$(id)", "a b"];
        let Ok(Plan { way: Way::Program(program), .. }) = planned(&serde_json::json!({"command": words})) else { panic!("a program") };
        assert_eq!(program.command, words);
        assert!(program.folder.ends_with("accounts/doves/home%3b%20reboot"), "{}", program.folder.display());
    }

    #[test]
    fn an_adapter_is_either_started_or_called_and_then_with_a_token() {
        let refused = |adapter: Value| planned(&adapter).err().map(|fault| fault.to_string()).unwrap_or_default();
        assert!(refused(serde_json::json!({})).contains("either a command to start or an address"));
        assert!(refused(serde_json::json!({"command": ["x"], "address": "unix:/x"})).contains("either a command"));
        assert!(refused(serde_json::json!({"address": "unix:/x"})).contains("must be presented a token"));
    }

    #[test]
    fn no_name_of_an_account_leads_elsewhere() {
        assert_eq!(one_name("home-2"), "home-2");
        assert_eq!([one_name(".."), one_name("a/b"), one_name("A")], ["%2e%2e", "a%2fb", "%41"]);
    }
}
