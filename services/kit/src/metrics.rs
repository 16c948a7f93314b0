//! What a process counts. Families are declared where they are counted, with the `metrics!` macro; whoever asks gets all of them at once.
//!
//! A scrape comes to the edge, which asks every process ([`measure`]) and writes one exposition; an OTLP collector gets the same numbers from
//! each process by itself.

mod family;
mod known;
mod process;
mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;
use verso_proto::supervisor::v1::MetricFamily;

pub use family::{BYTES, Counter, Gauge, Histogram, Instrument, NONE, OTHER, SECONDS, TOKENS, whole};
pub use known::REACHED;
pub(crate) use known::{EXPORTED, REPEATED, UNSENT, asked, served};
pub(crate) use process::begin;
pub use process::resident;
pub use text::{Exposition, merge, render};

/// How long the gauges of one process may take to be read.
const PATIENCE: Duration = Duration::from_millis(400);

/// Declares what is counted: each line is a static of the given kind, its comment is what the exposition and the reference say of it, and
/// `METRICS` is the list of them for [`register`]. Names are those of Prometheus without `_total`; `as` is for the name in OTLP when it is
/// another, `per process` for what every process counts, which then has the label `service`.
#[macro_export]
macro_rules! metrics {
    ($(#[doc = $help:literal] $visibility:vis $name:ident: $kind:ident $(($bounds:ident))? = $metric:literal [$($label:literal),*]
        $(as $otlp:literal)? $(per $each:ident)?;)*) => {
        $(
            #[doc = $help]
            $visibility static $name: $crate::metrics::$kind =
                $crate::metrics::$kind::new($metric, $help, &[$($label),*] $(, &$crate::metrics::$bounds)?)$(.named_in_otlp($otlp))?$(.$each())?;
        )*
        /// Everything that is counted here.
        pub(crate) static METRICS: &[&dyn $crate::metrics::Instrument] = &[$(&$name),*];
    };
}

type Reading = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What the process has: there is one exposition a process, so this is the process's too.
static FAMILIES: Mutex<BTreeMap<&'static str, &'static dyn Instrument>> = Mutex::new(BTreeMap::new());

/// What brings gauges up to date before they are read, by name.
static READINGS: Mutex<BTreeMap<&'static str, Reading>> = Mutex::new(BTreeMap::new());

/// Makes families a part of what the process answers. Those that are known already stay.
pub fn register(families: &'static [&'static dyn Instrument]) {
    let mut known = FAMILIES.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(families.iter().map(|instrument| (instrument.family().name, *instrument)));
}

/// Has `read` bring gauges up to date each time they are asked for. A later one of the same name takes its place.
pub fn reading(name: &'static str, read: impl Fn() + Send + Sync + 'static) {
    let read = Arc::new(read);
    reading_later(name, move || {
        read();
        Box::pin(std::future::ready(()))
    });
}

/// The same for gauges that are read from a disk.
pub fn reading_later(name: &'static str, read: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) {
    READINGS.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(read));
}

/// Returns everything that the process counts, those families included that count nothing yet. What does not concern a service of
/// its own, but every process, carries the label `service`.
pub async fn measure(service: &str) -> Vec<MetricFamily> {
    register(known::METRICS);
    register(process::METRICS);
    process::read();
    let readings: Vec<Reading> = READINGS.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
    // One that hangs keeps the others from nobody: gauges then say what they said before.
    let late = timeout(PATIENCE, join_all(readings.iter().map(|read| read()))).await.is_err();
    if late {
        tracing::debug!("gauges were not read in time");
    }
    let families: Vec<_> = FAMILIES.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect();
    families.into_iter().map(|instrument| instrument.family().measure(service)).collect()
}
