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

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::actions::{ActionSeries, ErrorUris};
use super::series::{CLASSES, Labelled, RouteLabels, RouteSeries};
use super::{Samples, Scrape, Unit};

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
                samples.put(&it.labels, it.series.in_flight());
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
