//! Requests and the calls they make, by route.
//!
//! ```text
//! Requests -> RouteSeries (a pattern of an API version) -> MethodSeries -> statuses, durations, ...
//! ```
//!
//! A [`RouteSeries`] lives as long as a table, or a request of that table, holds it: here it is only
//! known by a weak reference. So a new table that has the route goes on with its counts (it asks
//! before the old one goes), those of an API that is gone vanish with the last request that used
//! it, and however many tables there have been, memory is that of the routes that there are. To keep
//! the series of what is gone would help nobody: Prometheus has what it scraped, and takes a series
//! that comes back at 0 for a restart.
//!
//! What costs memory (histograms) is made at the first request of a method: a table of ten thousand
//! routes of which a hundred are used pays for a hundred.

use std::array;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::histogram::{DURATIONS, Histogram, SIZES};
use super::{Label, Samples, Scrape, Unit};

/// Most error URIs of a realm that are told apart, beside those that its specs declare: a callee
/// may make up a new one for each call.
pub const MAX_ERROR_URIS: usize = 100;

/// Longest error URI that is told; a longer one counts as [`OTHER_ERROR`].
const MAX_ERROR_URI_LENGTH: usize = 200;

/// Stands for error URIs that are not told apart.
const OTHER_ERROR: &str = "_other";

/// Stands for the pattern of requests that no route serves.
const UNMATCHED: &str = "_unmatched";

/// The requests of a gateway.
#[derive(Debug)]
pub struct Requests {
    /// A std mutex: held for a look-up while a table is installed, and to list the series for a
    /// scrape. No request takes it.
    known: Mutex<Known>,
    unmatched: Arc<RouteSeries>,
}

#[derive(Debug, Default)]
struct Known {
    routes: BTreeMap<RouteLabels, Weak<RouteSeries>>,
    errors: HashMap<Box<str>, Weak<ErrorUris>>,
}

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

