//! Whether the program is alive, and whether it is ready.
//!
//! Alive is who answers. Ready is who should be sent requests, and that is what the checks say that
//! others register with [`Health::check`]: they are asked whenever somebody asks, so nothing can be
//! out of date. A check that finds a fault which another gateway would have as well, or which leaves
//! most requests as they were (a spec that was rejected, a store that cannot be reached while its
//! last snapshot serves), is [`State::Degraded`]: told, but no reason to send requests elsewhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How one thing is that readiness goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Ok,
    /// Not as it should be, and requests are served all the same.
    Degraded,
    /// Requests should go elsewhere.
    Failing,
}

impl State {
    /// Returns the name that answers have.
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Failing => "failing",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `lifecycle`, `realm com.example`, ...
    pub check: String,
    /// How it is.
    pub state: State,
    /// What is wrong, in a sentence that names no secret; none where nothing is.
    pub reason: Option<String>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(check: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            state: State::Ok,
            reason: None,
        }
    }

    /// Something is wrong, and requests are served all the same.
    pub fn degraded(check: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            state: State::Degraded,
            reason: Some(reason.into()),
        }
    }

    /// Requests should go elsewhere.
    pub fn failing(check: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            state: State::Failing,
            reason: Some(reason.into()),
        }
    }
}

type Check = Box<dyn Fn() -> Vec<Finding> + Send + Sync>;

/// The checks of a program. Cheap to clone; without a check it is ready.
#[derive(Clone, Default)]
pub struct Health {
    /// A std mutex: held while the checks look, which wait for nothing.
    checks: Arc<Mutex<Vec<Check>>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health")
    }
}

impl Health {
    /// Asks `check` too, from now on. It must not wait for anything, nor ask for the health itself.
    pub fn check(&self, check: impl Fn() -> Vec<Finding> + Send + Sync + 'static) {
        self.lock().push(Box::new(check));
    }

    /// Returns what all checks find now, in the order in which they were registered.
    pub fn report(&self) -> Report {
        let findings = self.lock().iter().flat_map(|check| check()).collect();
        Report { findings }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The health at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the checks found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns the worst of all.
    pub fn state(&self) -> State {
        let states = self.findings.iter().map(|finding| finding.state);
        states.max().unwrap_or(State::Ok)
    }

    /// Returns whether requests should be sent here.
    pub fn is_ready(&self) -> bool {
        self.state() < State::Failing
    }

    /// Returns what stands in the way of readiness.
    pub fn reasons(&self) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.state == State::Failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fails_stands_in_the_way() {
        let health = Health::default();
        assert!(health.report().is_ready());
        health.check(|| vec![Finding::ok("a"), Finding::degraded("b", "It is slow.")]);
        let report = health.report();
        assert!(report.is_ready());
        assert_eq!(report.state(), State::Degraded);
        assert_eq!(report.reasons().count(), 0);
        health.check(|| vec![Finding::failing("c", "It is gone.")]);
        let report = health.report();
        assert!(!report.is_ready());
        assert_eq!(report.findings.len(), 3);
        let reasons: Vec<_> = report.reasons().map(|it| it.check.as_str()).collect();
        assert_eq!(reasons, ["c"]);
    }
}
