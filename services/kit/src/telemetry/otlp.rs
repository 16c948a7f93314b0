//! Spans, metrics and log records to an OTLP collector; nothing of it runs when no endpoint is configured.
//!
//! One task a process sends what waits in one bounded queue. A collector that is slow, away or wrong costs what waits, never a request:
//! nothing here is waited for but the last flush, for a moment.

mod convert;
mod logs;
mod settings;
mod spans;
mod transport;

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Subscriber, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::sampling::Sampling;
use crate::config::{Env, File};
use crate::metrics::{self, EXPORTED, UNSENT};
use crate::tasks::Tasks;
pub(super) use logs::Logs;
use settings::Settings;
use transport::{Signal, Transport};

/// Spans and records that wait to be sent.
const QUEUE_MAX: usize = 4_096;

/// Spans or records that are sent at once.
const BATCH_MAX: usize = 512;

/// How long a span waits for others.
const SPANS_DELAY: Duration = Duration::from_secs(2);

/// How long the last flush may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The target of records about the exporter itself, which are not exported.
pub(super) const TARGET: &str = "verso::exporter";

/// Something that waits to be sent.
#[derive(Debug)]
enum Item {
    Span(Box<SpanData>),
    Record(Box<LogRecord>),
    /// Send everything now.
    Flush(oneshot::Sender<()>),
}

/// The queue to the exporter. Clones share it.
#[derive(Debug, Clone)]
struct Queue(mpsc::Sender<Item>);

impl Queue {
    /// Adds something; what finds no room is counted.
    fn push(&self, item: Item) {
        let class = match &item {
            Item::Span(_) => "span",
            Item::Record(_) => "record",
            Item::Flush(_) => "flush",
        };
        if self.0.try_send(item).is_err() {
            UNSENT.one_more([class]);
        }
    }
}

/// The exporter of one process.
#[derive(Debug)]
pub(super) struct Otlp {
    queue: Queue,
    /// Makes spans; none when no traces are sent.
    provider: Option<SdkTracerProvider>,
    with_logs: bool,
}

impl Otlp {
    /// Starts the exporter that the configuration or the environment asks for. What cannot be used is a reason to export nothing, and
    /// none to stop.
    pub(super) fn start(service: &'static str, config: &File, env: &Env) -> Result<Option<Self>, String> {
        let Some(settings) = Settings::of(config, env)? else { return Ok(None) };
        let (items, waiting) = mpsc::channel(QUEUE_MAX);
        let queue = Queue(items);
        let transport = Transport::new(&settings)?;
        let sampler = Sampling { share: settings.share, at_the_door: service == "edge" };
        let provider = settings.sends(Signal::Traces).then(|| {
            let processor = spans::Collecting(queue.clone());
            SdkTracerProvider::builder().with_span_processor(processor).with_sampler(sampler).build()
        });
        let exporter = Exporter {
            service,
            resource: convert::resource(service, &settings, env),
            transport,
            records_delay: settings.interval.min(SPANS_DELAY),
            metrics_every: settings.sends(Signal::Metrics).then_some(settings.interval),
            refused: [false; 3],
            spans: Vec::new(),
            records: Vec::new(),
        };
        // Not the service's: telemetry that panics ends nothing else.
        Tasks::new(CancellationToken::new()).spawn("telemetry", exporter.run(waiting));
        Ok(Some(Self { queue, provider, with_logs: settings.sends(Signal::Logs) }))
    }

    /// Returns what makes spans of tracing's.
    pub(super) fn spans<S: Subscriber + for<'a> LookupSpan<'a>>(&self, service: &'static str) -> Option<OpenTelemetryLayer<S, SdkTracer>> {
        let tracer = self.provider.as_ref()?.tracer(service);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        Some(layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false))
    }

    /// Returns what makes records of events; none unless that is asked for.
    pub(super) fn logs(&self, looks: &std::sync::Arc<arc_swap::ArcSwap<super::Looks>>) -> Option<Logs> {
        self.with_logs.then(|| Logs::new(self.queue.clone(), std::sync::Arc::clone(looks)))
    }

    /// Sends what waits, within a moment.
    pub(super) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        self.queue.push(Item::Flush(done));
        // Whether it was sent or not is in the metrics.
        drop(timeout(FLUSH_TIMEOUT, sent).await);
    }
}

/// The task that sends.
struct Exporter {
    service: &'static str,
    resource: Resource,
    transport: Transport,
    records_delay: Duration,
    /// How often metrics are sent; none: never.
    metrics_every: Option<Duration>,
    /// Whether the last attempt failed, by signal: it is logged when that changes.
    refused: [bool; 3],
    spans: Vec<SpanData>,
    records: Vec<LogRecord>,
}

impl Exporter {
    async fn run(mut self, mut waiting: mpsc::Receiver<Item>) {
        let every = self.metrics_every.unwrap_or(Duration::from_hours(1));
        let mut measuring = interval_at(Instant::now() + every, every);
        let mut due = Instant::now();
        loop {
            let has_some = !(self.spans.is_empty() && self.records.is_empty());
            tokio::select! {
                item = waiting.recv() => {
                    if !has_some {
                        due = Instant::now() + self.records_delay;
                    }
                    match item {
                        Some(Item::Span(span)) => self.spans.push(*span),
                        Some(Item::Record(record)) => self.records.push(*record),
                        Some(Item::Flush(done)) => {
                            self.send_waiting().await;
                            self.send_metrics().await;
                            // Who asked may have stopped waiting.
                            done.send(()).unwrap_or_default();
                        }
                        None => return,
                    }
                    if self.spans.len() >= BATCH_MAX || self.records.len() >= BATCH_MAX {
                        self.send_waiting().await;
                    }
                }
                () = sleep_until(due), if has_some => self.send_waiting().await,
                _ = measuring.tick(), if self.metrics_every.is_some() => self.send_metrics().await,
            }
        }
    }

    async fn send_waiting(&mut self) {
        let (spans, records) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.records));
        if !spans.is_empty() {
            self.send(Signal::Traces, convert::spans(&self.resource, spans)).await;
        }
        if !records.is_empty() {
            self.send(Signal::Logs, convert::records(&self.resource, records)).await;
        }
    }

    async fn send_metrics(&mut self) {
        if self.metrics_every.is_some() {
            let families = metrics::measure(self.service).await;
            self.send(Signal::Metrics, convert::metrics(&self.resource, families)).await;
        }
    }

    async fn send(&mut self, signal: Signal, message: Vec<u8>) {
        let sent = self.transport.send(signal, message).await;
        let (status, reason) = sent.as_ref().err().map_or(("success", metrics::NONE), |failure| ("failure", failure.reason));
        EXPORTED.one_more(["otlp", reason, signal.name(), status]);
        let before = std::mem::replace(&mut self.refused[signal as usize], sent.is_err());
        if let (Err(failure), false) = (sent, before) {
            let words = failure.words;
            warn!(target: TARGET, signal = signal.name(), error = words, "the collector takes nothing; what it does not take is dropped");
        }
    }
}
