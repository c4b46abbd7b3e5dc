//! Patterns under ids, each with the sessions that are attached to it: what subscriptions and
//! registrations have in common.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use indexmap::IndexMap;

use super::patterns::Patterns;
use super::time;
use crate::uri::{Match, UriPattern};
use crate::wamp::id::SessionId;

/// What a directory is about.
pub(super) trait Kind {
    /// Names an entry.
    type Id: Copy + Eq + Hash + Ord + Debug + From<u64> + Into<u64>;
    /// What holds for an entry and all its sessions.
    type Rule: Debug;
    /// What a session attached itself with.
    type Member: Debug;

    /// Adapts the rule when the session at `place` has left the entry.
    fn left(_rule: &mut Self::Rule, _place: usize) {}
}

/// The entries of a realm.
#[derive(Debug)]
pub(super) struct Directory<K: Kind> {
    ids: Patterns<K::Id>,
    entries: HashMap<K::Id, Entry<K>>,
    of_session: HashMap<SessionId, BTreeSet<K::Id>>,
    last_id: u64,
}

/// A pattern and who is attached to it.
#[derive(Debug)]
pub(super) struct Entry<K: Kind> {
    pub(super) pattern: UriPattern,
    /// Since the epoch.
    pub(super) created: Duration,
    pub(super) rule: K::Rule,
    /// In the order in which they came. Never empty.
    pub(super) members: IndexMap<SessionId, K::Member>,
}

/// An entry that a session has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parting<I> {
    pub(super) id: I,
    /// Whether it was the last one, so that the entry is gone.
    pub(super) was_last: bool,
}

impl<K: Kind> Default for Directory<K> {
    fn default() -> Self {
        Self {
            ids: Patterns::default(),
            entries: HashMap::new(),
            of_session: HashMap::new(),
            last_id: 0,
        }
    }
}

impl<K: Kind> Directory<K> {
    /// Adds an entry with its first session.
    ///
    /// The pattern must not be there: see [`id`](Self::id).
    pub(super) fn create(
        &mut self,
        pattern: UriPattern,
        rule: K::Rule,
        session: SessionId,
        member: K::Member,
    ) -> K::Id {
        // Router scope: any numbering will do. Small ones survive clients that keep numbers
        // beyond 32 bits as doubles.
        self.last_id += 1;
        let id = K::Id::from(self.last_id);
        self.ids.insert(&pattern, id);
        let entry = Entry {
            pattern,
            created: time::since_epoch(),
            rule,
            members: IndexMap::from([(session, member)]),
        };
        self.entries.insert(id, entry);
        self.of_session.entry(session).or_default().insert(id);
        id
    }

