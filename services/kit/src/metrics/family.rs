//! Counters, gauges and histograms with a bounded number of series.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use verso_proto::supervisor::v1::{MetricFamily, MetricKind, MetricSeries};

use super::known::SERIES_DROPPED;

/// Upper bounds of durations, in seconds: the same everywhere, so that they can be compared.
pub static SECONDS: [f64; 16] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Upper bounds of counts of tokens.
pub static TOKENS: [f64; 11] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];

/// Upper bounds of sizes, in bytes.
pub static BYTES: [f64; 13] = [
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    17_179_869_184.0,
];

/// Stands for what is no good label.
pub const OTHER: &str = "other";

/// Stands for what nothing is known of.
pub const NONE: &str = "none";

/// The longest value of a label, in bytes.
const LABEL_BYTES_MAX: usize = 120;

/// Series of one process; what would be one more is dropped and counted.
const SERIES_MAX: usize = 2_048;

/// Series of all families.
static SERIES: AtomicUsize = AtomicUsize::new(0);

/// The values of a series' labels.
type Labels<'a> = Vec<Cow<'a, str>>;

/// What is known of one family.
#[derive(Debug)]
pub struct Family {
    pub(super) name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    kind: MetricKind,
    bounds: &'static [f64],
    otlp: &'static str,
    /// Every process has it: the label `service` tells whose it is.
    shared: bool,
    series: Mutex<BTreeMap<Labels<'static>, Series>>,
}

#[derive(Debug, Default)]
struct Series {
    /// The count, the reading, or the sum of what was observed.
    value: Cell<f64>,
    /// How many observations are in each bucket, the one without a bound included; empty for what is no histogram.
    buckets: Vec<Cell<u64>>,
}

/// Something that counts.
pub trait Instrument: Sync {
    /// Returns its family.
    fn family(&self) -> &Family;
}

