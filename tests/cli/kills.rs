//! `kill -9` at any moment of writes: what was acknowledged is there, and the store opens.
//!
//! A world is one folder, and processes in it one after another: each opens what the last one left,
//! writes with several writers at once, and is killed. After each kill a copy of the file is read; the
//! next process gets the file as the killed one left it. Now and then a world begins anew, so that
//! kills fall into the making of the file too.
//!
//! There are two kinds of victims (`kills/victims.rs`): the store alone, which writes as fast as the
//! disk lets it and so is killed within a write most of the time, and the whole gateway, written to
//! through its admin API.
//!
//! `WAMPGATE_KILLS_SEED` repeats the moments of a run, as far as the system's scheduler lets it.

mod victims;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, thread};

use fastrand::Rng;
use tempfile::TempDir;
use wampgate::store::embedded::Embedded;
use wampgate::store::{Key, Kind, REVISIONS, Record, Store};

use crate::processes::PATIENCE;
use victims::{Told, Victim, WRITERS, id, text};

const SEED: &str = "WAMPGATE_KILLS_SEED";

#[test]
fn what_the_store_acknowledged_survives_100_kills() {
    let store = Plan {
        start: Victim::store,
        worlds: 4,
        rounds: 25,
        longest_start: Duration::from_millis(60),
        longest_write: Duration::from_millis(6),
        most_writes: 40,
    };
    let all = store.run();
    // Else the moments were not what they are meant to be.
    assert!(all.acknowledged > 100 && all.before_ready > 0, "{all:?}");
}

#[test]
fn what_the_admin_api_acknowledged_survives_200_kills() {
    let program = Plan {
        start: Victim::program,
        worlds: 4,
        rounds: 50,
        longest_start: Duration::from_millis(150),
        longest_write: Duration::from_millis(60),
        most_writes: 8,
    };
    let all = program.run();
    assert!(all.acknowledged > 200, "{all:?}");
}

/// What is killed how often, and when.
#[derive(Clone, Copy)]
struct Plan {
    /// Starts a victim in a folder, which writes numbers from this one on.
    start: fn(&Path, u64) -> Victim,
    /// Worlds that run side by side.
    worlds: u64,
    /// Kills in each.
    rounds: u64,
    /// Within this time some are killed that have not said yet that they are ready.
    longest_start: Duration,
    /// And within this the others, after some writes: about as long as one takes.
    longest_write: Duration,
    most_writes: u32,
}

impl Plan {
    fn run(self) -> Count {
        let seed = seed();
        eprintln!("{SEED}={seed}");
        let worlds: Vec<_> = (0..self.worlds)
            .map(|world| thread::spawn(move || World::new(self, seed ^ world << 32).run()))
            .collect();
        let mut all = Count::default();
        for world in worlds {
            let count = world.join().unwrap_or_else(|_| panic!("seed {seed}"));
            all.kills += count.kills;
            all.before_ready += count.before_ready;
            all.without_file += count.without_file;
            all.acknowledged += count.acknowledged;
            all.done_untold += count.done_untold;
        }
        eprintln!("{all:?}");
        assert_eq!(all.kills, self.worlds * self.rounds);
        all
    }
}

/// What happened, to see that the kills fell everywhere.
#[derive(Debug, Default)]
struct Count {
    kills: u64,
    /// Kills of a process that had not said yet that it is ready.
    before_ready: u64,
    /// And that had not made the file yet.
    without_file: u64,
    acknowledged: usize,
    /// Writes that were done, and whose process was killed before it told.
    done_untold: usize,
}

struct World {
    plan: Plan,
    random: Rng,
    folder: TempDir,
    /// What was acknowledged, and what was found done, by document and revision.
    known: BTreeMap<String, BTreeMap<u64, Option<u64>>>,
    count: Count,
}