    /// Attaches a session to an entry; `false` if there is no such entry or it is attached already.
    pub(super) fn join(&mut self, id: K::Id, session: SessionId, member: K::Member) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        if entry.members.contains_key(&session) {
            return false;
        }
        entry.members.insert(session, member);
        self.of_session.entry(session).or_default().insert(id);
        true
    }

    /// Detaches a session from an entry; `None` if it is not attached.
    pub(super) fn part(&mut self, session: SessionId, id: K::Id) -> Option<Parting<K::Id>> {
        let own = self.of_session.get_mut(&session)?;
        if !own.remove(&id) {
            return None;
        }
        if own.is_empty() {
            self.of_session.remove(&session);
        }
        self.forget(session, id)
    }

    /// Detaches a session from all its entries, the oldest first.
    pub(super) fn leave(&mut self, session: SessionId) -> Vec<Parting<K::Id>> {
        let own = self.of_session.remove(&session).unwrap_or_default();
        own.into_iter()
            .filter_map(|id| self.forget(session, id))
            .collect()
    }

    fn forget(&mut self, session: SessionId, id: K::Id) -> Option<Parting<K::Id>> {
        let entry = self.entries.get_mut(&id)?;
        let (place, ..) = entry.members.shift_remove_full(&session)?;
        K::left(&mut entry.rule, place);
        let was_last = entry.members.is_empty();
        if was_last && let Some(entry) = self.entries.remove(&id) {
            self.ids.remove(&entry.pattern);
        }
        Some(Parting { id, was_last })
    }

    /// Returns whether a session is attached to an entry.
    pub(super) fn has(&self, session: SessionId, id: K::Id) -> bool {
        self.of_session
            .get(&session)
            .is_some_and(|own| own.contains(&id))
    }

    /// Returns how many entries a session is attached to.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.of_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// Returns the entry of exactly this pattern.
    pub(super) fn id(&self, policy: Match, text: &str) -> Option<K::Id> {
        self.ids.get(policy, text).copied()
    }

    /// Returns an entry.
    pub(super) fn entry(&self, id: K::Id) -> Option<&Entry<K>> {
        self.entries.get(&id)
    }

    /// Returns an entry, to change its rule.
    pub(super) fn entry_mut(&mut self, id: K::Id) -> Option<&mut Entry<K>> {
        self.entries.get_mut(&id)
    }

    /// Returns the entries that cover `uri`, the best first; see [`Patterns::covering`].
    pub(super) fn covering<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = K::Id> {
        self.ids.covering(uri).copied()
    }

    /// Returns the entries of a policy, the oldest first.
    pub(super) fn of_policy(&self, policy: Match) -> BTreeSet<K::Id> {
        self.ids.of_policy(policy).copied().collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.of_session.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::uri::UriCheck;
    use crate::wamp::id::SubscriptionId;

    #[derive(Debug)]
    struct Plain;

    impl Kind for Plain {
        type Id = SubscriptionId;
        type Rule = ();
        type Member = ();
    }

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn pattern(text: &str, policy: Match) -> UriPattern {
        UriPattern::parse(text, policy, UriCheck::Loose).unwrap()
    }

    /// As a realm does it; `false` if the session is attached already.
    fn attach(directory: &mut Directory<Plain>, session: SessionId, pattern: UriPattern) -> bool {
        match directory.id(pattern.policy(), pattern.as_str()) {
            Some(id) => directory.join(id, session, ()),
            None => {
                directory.create(pattern, (), session, ());
                true
            }
        }
    }

    #[test]
    fn an_entry_ends_with_its_last_session_and_its_id_with_it() {
        let mut directory = Directory::<Plain>::default();
        let id = directory.create(pattern("t", Match::Exact), (), A, ());
        assert!(!directory.join(id, A, ()));
        assert!(directory.join(id, B, ()));
        assert_eq!(directory.count(A), 1);
        assert!(directory.has(A, id));
        let left = Parting {
            id,
            was_last: false,
        };
        assert_eq!(directory.part(A, id), Some(left));
        assert_eq!(directory.part(A, id), None);
        assert!(!directory.has(A, id));
        let left = Parting { id, was_last: true };
        assert_eq!(directory.leave(B), [left]);
        assert_eq!(directory.covering("t").next(), None);
        assert!(directory.is_empty());
        let next = directory.create(pattern("t", Match::Exact), (), A, ());
        assert_ne!(next, id);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Attach(SessionId, &'static str, Match),
        Part(SessionId, u64),
        Leave(SessionId),
    }

    fn step() -> impl Strategy<Value = Step> {
        let session = (1..4_u64).prop_map(SessionId);
        let text = prop::sample::select(vec!["a", "a.b", "b"]);
        let policy = prop::sample::select(Match::ALL.to_vec());
        prop_oneof![
            5 => (session.clone(), text, policy).prop_map(|(s, t, p)| Step::Attach(s, t, p)),
            3 => (session.clone(), 1..12_u64).prop_map(|(s, id)| Step::Part(s, id)),
            1 => session.prop_map(Step::Leave),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever sessions do, the directory is the list of who is attached to what, and when all
        /// are gone nothing is left.
        #[test]
        fn it_is_the_list_of_who_is_attached(steps in prop::collection::vec(step(), 0..60)) {
            let mut directory = Directory::<Plain>::default();
            let mut naive: Vec<(SessionId, SubscriptionId, UriPattern)> = Vec::new();
            for step in steps {
                match step {
                    Step::Attach(session, text, policy) => {
                        let pattern = pattern(text, policy);
                        let is_new = !naive.iter().any(|it| it.0 == session && it.2 == pattern);
                        prop_assert_eq!(attach(&mut directory, session, pattern.clone()), is_new);
                        if is_new {
                            let id = directory.id(policy, text).unwrap();
                            naive.push((session, id, pattern));
                        }
                    }
                    Step::Part(session, id) => {
                        let id = SubscriptionId(id);
                        let at = naive.iter().position(|it| it.0 == session && it.1 == id);
                        let parting = at.map(|at| {
                            naive.remove(at);
                            Parting { id, was_last: !naive.iter().any(|it| it.1 == id) }
                        });
                        prop_assert_eq!(directory.part(session, id), parting);
                    }
                    Step::Leave(session) => {
                        directory.leave(session);
                        naive.retain(|it| it.0 != session);
                    }
                }
                for (session, id, pattern) in &naive {
                    prop_assert!(directory.has(*session, *id));
                    prop_assert_eq!(directory.id(pattern.policy(), pattern.as_str()), Some(*id));
                    let members = &directory.entry(*id).unwrap().members;
                    prop_assert_eq!(
                        members.len(),
                        naive.iter().filter(|it| it.1 == *id).count()
                    );
                }
            }
            for session in 1..4 {
                directory.leave(SessionId(session));
            }
            prop_assert!(directory.is_empty());
        }
    }
}
