//! Logs to the console and to the log file; with spans and metrics to an OTLP collector when one is configured.

mod console;
mod destination;
mod otlp;
mod record;
mod redaction;
mod rolling;
mod sampling;
mod tail;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde::Deserialize;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::clock::Clock;
use crate::config::{self, Env, File};
pub use destination::Destination;
use redaction::Redactor;
use rolling::Rolling;
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
    /// How the console looks. Default: `pretty` on a terminal, else `compact`.
    pub console_style: Option<Style>,
    /// What is taken out beside secrets: patterns, plain or `/pattern/flags`.
    pub redact_patterns: Vec<String>,
    /// How long daily files are kept, in days. Default: 7.
    pub retention_days: Option<u32>,
    /// How large a file may become, in bytes. Default: 200 MiB.
    pub max_file_bytes: Option<u64>,
}

/// How console lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// `12:34:56 [service] message`, for people.
    Pretty,
    /// The same with the whole time.
    Compact,
    /// One JSON object a line.
    Json,
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

/// What was started for the process.
#[derive(Debug, Default)]
pub struct Guard {
    otlp: Option<otlp::Otlp>,
}

impl Guard {
    /// Sends what is still queued, within a moment: the process ends.
    pub async fn finish(self) {
        if let Some(otlp) = self.otlp {
            otlp.flush().await;
        }
    }
}

/// What a change of the configuration changes in a process that is running. There is one subscriber a process, so this is the process's too.
static LIVE: OnceLock<Live> = OnceLock::new();

#[derive(Debug)]
struct Live {
    console: reload::Handle<Targets, Registry>,
    file: reload::Handle<Targets, Registry>,
    log: Arc<Rolling>,
    looks: Arc<ArcSwap<Looks>>,
    wanted: Wanted,
}

/// What flags ask of the console.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    verbose: bool,
    /// Also requests and events, not only answers.
    frames: bool,
}

/// How records are written.
#[derive(Debug)]
struct Looks {
    style: Style,
    redactor: Redactor,
}

impl Looks {
    fn of(logging: &Logging) -> Self {
        let usual = if console::is_terminal() { Style::Pretty } else { Style::Compact };
        Self { style: logging.console_style.unwrap_or(usual), redactor: Redactor::new(&logging.redact_patterns) }
    }
}

/// The target of records about single WebSocket frames: their names and sizes, never what is in them.
pub const FRAMES: &str = "verso::frames";