impl World {
    fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            random: Rng::with_seed(seed),
            folder: tempfile::tempdir().unwrap(),
            known: BTreeMap::new(),
            count: Count::default(),
        }
    }

    fn run(mut self) -> Count {
        for round in 0..self.plan.rounds {
            if self.random.u8(..6) == 0 {
                self.folder = tempfile::tempdir().unwrap();
                self.known.clear();
            }
            self.round(round);
        }
        // And once more in peace.
        let mut victim = (self.plan.start)(self.folder.path(), self.plan.rounds << 32);
        assert!(matches!(victim.next(PATIENCE), Some(Told::Ready)));
        self.count
    }

    fn round(&mut self, round: u64) {
        let mut victim = (self.plan.start)(self.folder.path(), round << 32);
        let is_new = self.known.is_empty();
        let is_early = self.random.u8(..if is_new { 2 } else { 5 }) == 0;
        let told = if is_early {
            let moment = self.within(self.plan.longest_start);
            victim.next(moment)
        } else {
            let ready = victim.next(PATIENCE);
            assert!(
                matches!(ready, Some(Told::Ready)),
                "the store does not open"
            );
            for _ in 0..self.random.u32(..self.plan.most_writes) {
                let told = victim.next(PATIENCE);
                self.note(told.expect("a write comes to its end"));
            }
            // Somewhere in a write: the moment is the point, so that there is nothing to wait for.
            thread::park_timeout(self.within(self.plan.longest_write));
            None
        };
        self.count.kills += 1;
        match told {
            Some(told) => self.note(told),
            None if is_early => self.count.before_ready += 1,
            None => {}
        }
        for told in victim.kill() {
            self.note(told);
        }
        self.check();
    }

    fn within(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.random.f64())
    }

    fn note(&mut self, told: Told) {
        if let Told::Written(written) = told {
            self.count.acknowledged += 1;
            let known = self.known.entry(written.id).or_default();
            known.insert(written.revision, written.number);
        }
    }

    /// Reads a copy of what the killed process has left.
    fn check(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        let file = self.folder.path().join("data/store.redb");
        if !file.exists() {
            self.count.without_file += 1;
            assert!(self.known.is_empty(), "{:?}", self.known);
            return;
        }
        fs::copy(file, copy.path().join("store.redb")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (contents, found) = runtime.block_on(async {
            let store = Embedded::open(copy.path()).await.unwrap();
            let mut found = BTreeMap::new();
            for id in (0..WRITERS).map(id) {
                let revisions = store.revisions(&key(&id)).await.unwrap();
                found.insert(id, revisions);
            }
            let contents = store.contents().borrow().clone();
            (contents, found)
        });
        for (id, revisions) in found {
            assert_eq!(
                contents.records.get(&key(&id)),
                revisions.first().filter(|record| record.text.is_some()),
                "the newest revision is what stands there"
            );
            let known = self.known.entry(id.clone()).or_default();
            let last = known.last_key_value().map_or(0, |(revision, _)| *revision);
            // One of its writer may have been done, and not been told.
            let untold = revisions.iter().filter(|record| record.revision > last);
            assert!(untold.count() <= 1, "{revisions:?}");
            // Nothing that is there is torn.
            let found: BTreeMap<_, _> = revisions
                .iter()
                .map(|record| (record.revision, number_of(&id, record)))
                .collect();
            // All that was acknowledged is there, but for what is older than the revisions kept.
            let oldest = if found.len() < REVISIONS {
                0
            } else {
                *found.first_key_value().unwrap().0
            };
            for (revision, number) in known.range(oldest..) {
                assert_eq!(
                    found.get(revision),
                    Some(number),
                    "{id} {revision}: {found:?}"
                );
            }
            self.count.done_untold += found.len().saturating_sub(known.range(oldest..).count());
            known.extend(found);
            let last = known.last_key_value().map_or(0, |(revision, _)| *revision);
            assert!(last <= contents.revision);
        }
    }
}

fn key(id: &str) -> Key {
    Key {
        kind: Kind::Spec,
        id: id.to_owned(),
    }
}

/// Returns the number of a record, of which all of its text must be made.
fn number_of(id: &str, record: &Record) -> Option<u64> {
    let found = record.text.as_deref()?;
    let (_, rest) = found.split_once(r#""number": "#).unwrap();
    let (number, _) = rest.split_once(',').unwrap();
    let number = number.parse().unwrap();
    assert_eq!(found, text(id, number));
    Some(number)
}

#[expect(clippy::disallowed_methods, reason = "how a person repeats a run")]
fn seed() -> u64 {
    let seed = env::var(SEED).ok();
    seed.map_or_else(|| fastrand::u64(..1_000_000), |text| text.parse().unwrap())
}
