//! How long to wait before a router is asked again.
//!
//! Full jitter: any time up to a ceiling that doubles with each failure. When a router comes back,
//! its clients then come back spread out, not all in one moment. A router that does not want us
//! (credentials, realm) is asked seldom: only a person can change that.

use std::time::Duration;

use crate::wamp::config::Reconnect;

#[derive(Debug)]
pub(super) struct Backoff {
    limits: Reconnect,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(limits: Reconnect, random: fastrand::Rng) -> Self {
        Self {
            limits,
            failures: 0,
            random,
        }
    }

    /// Returns the wait after an attempt that failed, or after a session that ended.
    pub(super) fn wait(&mut self, is_refusal: bool) -> Duration {
        let max = self.limits.max;
        if is_refusal {
            return max / 2 + self.up_to(max / 2);
        }
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        self.up_to(ceiling)
    }

    /// A session has ended that lasted `lifetime`. Only a long one shows that all is well: a router
    /// that lets us in and throws us out at once must not see us in a tight loop.
    pub(super) fn lived(&mut self, lifetime: Duration) {
        if lifetime >= self.limits.max {
            self.failures = 0;
        }
    }

    fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.limits.min.saturating_mul(factor).min(self.limits.max)
    }

    fn up_to(&mut self, ceiling: Duration) -> Duration {
        ceiling.mul_f64(self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        let limits = Reconnect {
            min: Duration::from_millis(200),
            max: Duration::from_secs(30),
        };
        Backoff::new(limits, fastrand::Rng::with_seed(7))
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let mut backoff = backoff();
        let mut ceilings = Vec::new();
        for _ in 0..40 {
            let ceiling = backoff.ceiling();
            assert!(backoff.wait(false) <= ceiling);
            ceilings.push(ceiling.as_millis());
        }
        assert_eq!(
            ceilings[..9],
            [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]
        );
        assert_eq!(ceilings.last(), Some(&30_000));
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let waits: Vec<_> = (0..200)
            .map(|seed| {
                let mut backoff = backoff();
                backoff.random = fastrand::Rng::with_seed(seed);
                backoff.wait(false).as_millis()
            })
            .collect();
        assert!(waits.iter().any(|wait| *wait < 20), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > 180), "{waits:?}");
    }

    #[test]
    fn a_refusal_waits_long_from_the_first_time() {
        let mut backoff = backoff();
        for _ in 0..20 {
            let wait = backoff.wait(true);
            assert!((15_000..=30_000).contains(&wait.as_millis()), "{wait:?}");
        }
        assert_eq!(backoff.ceiling().as_millis(), 200);
    }

    #[test]
    fn only_a_long_session_starts_it_anew() {
        let mut backoff = backoff();
        backoff.wait(false);
        backoff.wait(false);
        backoff.lived(Duration::from_secs(2));
        assert_eq!(backoff.ceiling().as_millis(), 800);
        backoff.lived(Duration::from_secs(30));
        assert_eq!(backoff.ceiling().as_millis(), 200);
    }
}
