//! What is counted, and how Prometheus reads it.
//!
//! Whoever has figures registers a collector with [`Metrics::collect`], which is asked at every
//! scrape: pools, listeners, the store and the table keep their own counts, and nothing is counted
//! twice. Only requests are counted here, in `metrics/requests.rs` and `metrics/series.rs`, because
//! they are what the hot path counts: series are found when a table is installed, and a request does no more than add to
//! atomic numbers. `metrics/process.rs` tells of the process itself.
//!
//! Labels are what a spec or a file of ours says (API, version, realm, pattern of the route), or
//! come from a closed list (method, status, outcome). What a client or a callee can choose never
//! makes a series without bound: unknown methods are `_OTHER`, requests that no route serves are
//! `_unmatched`, and error URIs beyond the first [`MAX_ERROR_URIS`] of a realm are `_other`.
//!
//! Names, units and suffixes follow Prometheus' "Metric and label naming"; `promtool check metrics`
//! has nothing to say (`tests/gateway/metrics.rs`).

mod actions;
mod histogram;
mod process;
mod requests;
mod series;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as PrometheusUnit};

pub use actions::{Acting, MAX_ERROR_URIS, Outcome};
pub use requests::Requests;
pub use series::{Finished, MethodSeries, RouteLabels, RouteSeries};

use super::sink;
use histogram::Histogram;

/// All that is measured. One for each gateway.
#[derive(Debug)]
pub struct Metrics {
    /// The requests of the gateway's clients, and the calls that they made.
    pub requests: Arc<Requests>,
    /// A std mutex: held while a scrape is written, which waits for nothing.
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            requests: Arc::default(),
            registry: Mutex::default(),
        };
        let requests = metrics.requests.clone();
        metrics.collect(move |scrape| requests.collect(scrape));
        metrics.collect(|scrape| {
            scrape.counter(
                "wampgate_log_lines_dropped",
                "Log lines that were not read fast enough.",
                Unit::None,
                |samples| samples.put(&[], sink::dropped()),
            );
        });
        metrics.collect(process::collect);
        metrics
    }
}

impl Metrics {
    /// Asks `collector` at every scrape, after those that were registered before. It must not
    /// scrape itself.
    pub fn collect(&self, collector: impl Fn(&mut Scrape<'_>) + Send + Sync + 'static) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(Collecting(collector)));
    }

    /// Writes everything, in `format`.
    pub fn scrape(&self, format: Format) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode_registry(&mut text, &registry).expect("a String takes everything");
        match format {
            Format::OpenMetrics => {
                encode_eof(&mut text).expect("a String takes everything");
                text
            }
            Format::Prometheus => to_prometheus(&text),
        }
    }
}

/// How a scrape is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4 of Prometheus, which everything reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The media types of both, in the order of preference.
    pub const MEDIA_TYPES: [&str; 2] = ["text/plain", "application/openmetrics-text"];

    /// Returns the format that one of [`Format::MEDIA_TYPES`] stands for.
    pub fn of(media_type: &str) -> Self {
        if media_type == Self::MEDIA_TYPES[1] {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Returns the content type of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Rewrites OpenMetrics, which the library writes, as the older format.
///
/// They differ in what a family is called: OpenMetrics names it without the suffix that its samples
/// have (`_total`, `_info`), the older format knows samples only. To it, a `_total` below the
/// `# TYPE` of a name without it is another metric, which nobody has described. It knows neither
/// units nor the type of an info, either.
fn to_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // The line of the help comes first, and the type says what its name has to be.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map(|(_, help)| help);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap_or((typed, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let help = help.take().unwrap_or_default();
            text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A name and what it holds, one for each label.
pub type Label<'a> = (&'static str, &'a str);

/// What a metric is measured in; part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things are counted.
    None,
    /// `_seconds`.
    Seconds,
    /// `_bytes`.
    Bytes,
}

impl Unit {
    fn known(self) -> Option<&'static PrometheusUnit> {
        match self {
            Self::None => None,
            Self::Seconds => Some(&PrometheusUnit::Seconds),
            Self::Bytes => Some(&PrometheusUnit::Bytes),
        }
    }
}

/// One number.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole one.
    Integer(u64),
    /// Any.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Integer(number as u64)
    }
}