impl Default for Requests {
    fn default() -> Self {
        let unmatched = RouteLabels {
            route: UNMATCHED.to_owned(),
            ..RouteLabels::default()
        };
        Self {
            known: Mutex::default(),
            unmatched: Arc::new(RouteSeries::new(unmatched, Arc::default())),
        }
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the series of a route: those there are, as long as anybody holds them, else new ones.
    pub fn route(&self, labels: &RouteLabels) -> Arc<RouteSeries> {
        let mut known = self.lock();
        if let Some(series) = known.routes.get(labels).and_then(Weak::upgrade) {
            return series;
        }
        let errors = known.errors.get(&*labels.realm).and_then(Weak::upgrade);
        let errors = errors.unwrap_or_else(|| {
            let errors = Arc::default();
            let realm = labels.realm.as_str().into();
            known.errors.insert(realm, Arc::downgrade(&errors));
            errors
        });
        let series = Arc::new(RouteSeries::new(labels.clone(), errors));
        known.routes.insert(labels.clone(), Arc::downgrade(&series));
        series
    }

    /// Returns the series of requests that no route serves.
    pub fn unmatched(&self) -> &RouteSeries {
        &self.unmatched
    }

    /// Forgets the names of routes that nobody holds any more.
    pub fn forget_gone(&self) {
        let mut known = self.lock();
        known.routes.retain(|_, series| series.strong_count() > 0);
        known.errors.retain(|_, uris| uris.strong_count() > 0);
    }

    /// How many routes and realms are known.
    #[cfg(test)]
    pub(super) fn known(&self) -> (usize, usize) {
        let known = self.lock();
        (known.routes.len(), known.errors.len())
    }

    pub(super) fn collect(&self, scrape: &mut Scrape<'_>) {
        let mut routes = vec![self.unmatched.clone()];
        routes.extend(self.lock().routes.values().filter_map(Weak::upgrade));
        let all: Vec<Labelled<'_>> = routes.iter().flat_map(|route| route.methods()).collect();
        http(scrape, &all);
        let calls = all.iter().map(|it| (it, it.series.calls.get()));
        let calls: Vec<_> = calls.collect();
        scrape.counter(
            "wampgate_wamp_calls",
            "WAMP calls of requests, by what became of them; repeats are not counted apart.",
            Unit::None,
            |samples| outcomes(samples, &calls),
        );
        scrape.histogram(
            "wampgate_wamp_call_duration",
            "Time of WAMP calls of requests, repeats and waits for a session included.",
            Unit::Seconds,
            |samples| durations(samples, &calls),
        );
        let publishes = all.iter().map(|it| (it, it.series.publishes.get()));
        let publishes: Vec<_> = publishes.collect();
        scrape.counter(
            "wampgate_wamp_publishes",
            "WAMP publishes of requests, by what became of them; repeats are not counted apart.",
            Unit::None,
            |samples| outcomes(samples, &publishes),
        );
        scrape.histogram(
            "wampgate_wamp_publish_duration",
            "Time of WAMP publishes of requests, repeats and waits for a session included.",
            Unit::Seconds,
            |samples| durations(samples, &publishes),
        );
    }
}

/// The series of one method of one route, and what they are called.
struct Labelled<'r> {
    labels: [Label<'r>; 5],
    series: &'r MethodSeries,
}

impl<'r> Labelled<'r> {
    fn with(&self, more: &[Label<'r>]) -> Vec<Label<'r>> {
        [&self.labels, more].concat()
    }
}

fn http(scrape: &mut Scrape<'_>, all: &[Labelled<'_>]) {
    scrape.counter(
        "wampgate_http_requests",
        "HTTP requests that have ended; status 499 is a client that went away.",
        Unit::None,
        |samples| {
            for it in all {
                for (status, count) in it.series.statuses.read() {
                    samples.put(&it.with(&[("status", &status.to_string())]), count);
                }
            }
        },
    );
    scrape.histogram(
        "wampgate_http_request_duration",
        "Time from a request's head to its answer, by class of status.",
        Unit::Seconds,
        |samples| {
            for it in all {
                for (class, durations) in CLASSES.iter().zip(&it.series.durations) {
                    if let Some(durations) = durations.get() {
                        samples.put_histogram(&it.with(&[("status_class", class)]), durations);
                    }
                }
            }
        },
    );
    scrape.histogram(
        "wampgate_http_request_body_size",
        "Size of requests' bodies, where it was known before they were read.",
        Unit::Bytes,
        |samples| {
            for it in all {
                samples.put_histogram(&it.labels, &it.series.request_bytes);
            }
        },
    );
    scrape.histogram(
        "wampgate_http_response_body_size",
        "Size of answers' bodies.",
        Unit::Bytes,
        |samples| {
            for it in all {
                samples.put_histogram(&it.labels, &it.series.response_bytes);
            }
        },
    );
    scrape.gauge(
        "wampgate_http_requests_in_flight",
        "HTTP requests that are being answered.",
        Unit::None,
        |samples| {
            for it in all {
                samples.put(&it.labels, it.series.in_flight.load(Relaxed));
            }
        },
    );
}

type Actions<'s> = [(&'s Labelled<'s>, Option<&'s Box<ActionSeries>>)];

fn outcomes(samples: &mut Samples<'_, '_>, actions: &Actions<'_>) {
    for (it, actions) in actions {
        let Some(actions) = actions else { continue };
        for (outcome, uri, count) in actions.outcomes() {
            let labels = it.with(&[("outcome", outcome.name()), ("error_uri", &uri)]);
            samples.put(&labels, count);
        }
    }
}

fn durations(samples: &mut Samples<'_, '_>, actions: &Actions<'_>) {
    for (it, actions) in actions {
        if let Some(actions) = actions {
            samples.put_histogram(&it.labels, &actions.durations);
        }
    }
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

/// Classes of statuses, from 1xx on.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn place(method: &Method) -> usize {
    let found = METHODS.iter().position(|name| *name == method.as_str());
    found.unwrap_or(METHODS.len() - 1)
}

impl RouteSeries {
    fn new(labels: RouteLabels, errors: Arc<ErrorUris>) -> Self {
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

    fn methods(&self) -> impl Iterator<Item = Labelled<'_>> {
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
    statuses: Statuses,
    /// By class of status.
    durations: [OnceLock<Histogram>; CLASSES.len()],
    request_bytes: Histogram,
    response_bytes: Histogram,
    in_flight: AtomicU64,
    calls: OnceLock<Box<ActionSeries>>,
    publishes: OnceLock<Box<ActionSeries>>,
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
        Acting {
            series: series.get_or_init(new),
            began: Instant::now(),
            is_settled: false,
        }
    }
}

