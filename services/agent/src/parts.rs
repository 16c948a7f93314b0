//! What every part of the service works with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use verso_kit::clock::Clock;
use verso_kit::config::File;
use verso_kit::events::Hub;
use verso_kit::peer::Peer;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::agent::v1::Event;
use verso_tools::skills::Shelf;

use crate::commands::{Commands, Kept};
use crate::compaction;
use crate::config::Config;
use crate::error::Error;
use crate::heartbeat::Plan;
use crate::keys::SessionKey;
use crate::lanes::Lanes;
use crate::models::{Catalog, Keyring, Model};
use crate::prompt::workspace::Workspaces;
use crate::provider::client::Clients;
use crate::provider::raw_stream::RawStream;
use crate::roster::Roster;
use crate::runs::QueueSection;
use crate::sessions::send_policy::SendPolicy;
use crate::status;
use crate::store::{self, Fence, Store};
use crate::tools::Toolbox;
use crate::tts::Speech;
use crate::usage::Reports;
use crate::{cron, embeddings};

/// The database's file in the service's folder.
const DATABASE: &str = "agent.sqlite";

/// The folder beside it for transcripts that left it.
const ARCHIVE: &str = "archive";

/// How much a model thinks, unless somebody says otherwise.
const THINKING_DEFAULT: &str = "off";

/// Whether a session is told of every tool call, unless somebody says otherwise.
const VERBOSE_DEFAULT: &str = "off";

/// What every part of the service works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) hub: Hub<Event>,
    pub(crate) lanes: Lanes,
    pub(crate) catalog: Catalog,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) clients: Clients,
    pub(crate) speech: Speech,
    pub(crate) embeddings: embeddings::Choice,
    /// Carries what a webhook's turn has said to people.
    pub(crate) channel: Peer,
    pub(crate) reports: Reports,
    pub(crate) roster: Roster,
    /// How each agent wakes by itself.
    pub(crate) heartbeats: Vec<Plan>,
    pub(crate) commands: Commands,
    /// What commands keep in memory.
    pub(crate) kept: Arc<Kept>,
    pub(crate) queue: QueueSection,
    /// Which sessions take messages.
    pub(crate) send_policy: Arc<SendPolicy>,
    /// When conversations begin afresh by themselves.
    pub(crate) freshness: crate::sessions::freshness::Policies,
    /// How an answer is told in pieces.
    pub(crate) chunks: crate::reply::Chunks,
    /// When conversations are summarised.
    pub(crate) compaction: compaction::Section,
    /// The configuration.
    pub(crate) file: Arc<File>,
    pub(crate) node: Peer,
    pub(crate) supervisor: Peer,
    pub(crate) cron: cron::settings::Section,
    /// Whether jobs run by themselves.
    pub(crate) cron_enabled: bool,
    pub(crate) clock: Clock,
    pub(crate) zone: TimeZone,
    /// What this machine is called.
    pub(crate) host: String,
    /// How long a run may take that does not say.
    pub(crate) run_timeout: Duration,
    pub(crate) thinking_default: String,
    pub(crate) verbose_default: String,
    pub(crate) up_since_ms: i64,
    pub(crate) skills: Shelf,
    pub(crate) toolbox: Toolbox,
    pub(crate) workspaces: Workspaces,
}

/// What outlives a change of the configuration.
struct Lasting {
    store: Store,
    hub: Hub<Event>,
    lanes: Lanes,
    keyring: Option<Arc<Keyring>>,
    raw_stream: Option<RawStream>,
    kept: Arc<Kept>,
    up_since_ms: i64,
}

impl Parts {
    /// Reads the configuration and opens the database, which shuts earlier incarnations out.
    pub(crate) async fn open(context: &Context, tasks: &Tasks) -> Result<Self, Error> {
        let config = Config::read(&context.config)?;
        let fence = Fence { epoch: context.epoch, incarnation: context.incarnation.clone() };
        let path = context.folder()?.join(DATABASE);
        let store = Store::open(&path, fence).await.inspect_err(|error| {
            // What clients are told names no place; who reads the log has to find the file.
            tracing::error!(path = %path.display(), error = error as &dyn std::error::Error, "the database cannot be used");
        });
        let lasting = Lasting {
            store: store?,
            hub: Hub::start(&context.incarnation, tasks),
            lanes: Lanes::new(config.agents.defaults.concurrent_runs()),
            keyring: None,
            raw_stream: RawStream::asked_for(&context.env, &context.state_dir, context.clock.clone()),
            kept: Arc::new(Kept::new(Arc::clone(&context.config), context.reload.clone())),
            up_since_ms: context.clock.now_ms(),
        };
        Self::assemble(&config, context, lasting, Toolbox::open(context, tasks)?)
    }

