//! Logs to the console and to the log file, and spans to an OTLP collector when one is configured.

mod console;
mod otlp;
mod record;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::clock::Clock;
use crate::config::{self, Env, File};
use crate::files;
pub use tail::Tail;

/// The `logging` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Logging {
    /// The level of the log file: `silent`, `fatal`, `error`, `warn`, `info` (default), `debug` or `trace`.
    pub level: Option<Level>,
    /// The level of the console. Default `info`.
    pub console_level: Option<Level>,
    /// The log file. By default one a day, `<state>/logs/verso-YYYY-MM-DD.log`.
    pub file: Option<PathBuf>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Silent,
    /// Only what ends the process.
    Fatal,
    /// What somebody must act on.
    Error,
    /// What was handled, but should not have happened.
    Warn,
    /// Life-cycle.
    Info,
    /// One record a request.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Silent => LevelFilter::OFF,
            Self::Fatal | Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Keeps telemetry alive; what is still queued is sent when it is dropped.
#[derive(Debug, Default)]
pub struct Guard {
    _traces: Option<otlp::Traces>,
}

/// Starts telemetry for the process. Call it once, inside the runtime.
pub fn start(service: &'static str, state_dir: &Path, config: &File, env: &Env) -> Result<Guard, config::Error> {
    let logging: Logging = config.section("logging")?;
    let console_level = if env.flag("VERSO_VERBOSE") { Level::Debug } else { logging.console_level.unwrap_or(Level::Info) };
    let console = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(console::coloured(env))
        .event_format(console::Format { service })
        .with_filter(own(console_level.filter()));
    let path = log_file(&logging, state_dir, &Clock::system());
    let file = open(&path).ok().map(|file| {
        tracing_subscriber::fmt::layer()
            .with_writer(Arc::new(file))
            .with_ansi(false)
            .event_format(record::Format::new(service))
            .with_filter(own(logging.level.unwrap_or(Level::Info).filter()))
    });
    let no_file = file.is_none();
    let traces = otlp::Traces::start(service, config, env)?;
    let spans = traces.as_ref().map(|traces| traces.layer().with_filter(own(LevelFilter::DEBUG)));
    // A test process may have a subscriber already.
    let started = tracing_subscriber::registry().with(console).with(file).with(spans).try_init();
    if started.is_ok() && no_file {
        tracing::warn!(path = %path.display(), "could not open the log file; logging to the console only");
    }
    Ok(Guard { _traces: traces })
}

/// Returns the log file of today.
pub fn log_file(logging: &Logging, state_dir: &Path, clock: &Clock) -> PathBuf {
    logging.file.clone().unwrap_or_else(|| {
        let now = jiff::Timestamp::from_millisecond(clock.now_ms()).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
        state_dir.join("logs").join(now.strftime("verso-%Y-%m-%d.log").to_string())
    })
}

fn open(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        files::create_private_dir(folder)?;
    }
    // All processes append to it; a record is one write, so records never mix.
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Our own records at `level`; those of libraries only when they warn.
fn own(level: LevelFilter) -> Targets {
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("verso", level)
}
