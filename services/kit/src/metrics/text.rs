//! The exposition that Prometheus reads, written from what one or several processes have counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use verso_proto::supervisor::v1::{MetricFamily, MetricKind, MetricSeries};

/// How the metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own text, version 0.0.4.
    Text,
    /// What other programs read as well.
    OpenMetrics,
}

impl Exposition {
    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Puts what several processes have counted together: a family is written once, whoever has it.
pub fn merge(processes: impl IntoIterator<Item = Vec<MetricFamily>>) -> Vec<MetricFamily> {
    let mut families: BTreeMap<(i32, String), MetricFamily> = BTreeMap::new();
    for family in processes.into_iter().flatten() {
        // Another process of another version may have other labels under that name; the first one counts.
        match families.get_mut(&(family.kind, family.name.clone())) {
            Some(known) if known.labels == family.labels && known.bounds == family.bounds => known.series.extend(family.series),
            Some(_) => {}
            None => drop(families.insert((family.kind, family.name.clone()), family)),
        }
    }
    families.into_values().collect()
}

/// Writes families in their order: [`merge`] puts counters first, then gauges, then histograms, each by name.
pub fn render(families: &[MetricFamily], exposition: Exposition) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.series.is_empty()) {
        // A string takes everything.
        write_family(&mut out, family, exposition).unwrap_or_default();
    }
    if exposition == Exposition::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(out: &mut String, family: &MetricFamily, exposition: Exposition) -> std::fmt::Result {
    let (kind, sample) = match family.kind() {
        MetricKind::Counter => ("counter", format!("{}_total", family.name)),
        MetricKind::Histogram => ("histogram", family.name.clone()),
        MetricKind::Gauge | MetricKind::Unspecified => ("gauge", family.name.clone()),
    };
    // In the older text a counter's family has the name of its samples.
    let named = if exposition == Exposition::Text { &sample } else { &family.name };
    writeln!(out, "# HELP {named} {}.", escaped(&family.help))?;
    writeln!(out, "# TYPE {named} {kind}")?;
    let mut series: Vec<(Vec<(&str, &str)>, &MetricSeries)> = family.series.iter().map(|one| (labels(family, one), one)).collect();
    series.sort_by(|one, other| one.0.cmp(&other.0));
    for (labels, one) in series {
        if family.kind() == MetricKind::Histogram {
            write_histogram(out, family, &labels, one)?;
        } else {
            writeln!(out, "{sample}{} {}", in_braces(&labels), number(one.value))?;
        }
    }
    Ok(())
}

fn write_histogram(out: &mut String, family: &MetricFamily, labels: &[(&str, &str)], one: &MetricSeries) -> std::fmt::Result {
    let name = &family.name;
    let mut so_far = 0;
    let bounds = family.bounds.iter().map(|bound| number(*bound)).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(&one.buckets) {
        so_far += count;
        let mut all = labels.to_vec();
        all.push(("le", &bound));
        all.sort_unstable();
        writeln!(out, "{name}_bucket{} {so_far}", in_braces(&all))?;
    }
    writeln!(out, "{name}_sum{} {}", in_braces(labels), number(one.value))?;
    writeln!(out, "{name}_count{} {so_far}", in_braces(labels))
}

/// The labels of a series, by name.
fn labels<'a>(family: &'a MetricFamily, series: &'a MetricSeries) -> Vec<(&'a str, &'a str)> {
    let mut labels: Vec<(&str, &str)> = family.labels.iter().map(String::as_str).zip(series.values.iter().map(String::as_str)).collect();
    labels.sort_unstable();
    labels
}

fn in_braces(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", labels.join(","))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A whole number, or one of at most twelve digits that matter.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    let rounded: f64 = format!("{value:.11e}").parse().unwrap_or(value);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, kind: MetricKind, labels: &[&str], series: Vec<MetricSeries>) -> MetricFamily {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        MetricFamily { name: name.to_owned(), help: "Things".to_owned(), kind: kind.into(), labels, series, ..MetricFamily::default() }
    }

    fn series(values: &[&str], value: f64, buckets: &[u64]) -> MetricSeries {
        MetricSeries { values: values.iter().map(|value| (*value).to_owned()).collect(), value, buckets: buckets.to_vec() }
    }

    #[test]
    fn a_family_of_several_processes_is_written_once() {
        let of = |service: &str| vec![family("open", MetricKind::Gauge, &["service"], vec![series(&[service], 1.5, &[])])];
        let counted = vec![family("done", MetricKind::Counter, &["z", "a"], vec![series(&["1", "2"], 3.0, &[])])];
        let text = render(&merge([of("b"), counted, of("a")]), Exposition::Text);
        assert_eq!(
            text,
            "# HELP done_total Things.\n# TYPE done_total counter\ndone_total{a=\"2\",z=\"1\"} 3\n\
             # HELP open Things.\n# TYPE open gauge\nopen{service=\"a\"} 1.5\nopen{service=\"b\"} 1.5\n"
        );
    }

    #[test]
    fn buckets_add_up_and_the_newer_text_ends() {
        let mut waits = family("waits_seconds", MetricKind::Histogram, &["lane"], vec![series(&["main"], 0.1 + 0.2, &[1, 0, 2])]);
        waits.bounds = vec![0.5, 1.0];
        let text = render(&[waits, family("none", MetricKind::Counter, &[], vec![])], Exposition::OpenMetrics);
        assert_eq!(
            text,
            "# HELP waits_seconds Things.\n# TYPE waits_seconds histogram\n\
             waits_seconds_bucket{lane=\"main\",le=\"0.5\"} 1\nwaits_seconds_bucket{lane=\"main\",le=\"1\"} 1\n\
             waits_seconds_bucket{lane=\"main\",le=\"+Inf\"} 3\n\
             waits_seconds_sum{lane=\"main\"} 0.3\nwaits_seconds_count{lane=\"main\"} 3\n# EOF\n"
        );
    }
}
