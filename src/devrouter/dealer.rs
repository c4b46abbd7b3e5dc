//! Who offers which procedure, and which calls are open between whom.

use std::collections::{HashMap, HashSet};

use crate::wamp::id::{RegistrationId, RequestId, SessionId};

/// The registrations and open calls of a realm.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    procedures: HashMap<String, Registration>,
    names: HashMap<RegistrationId, String>,
    of_session: HashMap<SessionId, HashSet<RegistrationId>>,
    last_id: u64,
    // INVARIANT: the two hold the same pairs, by caller and by callee.
    calls: HashMap<SessionId, HashMap<RequestId, Party>>,
    invocations: HashMap<SessionId, HashMap<RequestId, Party>>,
}

/// A procedure on offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registration {
    pub(super) id: RegistrationId,
    pub(super) callee: SessionId,
    /// The callee wants to know who calls.
    pub(super) discloses_caller: bool,
}

/// One end of an open call: a session and the request's id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) session: SessionId,
    pub(super) request: RequestId,
}

/// What is left to do when a session has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Departure {
    /// Callers whose callee it was.
    pub(super) unanswered: Vec<Party>,
    /// Callees that still work for it.
    pub(super) unwanted: Vec<Party>,
}

impl Dealer {
    /// Registers a procedure; `None` if it is taken.
    pub(super) fn register(
        &mut self,
        callee: SessionId,
        procedure: String,
        discloses_caller: bool,
    ) -> Option<RegistrationId> {
        if self.procedures.contains_key(&procedure) {
            return None;
        }
        self.last_id += 1;
        let id = RegistrationId(self.last_id);
        self.names.insert(id, procedure.clone());
        self.of_session.entry(callee).or_default().insert(id);
        let registration = Registration {
            id,
            callee,
            discloses_caller,
        };
        self.procedures.insert(procedure, registration);
        Some(id)
    }

    /// Returns how many registrations a session has.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.of_session.get(&session).map_or(0, HashSet::len)
    }

    /// Withdraws a registration; `false` if the session has none of that id. Open calls go on.
    pub(super) fn unregister(&mut self, session: SessionId, id: RegistrationId) -> bool {
        let has_it = self
            .of_session
            .get_mut(&session)
            .is_some_and(|own| own.remove(&id));
        if has_it {
            self.forget(id);
        }
        has_it
    }

    fn forget(&mut self, id: RegistrationId) {
        if let Some(procedure) = self.names.remove(&id) {
            self.procedures.remove(&procedure);
        }
    }

    /// Returns who answers calls to a procedure.
    pub(super) fn registration(&self, procedure: &str) -> Option<Registration> {
        self.procedures.get(procedure).copied()
    }

    /// Returns how many calls of a session are open.
    pub(super) fn open_calls(&self, caller: SessionId) -> usize {
        self.calls.get(&caller).map_or(0, HashMap::len)
    }

    /// Returns the callee's end of an open call.
    pub(super) fn callee_of(&self, caller: Party) -> Option<Party> {
        self.calls
            .get(&caller.session)?
            .get(&caller.request)
            .copied()
    }

    /// Opens a call.
    pub(super) fn open(&mut self, caller: Party, callee: Party) {
        self.calls
            .entry(caller.session)
            .or_default()
            .insert(caller.request, callee);
        self.invocations
            .entry(callee.session)
            .or_default()
            .insert(callee.request, caller);
    }

    /// Ends an open call by its callee's end, and returns the caller's. `None` for one that is no
    /// longer open, or never was.
    pub(super) fn finish(&mut self, callee: Party) -> Option<Party> {
        let caller = take(&mut self.invocations, callee)?;
        take(&mut self.calls, caller);
        Some(caller)
    }

    /// Withdraws what a session offers and ends its calls.
    pub(super) fn leave(&mut self, session: SessionId) -> Departure {
        for id in self.of_session.remove(&session).unwrap_or_default() {
            self.forget(id);
        }
        let mut departure = Departure::default();
        for callee in self
            .calls
            .remove(&session)
            .unwrap_or_default()
            .into_values()
        {
            take(&mut self.invocations, callee);
            // A session that called itself waits for nobody.
            if callee.session != session {
                departure.unwanted.push(callee);
            }
        }
        let invocations = self.invocations.remove(&session).unwrap_or_default();
        for caller in invocations.into_values() {
            take(&mut self.calls, caller);
            departure.unanswered.push(caller);
        }
        departure
    }
}

/// Removes one party's request, and the party with its last one.
fn take(of: &mut HashMap<SessionId, HashMap<RequestId, Party>>, party: Party) -> Option<Party> {
    let requests = of.get_mut(&party.session)?;
    let other = requests.remove(&party.request);
    if requests.is_empty() {
        of.remove(&party.session);
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn party(session: SessionId, request: u64) -> Party {
        Party {
            session,
            request: RequestId(request),
        }
    }

    #[test]
    fn a_procedure_has_one_callee_until_it_is_withdrawn() {
        let mut dealer = Dealer::default();
        let id = dealer.register(A, "p".to_owned(), false).unwrap();
        assert!(dealer.register(B, "p".to_owned(), false).is_none());
        assert!(!dealer.unregister(B, id));
        assert!(dealer.unregister(A, id));
        assert!(!dealer.unregister(A, id));
        assert!(dealer.register(B, "p".to_owned(), false).is_some());
        assert_eq!(dealer.registration("p").unwrap().callee, B);
    }

    #[test]
    fn a_call_ends_once() {
        let mut dealer = Dealer::default();
        dealer.open(party(A, 7), party(B, 1));
        assert_eq!(dealer.callee_of(party(A, 7)), Some(party(B, 1)));
        assert_eq!(dealer.open_calls(A), 1);
        assert_eq!(dealer.finish(party(B, 1)), Some(party(A, 7)));
        assert_eq!(dealer.finish(party(B, 1)), None);
        assert_eq!(dealer.callee_of(party(A, 7)), None);
        assert!(dealer.calls.is_empty() && dealer.invocations.is_empty());
    }

    #[test]
    fn who_leaves_is_no_longer_waited_for_nor_worked_for() {
        let mut dealer = Dealer::default();
        dealer.register(B, "p".to_owned(), false).unwrap();
        dealer.open(party(A, 7), party(B, 1));
        dealer.open(party(B, 3), party(A, 1));
        dealer.open(party(B, 4), party(B, 2));
        assert_eq!(
            dealer.leave(B),
            Departure {
                unanswered: vec![party(A, 7)],
                unwanted: vec![party(A, 1)],
            }
        );
        assert!(dealer.registration("p").is_none());
        assert!(dealer.calls.is_empty() && dealer.invocations.is_empty());
        assert_eq!(dealer.leave(B), Departure::default());
    }
}