/// Counts by status: places are taken in the order in which statuses come, so that the usual one
/// stands first, and none is paid for that never comes.
#[derive(Debug, Default)]
struct Statuses {
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
    fn read(&self) -> BTreeMap<u16, u64> {
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

/// What became of a call or a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It brought a result.
    Answered,
    /// The callee or the router answered with an error.
    Error,
    /// Its deadline passed.
    Timeout,
    /// It was written, and then the session ended, or the answer was of no use.
    Lost,
    /// It was never written: no session, no room, or nothing that may be sent.
    Unsent,
    /// The client went away before the answer.
    Abandoned,
}

impl Outcome {
    /// Returns the name that metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Unsent => "unsent",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The calls, or the publishes, of one method of one route.
#[derive(Debug)]
struct ActionSeries {
    durations: Histogram,
    answered: AtomicU64,
    abandoned: AtomicU64,
    /// The others, by outcome and error URI. A std mutex: held for a look among a few texts, and
    /// only for what failed.
    failed: Mutex<Vec<Failed>>,
    errors: Arc<ErrorUris>,
}

#[derive(Debug, Clone)]
struct Failed {
    outcome: Outcome,
    uri: Arc<str>,
    count: u64,
}

impl ActionSeries {
    fn new(errors: Arc<ErrorUris>) -> Self {
        Self {
            durations: Histogram::new(&DURATIONS),
            answered: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            failed: Mutex::default(),
            errors,
        }
    }

    fn failed(&self) -> MutexGuard<'_, Vec<Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, outcome: Outcome, uri: &str, is_declared: bool) {
        let mut failed = self.failed();
        let mut add = |uri: &str| {
            let found = failed
                .iter_mut()
                .find(|it| it.outcome == outcome && *it.uri == *uri);
            match found {
                Some(found) => found.count += 1,
                None => return false,
            }
            true
        };
        if add(uri) {
            return;
        }
        let uri = if is_declared || self.errors.admit(uri) {
            uri
        } else {
            OTHER_ERROR
        };
        if !add(uri) {
            failed.push(Failed {
                outcome,
                uri: uri.into(),
                count: 1,
            });
        }
    }

    fn outcomes(&self) -> Vec<(Outcome, Arc<str>, u64)> {
        let of = |outcome, count: &AtomicU64| (outcome, Arc::from(""), count.load(Relaxed));
        let mut all = vec![
            of(Outcome::Answered, &self.answered),
            of(Outcome::Abandoned, &self.abandoned),
        ];
        all.retain(|(_, _, count)| *count > 0);
        all.extend(
            self.failed()
                .iter()
                .map(|it| (it.outcome, it.uri.clone(), it.count)),
        );
        all
    }
}

/// A call or publish under way. When it is dropped before it was settled, it was abandoned.
#[derive(Debug)]
pub struct Acting<'s> {
    series: &'s ActionSeries,
    began: Instant,
    is_settled: bool,
}

impl Acting<'_> {
    /// It brought a result.
    pub fn answered(self) {
        self.series.answered.fetch_add(1, Relaxed);
        self.settle();
    }

    /// It failed. `is_declared` says that the error URI is not the callee's own invention: a spec or
    /// the gateway itself names it.
    pub fn failed(self, outcome: Outcome, error_uri: &str, is_declared: bool) {
        self.series.fail(outcome, error_uri, is_declared);
        self.settle();
    }

    fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.series.durations.observe_duration(self.began.elapsed());
        if !self.is_settled {
            self.series.abandoned.fetch_add(1, Relaxed);
        }
    }
}

/// The error URIs of a realm that are told apart.
#[derive(Debug, Default)]
struct ErrorUris(Mutex<HashSet<Box<str>>>);

impl ErrorUris {
    /// Whether `uri` is one of them, or becomes one.
    fn admit(&self, uri: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = known.len() < MAX_ERROR_URIS && uri.len() <= MAX_ERROR_URI_LENGTH;
        known.contains(uri) || (has_room && known.insert(uri.into()))
    }
}