impl Family {
    const fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        (kind, bounds): (MetricKind, &'static [f64]),
    ) -> Self {
        Self { name, help, labels, kind, bounds, otlp: "", shared: false, series: Mutex::new(BTreeMap::new()) }
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<Labels<'static>, Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a series. Values that no label may have are [`OTHER`], empty ones [`NONE`].
    fn change<const N: usize>(&self, labels: [&str; N], change: impl FnOnce(&Series)) {
        debug_assert_eq!(N, self.labels.len(), "{} has other labels", self.name);
        let mut series = self.series();
        if let Some(one) = find(&series, labels.map(Cow::Borrowed).as_slice()) {
            return change(one);
        }
        let clean: Labels<'static> = labels.iter().map(|value| Cow::Owned(clean(value).to_owned())).collect();
        if !series.contains_key(&clean) {
            if SERIES.load(Ordering::Relaxed) >= SERIES_MAX {
                drop(series);
                // What has no labels is at most one series, and that of the dropped ones among them.
                if !self.labels.is_empty() {
                    SERIES_DROPPED.one_more([]);
                }
                return;
            }
            SERIES.fetch_add(1, Ordering::Relaxed);
        }
        let buckets = if self.bounds.is_empty() { 0 } else { self.bounds.len() + 1 };
        let made = || Series { value: Cell::default(), buckets: vec![Cell::default(); buckets] };
        change(series.entry(clean).or_insert_with(made));
    }

    fn add<const N: usize>(&self, labels: [&str; N], more: f64) {
        self.change(labels, |series| series.value.set(series.value.get() + more));
    }

    fn observe<const N: usize>(&self, labels: [&str; N], value: f64) {
        let at = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.change(labels, |series| {
            series.buckets[at].set(series.buckets[at].get() + 1);
            series.value.set(series.value.get() + value);
        });
    }

    fn forget(&self) {
        let mut series = self.series();
        SERIES.fetch_sub(series.len(), Ordering::Relaxed);
        series.clear();
    }

    /// Returns what was counted so far in the process of `service`.
    pub(super) fn measure(&self, service: &str) -> MetricFamily {
        let whose = self.shared.then(|| service.to_owned());
        let series = self.series();
        let series = series.iter().map(|(values, one)| MetricSeries {
            values: values.iter().map(|value| value.clone().into_owned()).chain(whose.clone()).collect(),
            value: one.value.get(),
            buckets: one.buckets.iter().map(Cell::get).collect(),
        });
        let labels = self.labels.iter().copied().chain(self.shared.then_some("service"));
        MetricFamily {
            name: self.name.to_owned(),
            help: self.help.trim().trim_end_matches('.').to_owned(),
            kind: self.kind.into(),
            labels: labels.map(str::to_owned).collect(),
            bounds: self.bounds.to_vec(),
            otlp_name: self.otlp.to_owned(),
            series: series.collect(),
        }
    }
}

/// A look-up that copies no label.
fn find<'map, 'label>(series: &'map BTreeMap<Labels<'label>, Series>, labels: &[Cow<'label, str>]) -> Option<&'map Series> {
    series.get(labels)
}

/// A value that may be a label.
fn clean(value: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-/{}*".contains(&byte);
    match value {
        "" => NONE,
        // The key of a session says who talks.
        _ if value.starts_with("agent:") || value.len() > LABEL_BYTES_MAX || !value.bytes().all(plain) => OTHER,
        _ => value,
    }
}

/// A count as a number that may have a fraction.
#[allow(clippy::cast_precision_loss, reason = "fractions of a count do not matter")]
pub fn whole(count: impl TryInto<i64>) -> f64 {
    count.try_into().map_or(f64::MAX, |count| count as f64)
}

macro_rules! instrument {
    ($name:ident, $kind:ident, $about:literal $(, $bounds:ident)?) => {
        #[doc = $about]
        #[derive(Debug)]
        pub struct $name(Family);

        impl $name {
            /// Declares the family; see [`metrics!`](crate::metrics!).
            pub const fn new(
                name: &'static str,
                help: &'static str,
                labels: &'static [&'static str]
                $(, $bounds: &'static [f64])?
            ) -> Self {
                let bounds: &'static [f64] = &[];
                $(let bounds = { let _ = bounds; $bounds };)?
                Self(Family::new(name, help, labels, (MetricKind::$kind, bounds)))
            }

            /// Has another name in OTLP.
            #[must_use]
            pub const fn named_in_otlp(mut self, name: &'static str) -> Self {
                self.0.otlp = name;
                self
            }

            /// Is counted by every process.
            #[must_use]
            pub const fn process(mut self) -> Self {
                self.0.shared = true;
                self
            }
        }

        impl Instrument for $name {
            fn family(&self) -> &Family {
                &self.0
            }
        }
    };
}

instrument!(Counter, Counter, "Only grows.");
instrument!(Gauge, Gauge, "Is read when it is asked for.");
instrument!(Histogram, Histogram, "How large something was, each time.", bounds);

impl Counter {
    /// Counts one more.
    pub fn one_more<const N: usize>(&self, labels: [&str; N]) {
        self.0.add(labels, 1.0);
    }

    /// Counts several more, or a part.
    pub fn add<const N: usize>(&self, labels: [&str; N], more: f64) {
        self.0.add(labels, more);
    }

    /// Takes over a count that was made elsewhere.
    pub fn read<const N: usize>(&self, labels: [&str; N], total: f64) {
        self.0.change(labels, |series| series.value.set(total));
    }

    /// Returns how often this was counted.
    pub fn count<const N: usize>(&self, labels: [&str; N]) -> f64 {
        find(&self.0.series(), labels.map(Cow::Borrowed).as_slice()).map_or(0.0, |series| series.value.get())
    }
}

impl Gauge {
    /// Says how it is now.
    pub fn set<const N: usize>(&self, labels: [&str; N], value: f64) {
        self.0.change(labels, |series| series.value.set(value));
    }

    /// Says how it is now for all labels: what is not among them is no more.
    pub fn replace<const N: usize>(&self, all: impl IntoIterator<Item = ([String; N], f64)>) {
        self.0.forget();
        for (labels, value) in all {
            self.set(labels.each_ref().map(String::as_str), value);
        }
    }
}

impl Histogram {
    /// Takes down a value.
    pub fn observe<const N: usize>(&self, labels: [&str; N], value: f64) {
        self.0.observe(labels, value);
    }

    /// Takes down a duration, in milliseconds.
    pub fn observe_ms<const N: usize>(&self, labels: [&str; N], ms: i64) {
        self.0.observe(labels, whole(ms.max(0)) / 1_000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::metrics! {
        /// Things.
        THINGS: Counter = "test_things" ["kind"];
        /// Sizes.
        SIZES: Histogram(BYTES) = "test_sizes_bytes" [] as "test.sizes";
        /// Depths.
        DEPTHS: Gauge = "test_depths" ["queue"] per process;
    }

    #[test]
    fn only_plain_names_are_labels() {
        for (value, expected) in [("gpt-4.1:mini", "gpt-4.1:mini"), ("a b", OTHER), ("", NONE), ("agent:main:x", OTHER), ("\"}\n", OTHER)] {
            assert_eq!(clean(value), expected, "{value}");
        }
        assert_eq!(clean(&"x".repeat(LABEL_BYTES_MAX + 1)), OTHER);
    }

    #[test]
    fn counts_by_labels_and_buckets() {
        THINGS.one_more(["a"]);
        THINGS.add(["a"], 2.0);
        THINGS.one_more(["what a client says"]);
        assert_eq!((THINGS.count(["a"]), THINGS.count([OTHER])), (3.0, 1.0));
        for size in [1.0, 1_024.0, 1_025.0, f64::MAX] {
            SIZES.observe([], size);
        }
        let measured = SIZES.family().measure("agent");
        assert_eq!(measured.series[0].buckets[..2], [2, 1]);
        assert_eq!((measured.series[0].buckets[13], measured.otlp_name.as_str()), (1, "test.sizes"));
        DEPTHS.replace([(["one".to_owned()], 1.0)]);
        DEPTHS.replace([(["two".to_owned()], 2.0)]);
        let measured = DEPTHS.family().measure("agent");
        assert_eq!((measured.labels, measured.series.len()), (vec!["queue".to_owned(), "service".to_owned()], 1));
        assert_eq!(measured.series[0].values, ["two", "agent"]);
        assert_eq!(METRICS.len(), 3);
    }
}
