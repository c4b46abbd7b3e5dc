//! How values are spread, counted without a lock.
//!
//! Why not the library's: it takes a mutex for every value. Values are whole numbers of a small
//! unit, so that their sum is an atomic number too.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The buckets of a kind of histogram.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The upper bounds, in ascending order, in what is counted; one more bucket takes the rest.
    bounds: &'static [u64],
    /// How many of what is counted make one of the base unit.
    in_base_unit: f64,
}

/// Durations, in microseconds. From 5 ms to 10 s those that OpenTelemetry recommends for HTTP; what
/// the gateway itself takes is below that.
///
/// Reference: OpenTelemetry, "Semantic conventions for HTTP metrics".
pub(super) const DURATIONS: Buckets = Buckets {
    bounds: &[
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000,
        750_000, 1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
    ],
    in_base_unit: 1e6,
};

/// Sizes of bodies, in bytes.
pub(super) const SIZES: Buckets = Buckets {
    bounds: &[
        0,
        1 << 8,
        1 << 10,
        1 << 12,
        1 << 14,
        1 << 16,
        1 << 18,
        1 << 20,
        1 << 22,
        1 << 24,
    ],
    in_base_unit: 1.0,
};

#[derive(Debug)]
pub(super) struct Histogram {
    kind: &'static Buckets,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was read.
#[derive(Debug)]
pub(super) struct Reading {
    /// In the base unit.
    pub(super) sum: f64,
    pub(super) count: u64,
    /// Upper bound and count of each bucket; not cumulative.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(super) fn new(kind: &'static Buckets) -> Self {
        Self {
            kind,
            counts: (0..=kind.bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, value: u64) {
        let bucket = self.kind.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// For [`DURATIONS`].
    pub(super) fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "what is lost beyond 2^53 nobody sees"
    )]
    pub(super) fn read(&self) -> Reading {
        let bounds = self.kind.bounds.iter().map(|bound| *bound as f64);
        let bounds = bounds.map(|bound| bound / self.kind.in_base_unit);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        Reading {
            sum: self.sum.load(Relaxed) as f64 / self.kind.in_base_unit,
            // Not a number of its own: it could differ from the buckets that were read before it.
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::new(&SIZES);
        for value in [0, 1, 256, 257, u64::from(u32::MAX)] {
            histogram.observe(value);
        }
        let read = histogram.read();
        let filled: Vec<_> = read
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            filled,
            [&(0.0, 1), &(256.0, 2), &(1024.0, 1), &(f64::INFINITY, 1)]
        );
        assert_eq!((read.count, read.sum), (5, 514.0 + f64::from(u32::MAX)));
    }

    #[test]
    fn durations_are_told_in_seconds() {
        let histogram = Histogram::new(&DURATIONS);
        histogram.observe_duration(Duration::from_millis(5));
        let read = histogram.read();
        assert_eq!(read.buckets[4], (0.005, 1));
        assert_eq!(read.sum, 0.005);
    }
}