    /// The same parts under another configuration. What is kept, kept open or under way is shared with the present ones.
    pub(crate) fn renewed(&self, context: &Context) -> Result<Self, Error> {
        let config = Config::read(&context.config)?;
        let toolbox = self.toolbox.renewed(context)?;
        let main = Roster::new(&config, &context.state_dir).naming.default_agent;
        let lasting = Lasting {
            store: self.store.clone(),
            hub: self.hub.clone(),
            lanes: self.lanes.clone(),
            keyring: self.keyring.serves(&main, &config.auth.order).then(|| Arc::clone(&self.keyring)),
            raw_stream: self.clients.raw_stream(),
            kept: Arc::clone(&self.kept),
            up_since_ms: self.up_since_ms,
        };
        let parts = Self::assemble(&config, context, lasting, toolbox)?;
        parts.lanes.set_running_max(config.agents.defaults.concurrent_runs());
        Ok(parts)
    }

    fn assemble(config: &Config, context: &Context, lasting: Lasting, toolbox: Toolbox) -> Result<Self, Error> {
        let defaults = &config.agents.defaults;
        let zone = defaults.user_timezone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system);
        let roster = Roster::new(config, &context.state_dir);
        let main = roster.naming.default_agent.clone();
        let keyring = || Arc::new(Keyring::new(&context.state_dir, main, config.auth.order.clone(), context.clock.clone()));
        Ok(Self {
            store: lasting.store,
            hub: lasting.hub,
            lanes: lasting.lanes,
            catalog: Catalog::new(config, &context.env, context.clock.clone()),
            keyring: lasting.keyring.unwrap_or_else(keyring),
            clients: Clients::new(defaults.idle_timeout(), lasting.raw_stream),
            reports: Reports::default(),
            speech: Speech::new(config.messages.tts.clone(), &context.env, &context.state_dir),
            embeddings: defaults.memory_search.clone(),
            channel: context.peer("channel"),
            heartbeats: roster.heartbeats(config),
            roster,
            commands: Commands::new(config.session.reset_triggers.clone(), config.commands.clone()),
            kept: lasting.kept,
            send_policy: Arc::new(config.session.send_policy.clone()),
            freshness: config.session.freshness.clone(),
            queue: config.messages.queue.clone(),
            chunks: defaults.block_streaming_chunk,
            compaction: defaults.compaction.clone(),
            file: Arc::clone(&context.config),
            node: context.peer("node"),
            supervisor: context.peer("supervisor"),
            cron_enabled: config.cron.enabled(&context.env),
            cron: config.cron.clone(),
            clock: context.clock.clone(),
            zone,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            run_timeout: Duration::from_secs(defaults.run_timeout_seconds()),
            thinking_default: defaults.thinking_default.clone().unwrap_or_else(|| THINKING_DEFAULT.to_owned()),
            verbose_default: defaults.verbose_default.clone().unwrap_or_else(|| VERBOSE_DEFAULT.to_owned()),
            up_since_ms: lasting.up_since_ms,
            skills: Shelf::new(&context.config, &context.env, &context.state_dir)?,
            toolbox,
            workspaces: Workspaces::open(&context.config, &context.env)?,
        })
    }

    /// Returns the database's path as clients see it.
    pub(crate) fn store_path(&self) -> String {
        self.store.path().display().to_string()
    }

    /// Returns where transcripts go that leave the database.
    pub(crate) fn archive_folder(&self) -> PathBuf {
        self.store.path().with_file_name(ARCHIVE)
    }

    /// Returns how a session and this gateway are doing, in words.
    pub(crate) async fn status_text(&self, key: &SessionKey, model: &Model) -> Result<String, store::Error> {
        let session = self.store.session(key).await?;
        let sessions = self.store.session_counts().await?.iter().map(|(_, count)| count).sum();
        Ok(status::text(&status::Known {
            now_ms: self.clock.now_ms(),
            up_since_ms: self.up_since_ms,
            zone: &self.zone,
            model,
            session_key: key.as_str(),
            session: session.as_ref(),
            sessions,
            load: self.lanes.load(),
        }))
    }
}
