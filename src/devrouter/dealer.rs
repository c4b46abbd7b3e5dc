//! Who offers which procedures, and which calls are open between whom.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::directory::{Directory, Kind, Parting};
use crate::uri::{Match, UriPattern};
use crate::wamp::id::{RegistrationId, RequestId, SessionId};
use crate::wamp::options::Invoke;

/// The registrations and open calls of a realm.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    pub(super) registrations: Directory<Registration>,
    // INVARIANT: the two hold the same pairs, by caller and by callee.
    calls: HashMap<SessionId, Calls>,
    invocations: HashMap<SessionId, HashMap<RequestId, Party>>,
}

/// What a registration is: a pattern on offer, and how its callees share the calls.
#[derive(Debug)]
pub(super) struct Registration;

impl Kind for Registration {
    type Id = RegistrationId;
    type Rule = Turns;
    type Member = Callee;

    fn left(turns: &mut Turns, place: usize) {
        if place < turns.next {
            turns.next -= 1;
        }
    }
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) invoke: Invoke,
    /// The place of the next callee in a round; may be just beyond the last.
    next: usize,
}

/// What a callee asked for when it registered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Callee {
    /// It wants to know who calls.
    pub(super) discloses_caller: bool,
    /// It wants to keep timeouts itself.
    pub(super) keeps_timeouts: bool,
}

/// Why a procedure cannot be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// By this session.
    BySelf,
    /// By a session that shares with nobody.
    Alone,
    /// By sessions that share in this other manner.
    Shared(Invoke),
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) registration: RegistrationId,
    /// Whether the callee does not know the procedure's name by its registration.
    pub(super) is_pattern: bool,
    pub(super) session: SessionId,
    pub(super) callee: Callee,
}

/// One end of an open call: a session and the request's id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) session: SessionId,
    pub(super) request: RequestId,
}

/// The open calls of one caller.
#[derive(Debug, Default)]
struct Calls {
    open: HashMap<RequestId, Call>,
    // INVARIANT: has what the calls above have as a deadline, so it is no longer than them.
    deadlines: BTreeSet<(Instant, RequestId)>,
}

/// An open call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) callee: Party,
    /// Whether the callee was told that it may send progress.
    pub(super) receives_progress: bool,
    /// How long to wait for each answer, and so until when.
    pub(super) limit: Option<Limit>,
}

/// Until when an answer must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    timeout: Duration,
    deadline: Instant,
}

impl Limit {
    /// Begins now. `None` for a time that no clock reaches.
    pub(super) fn new(timeout: Duration) -> Option<Self> {
        let deadline = Instant::now().checked_add(timeout)?;
        Some(Self { timeout, deadline })
    }
}

/// What is left to do when a session has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Departure {
    /// What it no longer offers.
    pub(super) withdrawn: Vec<Parting<RegistrationId>>,
    /// Callers whose callee it was.
    pub(super) unanswered: Vec<Party>,
    /// Callees that still work for it.
    pub(super) unwanted: Vec<Party>,
}

impl Dealer {
    /// Registers a procedure, alone or beside others. The flag says whether the registration is new.
    ///
    /// # Errors
    ///
    /// [`Taken`] if it cannot be shared, or not so.
    pub(super) fn register(
        &mut self,
        session: SessionId,
        pattern: UriPattern,
        invoke: Invoke,
        callee: Callee,
    ) -> Result<(RegistrationId, bool), Taken> {
        let found = self.registrations.id(pattern.policy(), pattern.as_str());
        let shared = found.and_then(|id| Some((id, self.registrations.entry(id)?.rule.invoke)));
        let Some((id, agreed)) = shared else {
            let turns = Turns { invoke, next: 0 };
            let id = self.registrations.create(pattern, turns, session, callee);
            return Ok((id, true));
        };
        if agreed == Invoke::Single {
            return Err(Taken::Alone);
        }
        if agreed != invoke {
            return Err(Taken::Shared(agreed));
        }
        if self.registrations.join(id, session, callee) {
            Ok((id, false))
        } else {
            Err(Taken::BySelf)
        }
    }

