//! The task that follows a bucket, and keeps what this gateway knows of it.
//!
//! ```text
//! connect -> list and compare -> Ready: look whenever something changed, and each second
//!    ^            |    ^--- held, until it fits or somebody confirms
//!    '--- lost ---+
//! ```
//!
//! Why it reads number by number and waits for no deliveries: each answer is the leader's, has a
//! deadline, and an entry that was missed is simply the next one. Whatever is published of changes
//! only hastens the next look. A stream that was made anew under the same name would leave a
//! consumer waiting for ever; here it has another creation time, and is compared like one that comes
//! back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use super::bucket::{About, After, Bucket, Make};
use super::known::{Found, Known, Verdict, read};
use super::link::{Link, Trouble};
use super::meta::{Identity, Meta};
use super::saving::Saver;
use super::snapshot::Snapshot;
use super::{Shared, names};
use crate::store::{Confirm, REVISIONS, State, WriteError};

/// How often it is looked without any sign of a change.
const LOOK: Duration = Duration::from_secs(1);

/// How long nothing has to answer until that is said. Less than it takes to change to another
/// server, when one dies and the others have what was its.
const GRACE: Duration = Duration::from_secs(4);

/// How long, and how often, a store has to look wrong until it is held: a server that was away may
/// tell old things for a moment.
const DOUBT: (Duration, u32) = (Duration::from_secs(3), 3);

/// For how long a gateway that has begun to write its contents is waited for. Longer than the
/// [deadline](super::confirm) of doing it, and what is under way then.
pub(super) const CLAIM: Duration = Duration::from_secs(30);

/// The shortest and the longest wait until all servers are tried again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Somebody confirms, and wants to hear how that went.
pub(super) type Command = (Confirm, String, oneshot::Sender<Result<(), WriteError>>);

/// See the module.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    saver: Saver,
    commands: mpsc::Receiver<Command>,
    /// The stream that is followed; none where it has to be listed and compared first.
    followed: Option<Followed>,
    /// When it last answered.
    heard: Instant,
    /// What is wrong with what is found, since when, and how often it was seen.
    doubt: Option<Doubt>,
    /// What was last said of a store that was never reached.
    said: Option<String>,
    /// The entry `meta`, which may be a claim: its number, and since when it is seen.
    pub(super) claim: Option<(u64, Instant)>,
}

/// The stream that is followed.
#[derive(Debug, Clone)]
struct Followed {
    created: String,
    /// The number of the newest entry that was looked at.
    newest: u64,
}

