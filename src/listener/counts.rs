//! How many connections there are and have been.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The connections of a listener, counted. Cheap to clone; goes on telling when the listener has
/// ended.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    max: usize,
    open: AtomicUsize,
    accepted: AtomicU64,
    too_slow: AtomicU64,
    not_accepted: AtomicU64,
}

/// The counts as they are at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// As many may be open at once; those that come then wait to be accepted.
    pub max: usize,
    /// Connections that are open.
    pub open: usize,
    /// Connections since the start.
    pub accepted: u64,
    /// Those of them that were cut because they kept a limit of time waiting: for a head, for the
    /// next request, or for somebody who reads the answer.
    pub too_slow: u64,
    /// How often one could not be accepted, most likely for want of file descriptors. It was tried
    /// again.
    pub not_accepted: u64,
}

impl Connections {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Counts {
            max,
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            too_slow: AtomicU64::new(0),
            not_accepted: AtomicU64::new(0),
        }))
    }

    /// Returns the counts as they are now.
    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            max: self.0.max,
            open: self.0.open.load(Relaxed),
            accepted: self.0.accepted.load(Relaxed),
            too_slow: self.0.too_slow.load(Relaxed),
            not_accepted: self.0.not_accepted.load(Relaxed),
        }
    }

    pub(super) fn open(&self) -> Open {
        self.0.accepted.fetch_add(1, Relaxed);
        self.0.open.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    pub(super) fn not_accepted(&self) {
        self.0.not_accepted.fetch_add(1, Relaxed);
    }
}

/// An open connection; its drop ends it, also when its task is cut.
pub(super) struct Open(Connections);

impl Open {
    pub(super) fn too_slow(&self) {
        self.0.0.too_slow.fetch_add(1, Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Relaxed);
    }
}
