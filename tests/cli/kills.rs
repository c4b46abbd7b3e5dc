//! `kill -9` at any moment of writes: what was acknowledged is there, and the store opens.
//!
//! A world is one folder, and processes in it one after another: each opens what the last one left,
//! writes with several writers at once, tells of every acknowledgement through a pipe, and is killed.
//! After each kill a copy of the file is read; the next process gets the file as the killed one left
//! it. Now and then a world begins anew, so that kills fall into the making of the file too.
//!
//! `WAMPGATE_KILLS_SEED` repeats the moments of a run, as far as the system's scheduler lets it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{env, fs, thread};

use fastrand::Rng;
use futures_util::future::join_all;
use tempfile::TempDir;
use wampgate::store::embedded::Embedded;
use wampgate::store::{Expect, Key, Kind, REVISIONS, Record, Store, Write};

use crate::processes::PATIENCE;

/// Worlds that run side by side.
const WORLDS: u64 = 4;
/// Kills in each.
const ROUNDS: u64 = 50;
/// Writers of a process, each with a document of its own.
const WRITERS: usize = 6;

/// Names the folder of a victim, and says that this process is one.
const FOLDER: &str = "WAMPGATE_KILLS_FOLDER";
/// Names the first number that a victim writes.
const FIRST: &str = "WAMPGATE_KILLS_FIRST";
const SEED: &str = "WAMPGATE_KILLS_SEED";

#[test]
fn what_was_acknowledged_survives_200_kills() {
    let seed =
        variable(SEED).map_or_else(|| fastrand::u64(..1_000_000), |text| text.parse().unwrap());
    eprintln!("{SEED}={seed}");
    let worlds: Vec<_> = (0..WORLDS)
        .map(|world| thread::spawn(move || World::new(seed ^ world << 32).run()))
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
    assert_eq!(all.kills, 200);
    // Else the moments were not what they are meant to be.
    assert!(
        all.acknowledged > 200 && all.before_ready > 0,
        "seed {seed}: {all:?}"
    );
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

/// What a victim tells.
#[derive(Debug)]
enum Told {
    Ready,
    Written(Written),
}

/// One acknowledged write.
#[derive(Debug, Clone)]
struct Written {
    id: String,
    revision: u64,
    /// The number that is all of its text; none for a deletion.
    number: Option<u64>,
}

struct World {
    random: Rng,
    folder: TempDir,
    /// What was acknowledged, and what was found done, by document and revision.
    known: BTreeMap<String, BTreeMap<u64, Option<u64>>>,
    count: Count,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            folder: tempfile::tempdir().unwrap(),
            known: BTreeMap::new(),
            count: Count::default(),
        }
    }

    fn run(mut self) -> Count {
        for round in 0..ROUNDS {
            if self.random.u8(..6) == 0 {
                self.folder = tempfile::tempdir().unwrap();
                self.known.clear();
            }
            self.round(round);
        }
        // And once more in peace.
        let mut victim = Victim::start(self.folder.path(), ROUNDS << 32);
        while !matches!(victim.next(PATIENCE), Some(Told::Ready)) {}
        self.count
    }

    fn round(&mut self, round: u64) {
        let mut victim = Victim::start(self.folder.path(), round << 32);
        let is_new = self.known.is_empty();
        let is_early = self.random.u8(..if is_new { 2 } else { 5 }) == 0;
        let told = if is_early {
            let moment = Duration::from_micros(self.random.u64(..60_000));
            victim.next(moment)
        } else {
            let ready = victim.next(PATIENCE);
            assert!(
                matches!(ready, Some(Told::Ready)),
                "the store does not open"
            );
            for _ in 0..self.random.u32(..40) {
                let told = victim.next(PATIENCE);
                self.note(told.expect("a write comes to its end"));
            }
            // Somewhere in a write: the moment is the point, so that there is nothing to wait for.
            thread::park_timeout(Duration::from_micros(self.random.u64(..6_000)));
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
        let file = self.folder.path().join("store.redb");
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

fn id(writer: usize) -> String {
    format!("com.example.{writer}")
}

fn key(id: &str) -> Key {
    Key {
        kind: Kind::Spec,
        id: id.to_owned(),
    }
}

/// The text that a number makes: a spec of up to some 20 KB.
fn text(id: &str, number: u64) -> String {
    let long = usize::try_from(number * 7919 % 20_000).unwrap();
    format!(
        r#"{{"id": "{id}", "host": "_", "realm_uri": "com.example", "meta": {{"number": {number}, "fill": "{}"}},
    "versions": {{"1": {{"base_path": "/{id}", "paths": {{"/x": {{"get": {{"action": {{"type": "static", "body": {number}}}}}}}}}}}}}}}"#,
        "x".repeat(long)
    )
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

/// A process that writes until it is killed.
struct Victim {
    process: Child,
    told: Receiver<Told>,
}

impl Victim {
    /// Starts one, which writes numbers from `first` on.
    fn start(folder: &Path, first: u64) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "kills::victim", "--nocapture"])
            .env(FOLDER, folder)
            .env(FIRST, first.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, told) = mpsc::channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // Ends with the process.
        thread::spawn(move || {
            for line in lines {
                let line = line.unwrap();
                let words: Vec<_> = line.split(' ').collect();
                let told = match words[..] {
                    ["ready"] => Told::Ready,
                    ["written", id, revision, number] => Told::Written(Written {
                        id: id.to_owned(),
                        revision: revision.parse().unwrap(),
                        number: number.parse().ok(),
                    }),
                    // The test harness speaks too.
                    _ => continue,
                };
                if sender.send(told).is_err() {
                    return;
                }
            }
        });
        Self { process, told }
    }

    /// Waits for what it tells next; none if that does not come in time.
    fn next(&mut self, longest: Duration) -> Option<Told> {
        self.told.recv_timeout(longest).ok()
    }

    /// Kills it, and returns what it had told before that.
    fn kill(mut self) -> Vec<Told> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // What is in the pipe counts: it was acknowledged.
        self.told.iter().collect()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how a victim learns what it is, and a person repeats a run"
)]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Not a test but a victim of the one above: nothing in a process that nobody means to kill.
#[test]
fn victim() {
    let Some(folder) = variable(FOLDER) else {
        return;
    };
    let first: u64 = variable(FIRST).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Embedded::open(Path::new(&folder)).await.unwrap();
        // The harness has begun a line.
        say("\nready\n");
        join_all((0..WRITERS).map(|writer| keep_writing(&store, id(writer), first))).await;
    });
}

async fn keep_writing(store: &Embedded, id: String, first: u64) {
    for number in first.. {
        let is_there = store.contents().borrow().records.contains_key(&key(&id));
        let is_deletion = is_there && number % 7 == 6;
        let record = store
            .write(Write {
                key: key(&id),
                text: (!is_deletion).then(|| text(&id, number).into()),
                expect: Expect::Anything,
                author: "victim".to_owned(),
                time_ms: number,
            })
            .await
            .unwrap();
        let number = if is_deletion {
            "-".to_owned()
        } else {
            number.to_string()
        };
        say(&format!("written {id} {} {number}\n", record.revision));
    }
}

/// One write to the pipe: a line is there whole or not at all.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes()).unwrap();
    stdout.flush().unwrap();
}