    /// Chooses who answers a call; with it, the turn passes on.
    pub(super) fn route(&mut self, procedure: &str) -> Option<Target> {
        let registration = self.registrations.covering(procedure).next()?;
        let entry = self.registrations.entry_mut(registration)?;
        let count = entry.members.len();
        let place = match entry.rule.invoke {
            Invoke::Single | Invoke::First => 0,
            Invoke::Last => count.checked_sub(1)?,
            Invoke::Random => fastrand::usize(..count),
            Invoke::RoundRobin => {
                let place = entry.rule.next % count;
                entry.rule.next = place + 1;
                place
            }
        };
        let (session, callee) = entry.members.get_index(place)?;
        Some(Target {
            registration,
            is_pattern: entry.pattern.policy() != Match::Exact,
            session: *session,
            callee: *callee,
        })
    }

    /// Returns how many calls of a session are open.
    pub(super) fn open_calls(&self, caller: SessionId) -> usize {
        self.calls.get(&caller).map_or(0, |calls| calls.open.len())
    }

    /// Returns an open call by its caller's end.
    pub(super) fn call(&self, caller: Party) -> Option<Call> {
        self.calls
            .get(&caller.session)?
            .open
            .get(&caller.request)
            .copied()
    }

    /// Returns the caller's end of an open call by its callee's.
    pub(super) fn caller_of(&self, callee: Party) -> Option<Party> {
        self.invocations
            .get(&callee.session)?
            .get(&callee.request)
            .copied()
    }

    /// Opens a call.
    pub(super) fn open(&mut self, caller: Party, call: Call) {
        let calls = self.calls.entry(caller.session).or_default();
        calls.open.insert(caller.request, call);
        if let Some(limit) = call.limit {
            calls.deadlines.insert((limit.deadline, caller.request));
        }
        self.invocations
            .entry(call.callee.session)
            .or_default()
            .insert(call.callee.request, caller);
    }

    /// Gives the callee of an open call its whole time anew.
    pub(super) fn extend(&mut self, caller: Party) {
        let Some(calls) = self.calls.get_mut(&caller.session) else {
            return;
        };
        if let Some(call) = calls.open.get_mut(&caller.request)
            && let Some(limit) = &mut call.limit
            && let Some(later) = Limit::new(limit.timeout)
        {
            calls.deadlines.remove(&(limit.deadline, caller.request));
            calls.deadlines.insert((later.deadline, caller.request));
            *limit = later;
        }
    }

    /// Returns when the next call of a session is due, if one has a limit.
    pub(super) fn next_deadline(&self, caller: SessionId) -> Option<Instant> {
        let (deadline, _) = self.calls.get(&caller)?.deadlines.first()?;
        Some(*deadline)
    }

    /// Ends a call of a session that is due by `now`, and returns both its ends.
    pub(super) fn expire(&mut self, caller: SessionId, now: Instant) -> Option<(Party, Party)> {
        let (deadline, request) = *self.calls.get(&caller)?.deadlines.first()?;
        if deadline > now {
            return None;
        }
        let caller = Party {
            session: caller,
            request,
        };
        let callee = self.call(caller)?.callee;
        self.finish(callee);
        Some((caller, callee))
    }

    /// Ends an open call by its callee's end, and returns the caller's. `None` for one that is no
    /// longer open, or never was.
    pub(super) fn finish(&mut self, callee: Party) -> Option<Party> {
        let caller = self.forget_invocation(callee)?;
        self.forget_call(caller);
        Some(caller)
    }

    /// Withdraws what a session offers and ends its calls.
    pub(super) fn leave(&mut self, session: SessionId) -> Departure {
        let mut departure = Departure {
            withdrawn: self.registrations.leave(session),
            ..Departure::default()
        };
        let calls = self.calls.remove(&session).unwrap_or_default();
        for call in calls.open.into_values() {
            self.forget_invocation(call.callee);
            // A session that called itself waits for nobody.
            if call.callee.session != session {
                departure.unwanted.push(call.callee);
            }
        }
        let invocations = self.invocations.remove(&session).unwrap_or_default();
        for caller in invocations.into_values() {
            self.forget_call(caller);
            departure.unanswered.push(caller);
        }
        departure
    }

