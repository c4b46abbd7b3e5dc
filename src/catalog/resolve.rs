//! Which texts are served together, where not all can be.
//!
//! Every document brings the texts that may be served of it, the present one first. All the first
//! ones are tried together; who loses a conflict falls back to its next text, until there is no
//! conflict. Each step uses up a text, so it ends. Then whoever fell back gets a second chance, in
//! case that what it lost against has fallen back too. What was served before is free of conflicts,
//! and each of these texts wins against whatever was not: so nobody who was served loses everything
//! to a newcomer.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use crate::spec::{CompiledSpec, Holders, Holding};

/// A document that wants to be served.
pub(super) struct Contender<'s> {
    /// The texts that may be served, the best first.
    pub(super) candidates: Vec<&'s CompiledSpec>,
    /// Whether it is a file.
    pub(super) is_file: bool,
    /// Whether it was served before.
    pub(super) was_served: bool,
}

/// Chooses of each contender the text that is served. Of two that were not served before, the
/// earlier wins. `incumbents` are what was served.
pub(super) fn resolve<'s>(
    contenders: &[Contender<'s>],
    incumbents: impl Iterator<Item = &'s CompiledSpec> + Clone,
) -> Vec<Option<usize>> {
    let incumbents = Incumbents {
        all: incumbents,
        holders: OnceCell::new(),
    };
    let mut chosen = vec![0; contenders.len()];
    let text = |index: usize, at: usize| -> Option<&'s CompiledSpec> {
        contenders[index].candidates.get(at).copied()
    };
    let mut fell_back = BTreeSet::new();
    let mut holders;
    loop {
        holders = Holders::default();
        let mut losers = BTreeSet::new();
        for index in 0..contenders.len() {
            let Some(spec) = text(index, chosen[index]) else {
                continue;
            };
            // Routes may be thousands, rivals are few.
            let mut rivals: HashMap<usize, bool> = HashMap::new();
            for (holding, rival) in holders.rivals(index, spec) {
                let other = text(rival, chosen[rival]);
                let loses = other.is_some_and(|other| {
                    incumbents.prefer((rival, other), (index, spec), holding, contenders)
                });
                *rivals.entry(rival).or_default() |= loses;
            }
            if rivals.values().any(|loses| *loses) {
                losers.insert(index);
            } else {
                losers.extend(rivals.into_keys());
                holders.take(index, spec);
            }
        }
        if losers.is_empty() {
            break;
        }
        for loser in losers {
            chosen[loser] += 1;
            fell_back.insert(loser);
        }
    }
    second_chance(contenders, &mut chosen, &fell_back, &mut holders);
    let chosen = chosen.into_iter().enumerate();
    chosen
        .map(|(index, at)| text(index, at).map(|_| at))
        .collect()
}

/// Moves back up who fell back and need not have, in order, until nobody can.
fn second_chance<'s>(
    contenders: &[Contender<'s>],
    chosen: &mut [usize],
    fell_back: &BTreeSet<usize>,
    holders: &mut Holders<'s, usize>,
) {
    let mut has_moved = !fell_back.is_empty();
    while std::mem::take(&mut has_moved) {
        for &index in fell_back {
            let candidates = &contenders[index].candidates;
            let mut better = candidates[..chosen[index]].iter();
            let better = better.position(|it| holders.rivals(index, it).next().is_none());
            if let Some(better) = better {
                if let Some(spec) = candidates.get(chosen[index]) {
                    holders.release(index, spec);
                }
                holders.take(index, candidates[better]);
                chosen[index] = better;
                has_moved = true;
            }
        }
    }
}

/// Who held what before.
struct Incumbents<'s, I> {
    all: I,
    /// By the API's id. Made with the first conflict: most changes have none.
    holders: OnceCell<HashMap<Holding<'s>, &'s str>>,
}

impl<'s, I: Iterator<Item = &'s CompiledSpec> + Clone> Incumbents<'s, I> {
    /// Returns whether `a` rather than `b` gets what both want.
    fn prefer(
        &self,
        (a, a_spec): (usize, &CompiledSpec),
        (b, b_spec): (usize, &CompiledSpec),
        holding: Holding<'_>,
        contenders: &[Contender<'_>],
    ) -> bool {
        let rank = |index: usize, spec: &CompiledSpec| {
            let contender = &contenders[index];
            match holding {
                Holding::Id(_) => (!contender.is_file, !contender.was_served, index),
                Holding::Route(_) => (false, !self.held(holding, spec.id()), index),
            }
        };
        rank(a, a_spec) < rank(b, b_spec)
    }

    fn held(&self, holding: Holding<'_>, api: Option<&str>) -> bool {
        let holders = self.holders.get_or_init(|| {
            let all = self.all.clone();
            all.flat_map(|spec| {
                let id = spec.id().unwrap_or_default();
                spec.holdings().map(move |holding| (holding, id))
            })
            .collect()
        });
        api.is_some() && holders.get(&holding).copied() == api
    }
}