/// What is wrong with what is found.
#[derive(Debug, Clone)]
struct Doubt {
    reason: String,
    since: Instant,
    looks: u32,
    /// What was found: it is compared again only if it is another.
    about: Option<About>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        snapshot: Arc<Snapshot>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            shared,
            saver: Saver::new(snapshot),
            commands,
            followed: None,
            heard: Instant::now(),
            doubt: None,
            said: None,
            claim: None,
        }
    }

    /// Follows the bucket for ever.
    pub(super) async fn run(mut self) {
        let servers = self.shared.address.servers.clone();
        let mut next = fastrand::usize(..servers.len());
        let mut failed = 0;
        let mut again = AGAIN.0;
        loop {
            match Link::connect(&self.shared.address, &servers[next]).await {
                Ok(link) => {
                    (failed, again) = (0, AGAIN.0);
                    let link = Arc::new(link);
                    tracing::debug!(store.server = link.server(), "connected to NATS");
                    self.shared.link.send_replace(Some(link.clone()));
                    let reason = self.serve(link).await;
                    self.shared.link.send_replace(None);
                    self.shared.compared.send_replace(None);
                    self.followed = None;
                    tracing::info!("NATS: {reason}; trying the next server");
                }
                Err(reason) => {
                    failed += 1;
                    if failed >= servers.len() || self.heard.elapsed() > GRACE {
                        self.degrade(&format!("NATS cannot be reached: {reason}"));
                    }
                }
            }
            next = (next + 1) % servers.len();
            if failed >= servers.len() {
                failed = 0;
                // Not all gateways at the same moments.
                sleep(again.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                again = (again * 2).min(AGAIN.1);
            }
        }
    }

    /// Follows the bucket through one connection. Returns why it is not good any more.
    async fn serve(&mut self, link: Arc<Link>) -> String {
        let bucket = Bucket::new(link.clone(), self.shared.address.bucket.clone());
        let mut changes = match link.subscribe(bucket.changes()).await {
            Ok(changes) => changes,
            Err(trouble) => return trouble.to_string(),
        };
        let mut tick = ticks(LOOK);
        loop {
            tokio::select! {
                biased;
                () = link.lost() => return format!("the connection to {} is lost", link.server()),
                Some((choice, author, answer)) = self.commands.recv() => {
                    let result = self.confirm(&bucket, choice, author).await;
                    // Nobody waits any more: then the log tells.
                    answer.send(result).ok();
                }
                Some(_) = changes.next() => {
                    // One look for all that came at once.
                    while let Some(Some(_)) = changes.next().now_or_never() {}
                }
                () = self.shared.nudge.notified() => {}
                _ = tick.tick() => {}
            }
            match self.step(&bucket).await {
                Ok(()) => self.heard = Instant::now(),
                Err(trouble) => {
                    if self.heard.elapsed() > GRACE {
                        self.degrade(&trouble.to_string());
                    }
                    // The server we are at may be the one that is cut off from the others.
                    if matches!(trouble, Trouble::Silent(_) | Trouble::Lost) {
                        return format!("{}: {trouble}", link.server());
                    }
                }
            }
        }
    }

    /// Looks once.
    async fn step(&mut self, bucket: &Bucket) -> Result<(), Trouble> {
        if self.followed.is_some() {
            self.look(bucket).await?;
        }
        // Also where the look has found another stream than the one that was followed.
        if self.followed.is_none() {
            self.shared.compared.send_replace(None);
            self.list(bucket).await?;
        }
        self.shared.compared.send_if_modified(|compared| {
            let is_new = self.followed.is_some() && compared.is_none();
            if is_new {
                *compared = Some(bucket.clone());
            }
            is_new
        });
        self.saver.go_on().await;
        Ok(())
    }

    /// Takes in what is new.
    async fn look(&mut self, bucket: &Bucket) -> Result<(), Trouble> {
        loop {
            let Some(mut followed) = self.followed.clone() else {
                return Ok(());
            };
            let about = bucket.about().await?;
            let Some(about) = about.filter(|about| about.is(&followed)) else {
                self.followed = None;
                return Ok(());
            };
            if about.last == followed.newest {
                // As many keys as are known: none has vanished without a trace.
                if about.keys != self.shared.known().heads.len() as u64 {
                    self.followed = None;
                    return Ok(());
                }
                self.shared.set_state(State::Ready);
                return Ok(());
            }
            let mut known = self.shared.known().clone();
            let mut seen = Vec::new();
            while followed.newest < about.last {
                let Some(entry) = bucket.next(followed.newest + 1, None).await? else {
                    break;
                };
                followed.newest = entry.sequence;
                seen.push(entry);
            }
            followed.newest = followed.newest.max(about.last);
            // What was read is the stream's that is followed: it still is the same.
            let about = bucket.about().await?;
            if !about.is_some_and(|about| about.is(&followed)) {
                self.followed = None;
                return Ok(());
            }
            for entry in &seen {
                // An error is reported, and what stood there stays.
                known.put(entry).ok();
                if entry.key == names::META && !known.follow(entry) {
                    self.followed = None;
                    return Ok(());
                }
            }
            known.contents.revision = known.base() + followed.newest;
            self.followed = Some(followed);
            self.keep(known).await;
        }
    }

    /// Reads all, and compares it with what is known.
    async fn list(&mut self, bucket: &Bucket) -> Result<(), Trouble> {
        let about = bucket.about().await?;
        if let Some(doubt) = &mut self.doubt
            && doubt.about == about
        {
            doubt.looks += 1;
            self.doubtful();
            return Ok(());
        }
        let found = self.find(bucket, about.as_ref()).await?;
        let sequence = found.meta().map_or(0, |entry| entry.sequence);
        let since = match self.claim {
            Some((claim, since)) if claim == sequence => since,
            _ => Instant::now(),
        };
        self.claim = Some((sequence, since));
        let verdict = self.shared.known().judge(&found);
        match verdict {
            Verdict::Take(identity) => self.take(bucket, about, &found, identity).await?,
            Verdict::Vacant => self.found_store(bucket, &found).await?,
            Verdict::Claimed(_) if since.elapsed() > CLAIM => {
                self.found_store(bucket, &found).await?;
            }
            Verdict::Claimed(reason) => self.degrade(&reason),
            Verdict::Doubtful(reason) => {
                let before = self.doubt.take();
                self.doubt = Some(Doubt {
                    reason,
                    since: before.as_ref().map_or_else(Instant::now, |it| it.since),
                    looks: before.map_or(1, |it| it.looks + 1),
                    about,
                });
                self.doubtful();
            }
        }
        Ok(())
    }

    /// Reads the newest entry of every key.
    pub(super) async fn find(
        &self,
        bucket: &Bucket,
        about: Option<&About>,
    ) -> Result<Found, Trouble> {
        let Some(about) = about else {
            return Ok(Found::default());
        };
        let entries = bucket.all_newest().await?;
        let newest = self.shared.known().newest().map(|(_, head)| head.sequence);
        Ok(Found {
            newest: about.last,
            entries,
            at_newest: match newest {
                Some(sequence) => bucket.at(sequence).await?,
                None => None,
            },
        })
    }

    /// Takes what is found in place of what is known, and follows the stream from there.
    async fn take(
        &mut self,
        bucket: &Bucket,
        about: Option<About>,
        found: &Found,
        identity: Identity,
    ) -> Result<(), Trouble> {
        let Some(about) = about else {
            return Ok(());
        };
        let mut known = self.shared.known().clone();
        for key in known.take(identity, found) {
            // What is read of it is the newest that can be.
            let name = names::name(&key);
            for entry in history(bucket, &name).await?.into_iter().rev() {
                let revision = known.base() + entry.sequence;
                if let Ok(record) = read(&entry, &key, revision) {
                    known.contents.put(record);
                    break;
                }
            }
        }
        if about.history.is_some_and(|kept| kept < REVISIONS as u64) {
            tracing::warn!(
                "the bucket {} keeps less than {REVISIONS} revisions of each document; \
                 `wampgate` would have made it with as many",
                self.shared.address.bucket
            );
        }
        self.doubt = None;
        self.claim = None;
        self.followed = Some(Followed {
            created: about.created,
            newest: about.last,
        });
        self.keep(known).await;
        // What came meanwhile; it says `Ready` when it has found that there is no more.
        self.look(bucket).await
    }

    /// Founds a store in an empty bucket. It is listed at the next look, whoever was faster.
    async fn found_store(&mut self, bucket: &Bucket, found: &Found) -> Result<(), Trouble> {
        self.make(bucket).await?;
        let identity = {
            let known = self.shared.known();
            let newest = known.newest().map_or(0, |(_, head)| head.sequence);
            Identity::found(known.identity.iter().map(|identity| (identity, newest)))
        };
        let meta = Meta {
            identity: Some(identity),
            claim: None,
            author: format!("gateway {}", self.shared.instance),
        };
        // Also one that deletes it, or claims it and is old.
        let before = found.entries.iter().find(|entry| entry.key == names::META);
        let after = After {
            key: before.map_or(0, |entry| entry.sequence),
            all: Some(found.newest),
        };
        bucket
            .append(names::META, meta.encode(), false, after)
            .await?;
        self.shared.nudge.notify_one();
        Ok(())
    }

    /// Makes the bucket where there is none.
    pub(super) async fn make(&self, bucket: &Bucket) -> Result<(), Trouble> {
        let make = Make {
            history: REVISIONS,
            replicas: self.shared.address.replicas,
            max_age: None,
        };
        bucket.make(make).await
    }

    /// Keeps what is known now: in the snapshot, then for all who look.
    async fn keep(&mut self, known: Known) {
        self.saver.save(known.clone()).await;
        let contents = known.contents.clone();
        *self.shared.known() = known;
        self.shared.contents.send_if_modified(|present| {
            let differs = *present != contents;
            *present = contents;
            differs
        });
    }

    /// Says that the store cannot be reached, or used. Before it ever was, the log does: the state
    /// is that it has not been reached yet.
    fn degrade(&mut self, reason: &str) {
        let is_known = self.shared.known().identity.is_some();
        if is_known {
            let reason = reason.to_owned();
            self.shared.set_state(State::Degraded { reason });
        } else if self.said.as_deref() != Some(reason) {
            tracing::warn!("the store is not ready: {reason}");
            self.said = Some(reason.to_owned());
        }
    }

    /// Says that what is found is wrong; holds it if that has been so for long enough.
    fn doubtful(&mut self) {
        let Some(doubt) = self.doubt.clone() else {
            return;
        };
        let reason = doubt.reason;
        if doubt.since.elapsed() >= DOUBT.0 && doubt.looks >= DOUBT.1 {
            self.shared.set_state(State::Held { reason });
        } else {
            self.degrade(&format!("{reason}; looking again"));
        }
    }

    /// Follows at the next look whatever is there, compared anew.
    pub(super) fn compare_anew(&mut self) {
        self.followed = None;
        self.doubt = None;
        self.shared.nudge.notify_one();
    }
}

impl About {
    fn is(&self, followed: &Followed) -> bool {
        self.created == followed.created && self.last >= followed.newest
    }
}

/// Returns all entries of a key, the oldest first.
pub(super) async fn history(
    bucket: &Bucket,
    key: &str,
) -> Result<Vec<super::bucket::Entry>, Trouble> {
    let mut entries = Vec::new();
    let mut next = 1;
    while let Some(entry) = bucket.next(next, Some(key)).await? {
        next = entry.sequence + 1;
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