impl From<bool> for Number {
    fn from(is_so: bool) -> Self {
        Self::Integer(u64::from(is_so))
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// A scrape that is being written. Families without a sample are left out.
#[derive(Debug)]
pub struct Scrape<'e> {
    encoder: DescriptorEncoder<'e>,
    outcome: fmt::Result,
}

impl Scrape<'_> {
    /// Writes a family of what goes up and down. `name` is without its unit.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        fill: impl FnOnce(&mut Samples<'_, '_>),
    ) {
        self.family(name, help, unit, MetricType::Gauge, fill);
    }

    /// Writes a family of what only goes up. `name` is without its unit and without `_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        fill: impl FnOnce(&mut Samples<'_, '_>),
    ) {
        self.family(name, help, unit, MetricType::Counter, fill);
    }

    /// Writes a family whose labels are what there is to say: the value is always 1. `name` is
    /// without `_info`.
    pub fn info(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>]) {
        self.family(name, help, Unit::None, MetricType::Info, |samples| {
            let written = samples.begin().and_then(|it| it.encode_info(&labels));
            samples.outcome = samples.outcome.and(written);
        });
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        fill: impl FnOnce(&mut Samples<'_, '_>),
    ) {
        self.family(name, help, unit, MetricType::Histogram, fill);
    }

    fn family(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        kind: MetricType,
        fill: impl FnOnce(&mut Samples<'_, '_>),
    ) {
        let mut samples = Samples {
            family: Family {
                name,
                help,
                unit,
                kind,
            },
            fresh: Some(&mut self.encoder),
            begun: None,
            outcome: Ok(()),
        };
        fill(&mut samples);
        self.outcome = self.outcome.and(samples.outcome);
    }
}

#[derive(Debug, Clone, Copy)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Unit,
    kind: MetricType,
}

/// The samples of one family.
#[derive(Debug)]
pub struct Samples<'s, 'e> {
    family: Family,
    /// Until the first sample.
    fresh: Option<&'s mut DescriptorEncoder<'e>>,
    /// From then on.
    begun: Option<MetricEncoder<'s>>,
    outcome: fmt::Result,
}

impl Samples<'_, '_> {
    /// Writes a sample. No two of a family may have the same labels.
    pub fn put(&mut self, labels: &[Label<'_>], number: impl Into<Number>) {
        let number = number.into();
        let kind = self.family.kind;
        self.write(labels, |encoder| match (kind, number) {
            (MetricType::Counter, Number::Integer(number)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&number, None)
            }
            (MetricType::Counter, Number::Real(number)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&number, None)
            }
            (_, Number::Integer(number)) => encoder.encode_gauge(&number),
            (_, Number::Real(number)) => encoder.encode_gauge(&number),
        });
    }

    fn put_histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let read = histogram.read();
        self.write(labels, |encoder| {
            encoder.encode_histogram::<NoLabelSet>(read.sum, read.count, &read.buckets, None)
        });
    }

    fn write(
        &mut self,
        labels: &[Label<'_>],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) {
        let written = self.begin().and_then(|encoder| {
            if labels.is_empty() {
                write(encoder)
            } else {
                write(&mut encoder.encode_family(&labels)?)
            }
        });
        self.outcome = self.outcome.and(written);
    }
}

impl<'s> Samples<'s, '_> {
    fn begin(&mut self) -> Result<&mut MetricEncoder<'s>, fmt::Error> {
        if let Some(encoder) = self.fresh.take() {
            let Family {
                name,
                help,
                unit,
                kind,
            } = self.family;
            self.begun = Some(encoder.encode_descriptor(name, help, unit.known(), kind)?);
        }
        // None after a failure, which has been noted.
        self.begun.as_mut().ok_or(fmt::Error)
    }
}

struct Collecting<F>(F);

impl<F> fmt::Debug for Collecting<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collecting")
    }
}

impl<F: Fn(&mut Scrape<'_>) + Send + Sync + 'static> Collector for Collecting<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut scrape = Scrape {
            encoder,
            outcome: Ok(()),
        };
        (self.0)(&mut scrape);
        scrape.outcome
    }
}

#[cfg(test)]
mod tests;
