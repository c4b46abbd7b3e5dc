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