/// Starts telemetry for the process. Call it once, inside the runtime.
pub fn start(service: &'static str, state_dir: &Path, config: &File, env: &Env) -> Result<Guard, config::Error> {
    let logging: Logging = config.section("logging")?;
    let wanted = Wanted { verbose: env.flag("VERSO_VERBOSE"), frames: env.get("VERSO_WS_LOG") == Some("full") };
    let looks = Arc::new(ArcSwap::from_pointee(Looks::of(&logging)));
    let log = Arc::new(Rolling::new(&logging, state_dir, Clock::system()));
    let opened = log.open();
    let (console_filter, console) = reload::Layer::new(console_filter(&logging, wanted));
    let (file_filter, file) = reload::Layer::new(own(logging.level.unwrap_or(Level::Info).filter()));
    let to_console = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(console::coloured(env))
        .event_format(console::Format { service, looks: Arc::clone(&looks) })
        .with_filter(console_filter);
    let to_file = tracing_subscriber::fmt::layer()
        .with_writer(Arc::clone(&log))
        .with_ansi(false)
        .event_format(record::Format::new(service, Arc::clone(&looks)))
        .with_filter(file_filter);
    let mut layers: Layers = vec![Box::new(to_console), Box::new(to_file)];
    crate::metrics::begin();
    let (otlp, unusable) = match otlp::Otlp::start(service, config, env) {
        Ok(otlp) => (otlp, None),
        Err(reason) => (None, Some(reason)),
    };
    if let Some(otlp) = &otlp {
        layers.extend(exported(otlp, service, logging.level.unwrap_or(Level::Info).filter(), &looks));
    }
    // A test process may have a subscriber already.
    if tracing_subscriber::registry().with(layers).try_init().is_ok() {
        // Set once: there is one subscriber.
        drop(LIVE.set(Live { console, file, log, looks, wanted }));
        if let Err(error) = opened {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not open the log file; logging to the console only");
        }
    }
    if let Some(reason) = unusable {
        tracing::warn!(reason, "diagnostics.otel cannot be used; nothing is exported");
    }
    Ok(Guard { otlp })
}

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Returns what exports spans and, if that is asked for, records of at least `level`.
///
/// Each says which levels it wants at most, and none is an optional layer: with either, every span of every library would be made just to
/// be thrown away, at three times the price of a request.
fn exported(otlp: &otlp::Otlp, service: &'static str, level: LevelFilter, looks: &Arc<ArcSwap<Looks>>) -> Layers {
    let mut layers: Layers = Vec::new();
    if let Some(spans) = otlp.spans(service) {
        // Events inside of spans would take with them what they say of sessions.
        let only_spans = filter_fn(|metadata: &Metadata<'_>| metadata.is_span()).with_max_level_hint(LevelFilter::DEBUG);
        layers.push(Box::new(spans.with_filter(only_spans.and(own(LevelFilter::DEBUG)))));
    }
    if let Some(logs) = otlp.logs(looks) {
        layers.push(Box::new(logs.with_filter(own(level).with_target(otlp::TARGET, LevelFilter::OFF))));
    }
    layers
}

/// Puts another `logging` section in force.
pub fn retune(logging: &Logging) {
    let Some(live) = LIVE.get() else { return };
    let console = live.console.reload(console_filter(logging, live.wanted));
    let file = live.file.reload(own(logging.level.unwrap_or(Level::Info).filter()));
    if let Err(error) = console.and(file) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the levels of the log stay as they were");
    }
    live.log.follow(logging);
    live.looks.store(Arc::new(Looks::of(logging)));
}

fn console_filter(logging: &Logging, wanted: Wanted) -> Targets {
    let level = if wanted.verbose { Level::Debug } else { logging.console_level.unwrap_or(Level::Info) };
    let frames = wanted.verbose && wanted.frames;
    if frames { own(level.filter()).with_target(FRAMES, LevelFilter::TRACE) } else { own(level.filter()) }
}

/// Returns the log file of today.
pub fn log_file(logging: &Logging, state_dir: &Path, clock: &Clock) -> PathBuf {
    logging.file.clone().unwrap_or_else(|| {
        let now = jiff::Timestamp::from_millisecond(clock.now_ms()).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
        state_dir.join("logs").join(now.strftime("verso-%Y-%m-%d.log").to_string())
    })
}

/// Our own records at `level`; those of libraries only when they warn.
fn own(level: LevelFilter) -> Targets {
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("verso", level)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing::{enabled, span_enabled};

    use super::*;

    #[tokio::test]
    async fn what_libraries_trace_is_not_made_for_spans_that_are_exported() {
        for more in [json!({}), json!({"logs": true}), json!({"traces": false, "logs": true})] {
            let mut otel = json!({"endpoint": "http://127.0.0.1:9", "sampleRate": 0.01});
            otel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let config = File::from_value(json!({"diagnostics": {"otel": otel}}));
            let otlp = otlp::Otlp::start("agent", &config, &Env::default()).unwrap().unwrap();
            let looks = Arc::new(ArcSwap::from_pointee(Looks::of(&Logging::default())));
            let layers = exported(&otlp, "agent", LevelFilter::INFO, &looks);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layers), || {
                let spans = otel["traces"] != false;
                assert!(
                    !span_enabled!(target: "h2", tracing::Level::TRACE) && !span_enabled!(target: "h2", tracing::Level::DEBUG),
                    "{otel}"
                );
                assert!(!enabled!(target: "h2", tracing::Level::DEBUG), "{otel}");
                assert_eq!(span_enabled!(target: "verso_agent", tracing::Level::DEBUG), spans, "{otel}");
                assert_eq!(enabled!(target: "verso_agent", tracing::Level::INFO), otel["logs"] == true, "{otel}");
            });
        }
    }
}
