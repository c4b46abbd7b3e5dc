use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;
use crate::uri::UriCheck;

fn pattern(text: &str, policy: Match) -> Option<UriPattern> {
    UriPattern::parse(text, policy, UriCheck::Loose).ok()
}

#[test]
fn calls_go_where_the_specifications_examples_go() {
    let registered = [
        ("a1.b2.c3.d4.e55", Match::Exact),
        ("a1.b2.c3", Match::Prefix),
        ("a1.b2.c3.d4", Match::Prefix),
        ("a1.b2..d4.e5", Match::Wildcard),
        ("a1.b2.c33..e5", Match::Wildcard),
        ("a1.b2..d4.e5..g7", Match::Wildcard),
        ("a1.b2..d4..f6.g7", Match::Wildcard),
    ];
    let mut patterns = Patterns::default();
    for (number, (text, policy)) in (1..).zip(registered) {
        patterns.insert(&pattern(text, policy).unwrap(), number);
    }
    for (uri, best) in [
        ("a1.b2.c3.d4.e55", Some(1)),
        ("a1.b2.c3.d98.e74", Some(2)),
        ("a1.b2.c3.d4.e325", Some(3)),
        ("a1.b2.c55.d4.e5", Some(4)),
        // The specification's example says `c33`, which its own prefix `a1.b2.c3` covers as well:
        // prefixes are compared as text.
        ("a1.b2.c33.d4.e5", Some(2)),
        ("a1.b2.c88.d4.e5.f6.g7", Some(6)),
        ("a2.b2.c2.d2.e2", None),
    ] {
        assert_eq!(patterns.covering(uri).next().copied(), best, "{uri}");
    }
    patterns.remove(&pattern("a1.b2.c3", Match::Prefix).unwrap());
    let best = patterns.covering("a1.b2.c33.d4.e5").next().copied();
    assert_eq!(best, Some(5));
}

#[test]
fn one_text_under_two_policies_is_two_patterns() {
    let mut patterns = Patterns::default();
    for policy in Match::ALL {
        patterns.insert(&pattern("a.b", policy).unwrap(), policy);
    }
    assert_eq!(
        patterns.covering("a.b").copied().collect::<Vec<_>>(),
        Match::ALL
    );
    patterns.remove(&pattern("a.b", Match::Exact).unwrap());
    assert_eq!(patterns.get(Match::Exact, "a.b"), None);
    assert_eq!(patterns.get(Match::Prefix, "a.b"), Some(&Match::Prefix));
}

/// How the specification ranks what covers a URI, by its words: exact, then the longest prefix,
/// then the wildcard with the longest portions, compared one by one.
fn rank(pattern: &UriPattern) -> impl Ord + use<> {
    let portions = match pattern.policy() {
        Match::Exact => Vec::new(),
        Match::Prefix => vec![pattern.as_str().len()],
        Match::Wildcard => {
            let mut portions = vec![0];
            for component in pattern.as_str().split('.') {
                if component.is_empty() {
                    portions.push(0);
                } else {
                    *portions.last_mut().unwrap() += 1;
                }
            }
            portions
        }
    };
    (pattern.policy(), Reverse(portions))
}

fn text(components: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    let component = prop::sample::select(components.to_vec());
    prop::collection::vec(component, 1..5).prop_map(|components| components.join("."))
}

fn any_pattern() -> impl Strategy<Value = UriPattern> {
    (
        text(&["", "", "a", "b", "aa", "ä"]),
        prop::sample::select(Match::ALL.to_vec()),
    )
        .prop_filter_map("no pattern of this policy", |(text, policy)| {
            pattern(&text, policy)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Looking up is the same as asking every pattern and ranking those that say yes; and what is
    /// removed leaves nothing behind.
    #[test]
    fn looking_up_is_the_naive_scan(
        kept in prop::collection::vec(any_pattern(), 0..24),
        removed in prop::collection::vec(any_pattern(), 0..8),
        uris in prop::collection::vec(text(&["a", "b", "aa", "ä"]), 1..8),
    ) {
        let mut patterns = Patterns::default();
        for pattern in kept.iter().chain(&removed) {
            patterns.insert(pattern, pattern.clone());
        }
        for pattern in &removed {
            patterns.remove(pattern);
        }
        let mut left: Vec<_> = kept.iter().filter(|pattern| !removed.contains(pattern)).collect();
        left.sort();
        left.dedup();
        for uri in &uris {
            let mut naive: Vec<_> = left
                .iter()
                .copied()
                .filter(|pattern| pattern.covers(uri))
                .collect();
            naive.sort_by_key(|pattern| rank(pattern));
            prop_assert_eq!(patterns.covering(uri).collect::<Vec<_>>(), naive, "{}", uri);
        }
        for pattern in &left {
            patterns.remove(pattern);
        }
        prop_assert!(patterns.lengths.is_empty() && patterns.shapes.is_empty());
    }
}