    /// Asserts what holds between any two requests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut open = 0;
        for (session, calls) in &self.calls {
            assert!(!calls.open.is_empty());
            for (request, call) in &calls.open {
                let caller = Party {
                    session: *session,
                    request: *request,
                };
                assert_eq!(self.caller_of(call.callee), Some(caller));
                let deadline = call.limit.map(|limit| (limit.deadline, *request));
                assert!(deadline.is_none_or(|it| calls.deadlines.contains(&it)));
                open += 1;
            }
            let limited = calls.open.values().filter(|call| call.limit.is_some());
            assert_eq!(calls.deadlines.len(), limited.count());
        }
        let invocations = self.invocations.values().map(HashMap::len);
        assert_eq!(invocations.sum::<usize>(), open);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.registrations.is_empty() && self.calls.is_empty() && self.invocations.is_empty()
    }

    fn forget_call(&mut self, caller: Party) {
        let Some(calls) = self.calls.get_mut(&caller.session) else {
            return;
        };
        if let Some(call) = calls.open.remove(&caller.request)
            && let Some(limit) = call.limit
        {
            calls.deadlines.remove(&(limit.deadline, caller.request));
        }
        if calls.open.is_empty() {
            self.calls.remove(&caller.session);
        }
    }

    fn forget_invocation(&mut self, callee: Party) -> Option<Party> {
        let requests = self.invocations.get_mut(&callee.session)?;
        let caller = requests.remove(&callee.request);
        if requests.is_empty() {
            self.invocations.remove(&callee.session);
        }
        caller
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::UriCheck;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);
    const C: SessionId = SessionId(3);

    fn party(session: SessionId, request: u64) -> Party {
        Party {
            session,
            request: RequestId(request),
        }
    }

    fn call(callee: Party) -> Call {
        Call {
            callee,
            receives_progress: false,
            limit: None,
        }
    }

    fn register(
        dealer: &mut Dealer,
        session: SessionId,
        invoke: Invoke,
    ) -> Result<RegistrationId, Taken> {
        let pattern = UriPattern::parse("p", Match::Exact, UriCheck::Loose).unwrap();
        dealer
            .register(session, pattern, invoke, Callee::default())
            .map(|(id, _)| id)
    }

    fn routes(dealer: &mut Dealer, calls: usize) -> Vec<u64> {
        (0..calls)
            .map(|_| dealer.route("p").unwrap().session.0)
            .collect()
    }

    #[test]
    fn a_procedure_has_one_callee_until_it_is_withdrawn() {
        let mut dealer = Dealer::default();
        let id = register(&mut dealer, A, Invoke::Single).unwrap();
        for invoke in Invoke::ALL {
            assert_eq!(register(&mut dealer, B, invoke), Err(Taken::Alone));
        }
        assert_eq!(dealer.registrations.part(B, id), None);
        assert!(dealer.registrations.part(A, id).unwrap().was_last);
        assert_eq!(dealer.registrations.part(A, id), None);
        assert!(register(&mut dealer, B, Invoke::Single).is_ok());
        assert_eq!(routes(&mut dealer, 1), [2]);
    }

    #[test]
    fn callees_share_as_the_first_one_said() {
        for (invoke, routed) in [
            (Invoke::First, [1, 1, 1, 1]),
            (Invoke::Last, [3, 3, 3, 3]),
            (Invoke::RoundRobin, [1, 2, 3, 1]),
        ] {
            let mut dealer = Dealer::default();
            let id = register(&mut dealer, A, invoke).unwrap();
            assert_eq!(register(&mut dealer, B, invoke), Ok(id));
            assert_eq!(register(&mut dealer, C, invoke), Ok(id));
            assert_eq!(register(&mut dealer, A, invoke), Err(Taken::BySelf));
            for other in Invoke::ALL.into_iter().filter(|it| *it != invoke) {
                let taken = register(&mut dealer, SessionId(4), other);
                assert_eq!(taken, Err(Taken::Shared(invoke)));
            }
            assert_eq!(routes(&mut dealer, 4), routed, "{invoke:?}");
        }
        let mut dealer = Dealer::default();
        for session in [A, B, C] {
            register(&mut dealer, session, Invoke::Random).unwrap();
        }
        let routed = routes(&mut dealer, 200);
        assert!([1, 2, 3].iter().all(|session| routed.contains(session)));
    }

    #[test]
    fn a_round_goes_on_where_it_was_when_a_callee_leaves() {
        for (leaving, routed) in [(A, [3, 2, 3]), (B, [3, 1, 3]), (C, [1, 2, 1])] {
            let mut dealer = Dealer::default();
            for session in [A, B, C] {
                register(&mut dealer, session, Invoke::RoundRobin).unwrap();
            }
            assert_eq!(routes(&mut dealer, 2), [1, 2]);
            let departure = dealer.leave(leaving);
            assert!(!departure.withdrawn[0].was_last);
            assert_eq!(routes(&mut dealer, 3), routed, "without {leaving}");
        }
    }

    #[test]
    fn a_call_ends_once() {
        let mut dealer = Dealer::default();
        dealer.open(party(A, 7), call(party(B, 1)));
        assert_eq!(dealer.call(party(A, 7)), Some(call(party(B, 1))));
        assert_eq!(dealer.caller_of(party(B, 1)), Some(party(A, 7)));
        assert_eq!(dealer.open_calls(A), 1);
        assert_eq!(dealer.finish(party(B, 1)), Some(party(A, 7)));
        assert_eq!(dealer.finish(party(B, 1)), None);
        assert_eq!(dealer.call(party(A, 7)), None);
        assert!(dealer.calls.is_empty() && dealer.invocations.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_come_in_order_and_leave_with_their_calls() {
        let limit = |millis| Limit::new(Duration::from_millis(millis));
        let limited = |request, millis| Call {
            limit: limit(millis),
            ..call(party(B, request))
        };
        let mut dealer = Dealer::default();
        let start = Instant::now();
        dealer.open(party(A, 7), limited(1, 300));
        dealer.open(party(A, 8), limited(2, 100));
        dealer.open(party(A, 9), limited(3, 200));
        dealer.open(party(A, 10), call(party(B, 4)));
        assert_eq!(
            dealer.next_deadline(A),
            Some(start + Duration::from_millis(100))
        );
        assert_eq!(dealer.expire(A, start), None);
        dealer.finish(party(B, 2));
        tokio::time::advance(Duration::from_millis(150)).await;
        dealer.extend(party(A, 9));
        dealer.extend(party(A, 10));
        let now = start + Duration::from_millis(350);
        assert_eq!(dealer.expire(A, now), Some((party(A, 7), party(B, 1))));
        assert_eq!(dealer.expire(A, now), Some((party(A, 9), party(B, 3))));
        assert_eq!(dealer.expire(A, now), None);
        assert_eq!(dealer.next_deadline(A), None);
        assert_eq!(dealer.open_calls(A), 1);
        assert_eq!(Limit::new(Duration::MAX), None);
    }

    #[test]
    fn who_leaves_is_no_longer_waited_for_nor_worked_for() {
        let mut dealer = Dealer::default();
        let id = register(&mut dealer, B, Invoke::Single).unwrap();
        dealer.open(party(A, 7), call(party(B, 1)));
        dealer.open(party(B, 3), call(party(A, 1)));
        dealer.open(party(B, 4), call(party(B, 2)));
        assert_eq!(
            dealer.leave(B),
            Departure {
                withdrawn: vec![Parting { id, was_last: true }],
                unanswered: vec![party(A, 7)],
                unwanted: vec![party(A, 1)],
            }
        );
        assert!(dealer.route("p").is_none());
        assert!(dealer.registrations.is_empty());
        assert!(dealer.calls.is_empty() && dealer.invocations.is_empty());
        assert_eq!(dealer.leave(B), Departure::default());
    }
}
