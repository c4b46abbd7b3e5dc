//! How many repeats a realm can bear.
//!
//! Why a budget beside each call's own number of retries: when a router or its callees are down,
//! every call fails, and then three retries each are four times the load on what is about to come
//! back. So all calls of a realm share one allowance: at most a fifth of what it was called for in
//! the last ten seconds. A quiet realm has a few in reserve, or else a lone call could never be
//! repeated.
//!
//! Both are counts of a sliding window, not tokens saved up: saved tokens would let an outage begin
//! with a storm, and a reserve that flows in beside them would come on top of the fifth. Counting a
//! call is one atomic step, since each does it; a repeat takes a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The window's seconds, one slot each.
const SLOTS: usize = 10;
const SECONDS: u64 = SLOTS as u64;

/// One repeat for so many calls.
const CALLS_FOR_ONE: u64 = 5;

/// Repeats in a window that need no calls.
const RESERVE: u64 = 10;

/// The repeats that a realm may make: in any ten seconds a fifth as many as it makes calls, but ten
/// at least.
#[derive(Debug)]
pub struct RetryBudget {
    began: Instant,
    /// Each a second (the upper half) and the calls that were made in it.
    calls: [AtomicU64; SLOTS],
    /// A std mutex, for sections without a wait: what is allowed and what is taken must agree.
    repeats: Mutex<Repeats>,
}

#[derive(Debug, Default)]
struct Repeats {
    /// Each a second and the repeats that were made in it.
    slots: [(u64, u64); SLOTS],
    counts: RetryCounts,
}

/// Repeats since the pool was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryCounts {
    /// Repeats that were made.
    pub made: u64,
    /// Repeats that the budget did not allow: the failure was passed on at once.
    pub refused: u64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            calls: Default::default(),
            repeats: Mutex::default(),
        }
    }
}

impl RetryBudget {
    /// Counts a call, or a publish, as it is made the first time.
    pub fn count_call(&self) {
        let now = self.second();
        let one_more = |slot: u64| {
            // One that has just looked at the clock may come after one of the next second.
            if slot >> 32 >= now {
                slot + 1
            } else {
                (now << 32) | 1
            }
        };
        let slot = &self.calls[slot_of(now)];
        let update = |slot| Some(one_more(slot));
        slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .ok();
    }

    /// Takes one repeat out of the budget; false if there is none.
    pub fn take(&self) -> bool {
        let now = self.second();
        let in_window = |second: u64| second + SECONDS > now;
        let calls: u64 = self
            .calls
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|slot| in_window(slot >> 32))
            .map(|slot| slot & u64::from(u32::MAX))
            .sum();
        let mut repeats = self.repeats();
        let made: u64 = repeats
            .slots
            .iter()
            .filter(|(second, _)| in_window(*second))
            .map(|(_, count)| count)
            .sum();
        if made >= RESERVE.max(calls / CALLS_FOR_ONE) {
            repeats.counts.refused += 1;
            return false;
        }
        let slot = &mut repeats.slots[slot_of(now)];
        if slot.0 == now {
            slot.1 += 1;
        } else {
            *slot = (now, 1);
        }
        repeats.counts.made += 1;
        true
    }

    /// Returns how many repeats were made and refused.
    pub fn counts(&self) -> RetryCounts {
        self.repeats().counts
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second % SECONDS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn take_all(budget: &RetryBudget) -> u64 {
        (0..).take_while(|_| budget.take()).count() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_realm_has_its_reserve_in_each_window() {
        let budget = RetryBudget::default();
        budget.count_call();
        assert_eq!(take_all(&budget), RESERVE);
        tokio::time::advance(Duration::from_secs(SECONDS - 1)).await;
        assert_eq!(take_all(&budget), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(take_all(&budget), RESERVE);
        assert_eq!(
            budget.counts(),
            RetryCounts {
                made: 2 * RESERVE,
                refused: 3
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_realm_has_a_fifth_of_its_calls_and_no_more() {
        let budget = RetryBudget::default();
        for _ in 0..1_000 {
            budget.count_call();
        }
        assert_eq!(take_all(&budget), 200);
        tokio::time::advance(Duration::from_secs(4)).await;
        for _ in 0..500 {
            budget.count_call();
        }
        assert_eq!(take_all(&budget), 100);
        // The first second leaves the window, calls and repeats alike.
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(take_all(&budget), 0);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(take_all(&budget), RESERVE);
    }
}
