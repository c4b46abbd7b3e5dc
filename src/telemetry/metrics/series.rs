//! The counts of one route, which its requests add to.
//!
//! What costs memory (histograms) is made at the first request of a method: a table of ten thousand
//! routes of which a hundred are used pays for a hundred.

use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;

use super::Label;
use super::actions::{Acting, ActionSeries, ErrorUris};
use super::histogram::{DURATIONS, Histogram, SIZES};

/// What tells one route from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RouteLabels {
    /// The API's id.
    pub api: String,
    /// The API's version.
    pub version: String,
    /// The realm of its calls.
    pub realm: String,
    /// The path's pattern as declared.
    pub route: String,
}

/// The requests of one pattern of an API version.
#[derive(Debug)]
pub struct RouteSeries {
    labels: RouteLabels,
    errors: Arc<ErrorUris>,
    /// By the place of their name in [`METHODS`].
    methods: [OnceLock<Box<MethodSeries>>; METHODS.len()],
}

/// The methods that are told apart, and what stands for all others.
///
/// Reference: OpenTelemetry, "Semantic conventions for HTTP metrics", `http.request.method`.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "_OTHER",
];

/// The series of one method of one route, and what they are called.
pub(super) struct Labelled<'r> {
    pub(super) labels: [Label<'r>; 5],
    pub(super) series: &'r MethodSeries,
}

impl<'r> Labelled<'r> {
    pub(super) fn with(&self, more: &[Label<'r>]) -> Vec<Label<'r>> {
        [&self.labels, more].concat()
    }
}

/// Classes of statuses, from 1xx on.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn place(method: &Method) -> usize {
    let found = METHODS.iter().position(|name| *name == method.as_str());
    found.unwrap_or(METHODS.len() - 1)
}

impl RouteSeries {
    pub(super) fn new(labels: RouteLabels, errors: Arc<ErrorUris>) -> Self {
        Self {
            labels,
            errors,
            methods: array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Returns the series of requests with `method`.
    pub fn method(&self, method: &Method) -> &MethodSeries {
        self.methods[place(method)].get_or_init(|| Box::new(MethodSeries::new(&self.errors)))
    }

    pub(super) fn methods(&self) -> impl Iterator<Item = Labelled<'_>> {
        let RouteLabels {
            api,
            version,
            realm,
            route,
        } = &self.labels;
        METHODS
            .iter()
            .zip(&self.methods)
            .filter_map(move |(method, series)| {
                Some(Labelled {
                    labels: [
                        ("api", api),
                        ("version", version),
                        ("realm", realm),
                        ("route", route),
                        ("method", method),
                    ],
                    series: series.get()?,
                })
            })
    }
}

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// The status of the answer, or [`CLIENT_GONE`](crate::telemetry::CLIENT_GONE).
    pub status: u16,
    /// From the head's arrival to the answer's first byte.
    pub duration: Duration,
    /// Bytes of the request's body, where known.
    pub bytes_in: Option<u64>,
    /// Bytes of the answer's body, where known.
    pub bytes_out: Option<u64>,
}

/// The requests with one method of one route.
#[derive(Debug)]
pub struct MethodSeries {
    pub(super) statuses: Statuses,
    /// By class of status.
    pub(super) durations: [OnceLock<Histogram>; CLASSES.len()],
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
    in_flight: AtomicU64,
    pub(super) calls: OnceLock<Box<ActionSeries>>,
    pub(super) publishes: OnceLock<Box<ActionSeries>>,
    errors: Arc<ErrorUris>,
}

impl MethodSeries {
    fn new(errors: &Arc<ErrorUris>) -> Self {
        Self {
            statuses: Statuses::default(),
            durations: array::from_fn(|_| OnceLock::new()),
            request_bytes: Histogram::new(&SIZES),
            response_bytes: Histogram::new(&SIZES),
            in_flight: AtomicU64::new(0),
            calls: OnceLock::new(),
            publishes: OnceLock::new(),
            errors: errors.clone(),
        }
    }

    /// Notes that a request has begun; [`MethodSeries::finish`] must follow.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Counts a request that has begun and ended.
    pub fn finish(&self, finished: Finished) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.statuses.add(finished.status);
        let class = usize::from(finished.status / 100).clamp(1, CLASSES.len()) - 1;
        self.durations[class]
            .get_or_init(|| Histogram::new(&DURATIONS))
            .observe_duration(finished.duration);
        if let Some(bytes) = finished.bytes_in {
            self.request_bytes.observe(bytes);
        }
        if let Some(bytes) = finished.bytes_out {
            self.response_bytes.observe(bytes);
        }
    }

    /// Returns how many have begun and not ended.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Begins to measure a WAMP call.
    pub fn call(&self) -> Acting<'_> {
        self.act(&self.calls)
    }

    /// Begins to measure a WAMP publish.
    pub fn publish(&self) -> Acting<'_> {
        self.act(&self.publishes)
    }

    fn act<'s>(&'s self, series: &'s OnceLock<Box<ActionSeries>>) -> Acting<'s> {
        let new = || Box::new(ActionSeries::new(self.errors.clone()));
        series.get_or_init(new).begin()
    }
}

/// Counts by status: places are taken in the order in which statuses come, so that the usual one
/// stands first, and none is paid for that never comes.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// Status (0: free) and count.
    places: [(AtomicU16, AtomicU64); 6],
    /// When these are taken.
    more: OnceLock<Box<Statuses>>,
}

impl Statuses {
    fn add(&self, status: u16) {
        for (taken, count) in &self.places {
            let free = taken.load(Relaxed) == 0;
            let is_ours = match free {
                true => match taken.compare_exchange(0, status, Relaxed, Relaxed) {
                    Ok(_) => true,
                    Err(faster) => faster == status,
                },
                false => taken.load(Relaxed) == status,
            };
            if is_ours {
                count.fetch_add(1, Relaxed);
                return;
            }
        }
        self.more.get_or_init(Box::default).add(status);
    }

    /// By status.
    pub(super) fn read(&self) -> BTreeMap<u16, u64> {
        let mut counts = self.more.get().map(|more| more.read()).unwrap_or_default();
        for (status, count) in &self.places {
            let status = status.load(Relaxed);
            if status != 0 {
                counts.insert(status, count.load(Relaxed));
            }
        }
        counts
    }
}
