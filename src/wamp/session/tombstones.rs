//! The requests that were given up and not answered since.
//!
//! Their answers may come late or never: routers do not always answer a CANCEL. So they are kept,
//! but only so many.

use std::collections::{HashMap, VecDeque};

use crate::wamp::id::RequestId;
use crate::wamp::session::state::Kind;

/// More late answers than this are not expected at once; beyond it the oldest is forgotten, and
/// its answer then counts as one that nobody asked for.
const MAX_TOMBSTONES: usize = 4096;

/// The oldest first.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    kinds: HashMap<RequestId, Kind>,
    // May still name requests whose answer has come: they are skipped when they get to the front.
    order: VecDeque<RequestId>,
}

impl Tombstones {
    pub(super) fn bury(&mut self, request: RequestId, kind: Kind) {
        if self.order.len() >= MAX_TOMBSTONES
            && let Some(oldest) = self.order.pop_front()
        {
            self.kinds.remove(&oldest);
        }
        self.kinds.insert(request, kind);
        self.order.push_back(request);
    }

    pub(super) fn kind(&self, request: RequestId) -> Option<Kind> {
        self.kinds.get(&request).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn raise(&mut self, request: RequestId) {
        self.kinds.remove(&request);
        while self
            .order
            .front()
            .is_some_and(|oldest| !self.kinds.contains_key(oldest))
        {
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_bounded_and_leave_nothing_behind() {
        let mut tombstones = Tombstones::default();
        let requests = || (1..=2 * MAX_TOMBSTONES as u64).map(RequestId);
        for request in requests() {
            tombstones.bury(request, Kind::Call);
        }
        assert_eq!(tombstones.kinds.len(), MAX_TOMBSTONES);
        assert_eq!(tombstones.order.len(), MAX_TOMBSTONES);
        assert_eq!(tombstones.kind(RequestId(1)), None, "the oldest went");
        for request in requests() {
            tombstones.raise(request);
        }
        assert_eq!(tombstones.kinds.len(), 0);
        assert_eq!(tombstones.order.len(), 0);
    }
}
