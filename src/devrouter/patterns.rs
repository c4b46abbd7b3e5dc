//! Which of many patterns cover a URI: the answer without a walk over all of them.
//!
//! Each policy has a hash table of its texts, and a URI is cut to every *form* that some pattern
//! has: for prefixes, to each length that occurs, the longest first; for wildcards, to each shape
//! that occurs among those with as many components, a shape being which components are blank. A cut
//! is then one look-up. So the cost grows with the number of different forms, which are few
//! (thousands of `com.shop.<id>..created` have one shape), and not with the number of patterns; at
//! worst, when no two patterns share a form, it is that of the walk. A trie of components would
//! have to follow two branches at each level, and to recurse as deep as a client's URI is long.
//!
//! Reference: WAMP Advanced Profile, "Pattern-based Registrations", "Calls matching multiple
//! registrations".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::uri::{Match, UriPattern};

/// A value for each of a set of patterns. The same text under another policy is another pattern.
#[derive(Debug)]
pub(super) struct Patterns<T> {
    exact: HashMap<Arc<str>, T>,
    prefix: HashMap<Arc<str>, T>,
    wildcard: HashMap<Arc<str>, T>,
    /// How many prefixes have which length in bytes.
    lengths: BTreeMap<usize, usize>,
    /// By the number of components, how many wildcards have which shape.
    shapes: BTreeMap<usize, BTreeMap<Shape, usize>>,
}

/// For each component, whether it is blank. Ordered as the specification ranks wildcards: of two
/// that cover one URI, the one whose first difference is not blank has the longer portion there.
type Shape = Box<[bool]>;

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            prefix: HashMap::new(),
            wildcard: HashMap::new(),
            lengths: BTreeMap::new(),
            shapes: BTreeMap::new(),
        }
    }
}

impl<T> Patterns<T> {
    /// Returns the value of a pattern.
    pub(super) fn get(&self, policy: Match, text: &str) -> Option<&T> {
        self.table(policy).get(text)
    }

    /// Sets the value of a pattern.
    pub(super) fn insert(&mut self, pattern: &UriPattern, value: T) {
        let table = match pattern.policy() {
            Match::Exact => &mut self.exact,
            Match::Prefix => &mut self.prefix,
            Match::Wildcard => &mut self.wildcard,
        };
        if table.insert(pattern.as_str().into(), value).is_some() {
            return;
        }
        let text = pattern.as_str();
        match pattern.policy() {
            Match::Exact => {}
            Match::Prefix => *self.lengths.entry(text.len()).or_default() += 1,
            Match::Wildcard => {
                let shape = shape(text);
                let shapes = self.shapes.entry(shape.len()).or_default();
                *shapes.entry(shape).or_default() += 1;
            }
        }
    }

    /// Forgets a pattern.
    pub(super) fn remove(&mut self, pattern: &UriPattern) -> Option<T> {
        let text = pattern.as_str();
        match pattern.policy() {
            Match::Exact => self.exact.remove(text),
            Match::Prefix => {
                let value = self.prefix.remove(text)?;
                discount(&mut self.lengths, &text.len());
                Some(value)
            }
            Match::Wildcard => {
                let value = self.wildcard.remove(text)?;
                let shape = shape(text);
                if let Some(shapes) = self.shapes.get_mut(&shape.len()) {
                    discount(shapes, &shape);
                    if shapes.is_empty() {
                        self.shapes.remove(&shape.len());
                    }
                }
                Some(value)
            }
        }
    }

    /// Returns the values of all patterns that cover `uri`, in the order in which the specification
    /// prefers them for a call: the exact one, prefixes from the longest, wildcards from the one
    /// that is concrete for longest. No component of `uri` is empty.
    pub(super) fn covering<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = &'a T> {
        let prefixes = self
            .lengths
            .range(..=uri.len())
            .rev()
            // A cut inside a character is nobody's prefix.
            .filter_map(move |(length, _)| self.prefix.get(uri.get(..*length)?));
        let components = if self.shapes.is_empty() {
            0
        } else {
            uri.split('.').count()
        };
        let mut cut = String::new();
        let wildcards = self
            .shapes
            .get(&components)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter_map(move |shape| {
                blank(&mut cut, uri, shape);
                self.wildcard.get(cut.as_str())
            });
        self.exact
            .get(uri)
            .into_iter()
            .chain(prefixes)
            .chain(wildcards)
    }

    /// Returns the values of all patterns of a policy, in no order.
    pub(super) fn of_policy(&self, policy: Match) -> impl Iterator<Item = &T> {
        self.table(policy).values()
    }

    fn table(&self, policy: Match) -> &HashMap<Arc<str>, T> {
        match policy {
            Match::Exact => &self.exact,
            Match::Prefix => &self.prefix,
            Match::Wildcard => &self.wildcard,
        }
    }
}

fn shape(text: &str) -> Shape {
    text.split('.').map(str::is_empty).collect()
}

/// Writes `uri` into `cut` with the components left out that are blank in `shape`.
fn blank(cut: &mut String, uri: &str, shape: &Shape) {
    cut.clear();
    for (index, (component, is_blank)) in uri.split('.').zip(shape).enumerate() {
        if index > 0 {
            cut.push('.');
        }
        if !is_blank {
            cut.push_str(component);
        }
    }
}

/// Counts one less, and nothing at none.
fn discount<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
