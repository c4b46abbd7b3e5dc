//! Which texts are served together, where not all can be.
//!
//! Every document brings the texts that may be served of it, the present one first. All the first
//! ones are tried together; who loses a conflict falls back to its next text, until there is no
//! conflict. Each step uses up a text, so it ends. Then whoever fell back gets a second chance, in
//! case that what it lost against has fallen back too.
//!
//! Who was served must not end with nothing because of a newcomer. That could still happen where
//! three or more want what the others have: one loses against a text that then falls back itself, and
//! meanwhile a newcomer has taken its place. So whoever ends like that is given what it served before,
//! against everybody, and the rest is tried again. What was served before is free of conflicts, so
//! this ends too, at the latest with all that was served before.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use crate::spec::{CompiledSpec, Holders, Holding};

/// A document that wants to be served.
pub(super) struct Contender<'s> {
    /// The texts that may be served, the best first.
    pub(super) candidates: Vec<&'s CompiledSpec>,
    /// Whether it is a file.
    pub(super) is_file: bool,
    /// Whether it was served before.
    pub(super) was_served: bool,
    /// Which of the texts that was, if it may go on.
    pub(super) last_good: Option<usize>,
}

/// Chooses of each contender the text that is served. Of two that were not served before, the
/// earlier wins. `incumbents` are what was served.
///
/// Tried again with the outcome as what was served, it is the same: what a reload without any change
/// would serve is served at once.
pub(super) fn resolve<'s>(
    contenders: &[Contender<'s>],
    incumbents: impl Iterator<Item = &'s CompiledSpec> + Clone,
) -> Vec<Option<usize>> {
    let mut chosen = resolve_once(contenders, incumbents);
    // Nearly always once is enough, and nothing is known to need more than twice. The bound is for
    // what is not known.
    for _ in contenders {
        if chosen.iter().all(|at| *at == Some(0)) {
            break;
        }
        let next: Vec<Contender<'s>> = contenders
            .iter()
            .zip(&chosen)
            .map(|(contender, at)| Contender {
                // What comes after it has been given up.
                candidates: match at {
                    Some(at) => contender.candidates[..=*at].to_vec(),
                    None => contender.candidates.clone(),
                },
                is_file: contender.is_file,
                was_served: at.is_some(),
                last_good: *at,
            })
            .collect();
        let served = next
            .iter()
            .filter_map(|it| Some(it.candidates[it.last_good?]));
        let again = resolve_once(&next, served);
        if again == chosen {
            break;
        }
        chosen = again;
    }
    chosen
}

fn resolve_once<'s>(
    contenders: &[Contender<'s>],
    incumbents: impl Iterator<Item = &'s CompiledSpec> + Clone,
) -> Vec<Option<usize>> {
    let incumbents = Incumbents {
        all: incumbents,
        holders: OnceCell::new(),
    };
    let mut held = BTreeSet::new();
    loop {
        let chosen = attempt(contenders, &incumbents, &held);
        let served: HashSet<Option<&str>> = contenders
            .iter()
            .zip(&chosen)
            .filter_map(|(contender, at)| Some(contender.candidates[(*at)?].id()))
            .collect();
        let lost = contenders.iter().enumerate().filter(|(index, contender)| {
            let before = contender.last_good.map(|at| contender.candidates[at].id());
            chosen[*index].is_none() && before.is_some_and(|id| !served.contains(&id))
        });
        let known = held.len();
        held.extend(lost.map(|(index, _)| index));
        if held.len() == known {
            return chosen;
        }
    }
}

/// Chooses, with those who are `held` to what they served before.
fn attempt<'s, I: Iterator<Item = &'s CompiledSpec> + Clone>(
    contenders: &[Contender<'s>],
    incumbents: &Incumbents<'s, I>,
    held: &BTreeSet<usize>,
) -> Vec<Option<usize>> {
    let mut chosen = vec![0; contenders.len()];
    for index in held {
        chosen[*index] = contenders[*index].last_good.unwrap_or_default();
    }
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
            let mut rivals: HashMap<usize, (&CompiledSpec, bool)> = HashMap::new();
            for (holding, rival) in holders.rivals(index, spec) {
                let Some(other) = text(rival, chosen[rival]) else {
                    continue;
                };
                let loses = match (held.contains(&rival), held.contains(&index)) {
                    (true, false) => true,
                    (false, true) => false,
                    (true, true) | (false, false) => {
                        incumbents.prefer((rival, other), (index, spec), holding, contenders)
                    }
                };
                rivals.entry(rival).or_insert((other, false)).1 |= loses;
            }
            if rivals.values().any(|(_, loses)| *loses) {
                losers.insert(index);
                continue;
            }
            for (rival, (other, _)) in rivals {
                losers.insert(rival);
                holders.release(rival, other);
            }
            holders.take(index, spec);
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
