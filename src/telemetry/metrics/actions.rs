//! Calls and publishes of one method of one route: what became of them, and how long they took.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::histogram::{DURATIONS, Histogram};

/// Most error URIs of a realm that are told apart, beside those that its specs declare: a callee
/// may make up a new one for each call.
pub const MAX_ERROR_URIS: usize = 100;

/// Longest error URI that is told; a longer one counts as [`OTHER_ERROR`].
const MAX_ERROR_URI_LENGTH: usize = 200;

/// Stands for error URIs that are not told apart.
const OTHER_ERROR: &str = "_other";

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
pub(super) struct ActionSeries {
    pub(super) durations: Histogram,
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
    pub(super) fn new(errors: Arc<ErrorUris>) -> Self {
        Self {
            durations: Histogram::new(&DURATIONS),
            answered: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            failed: Mutex::default(),
            errors,
        }
    }

    pub(super) fn begin(&self) -> Acting<'_> {
        Acting {
            series: self,
            began: Instant::now(),
            is_settled: false,
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

    pub(super) fn outcomes(&self) -> Vec<(Outcome, Arc<str>, u64)> {
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
pub(super) struct ErrorUris(Mutex<HashSet<Box<str>>>);

impl ErrorUris {
    /// Whether `uri` is one of them, or becomes one.
    fn admit(&self, uri: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = known.len() < MAX_ERROR_URIS && uri.len() <= MAX_ERROR_URI_LENGTH;
        known.contains(uri) || (has_room && known.insert(uri.into()))
    }
}
