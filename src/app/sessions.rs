//! The pools of the realms that are served: which there are, and how one takes another's place.
//!
//! A realm that stays as it is keeps its sessions. One that is new, or reached otherwise, gets its
//! pool before the table that needs it. One that is not used any more keeps its pool as long as a
//! request holds a table that names the realm, so that no request finds it gone. And a pool that has
//! been taken out ends when nobody holds it: each request holds the pool that it has found until it
//! has its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::POOL_DRAIN;
use crate::gateway::table::RouteTable;
use crate::uri::Uri;
use crate::wamp::config::RouterConfig;
use crate::wamp::pool::{Pool, Pools};

/// Longest wait for the first session of a new pool before requests are sent its way: long enough
/// for a router that answers, and no reason to keep other changes back for one that does not.
pub(super) const FIRST_SESSION: Duration = Duration::from_millis(500);

/// How often it is looked whether requests still need what is to go.
const LOOK: Duration = Duration::from_millis(50);

/// Longest time that calls in flight keep a pool which nobody can find any more.
const LONGEST_LEAVE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Sessions {
    pools: Pools,
    /// The realms that have a pool, and how it reaches the router.
    present: BTreeMap<Uri, RouterConfig>,
    /// Realms that no table of now uses, and the tables that may.
    unused: BTreeMap<Uri, Unused>,
    /// Tables that were installed before and that requests may still hold.
    tables: Vec<Weak<RouteTable>>,
    /// Pools that end.
    leaving: JoinSet<()>,
    /// Set when all that leaves has to hurry.
    ending: watch::Sender<bool>,
}

#[derive(Debug)]
struct Unused {
    config: RouterConfig,
    tables: Vec<Weak<RouteTable>>,
}

impl Sessions {
    pub(super) fn new(pools: Pools) -> Self {
        Self {
            pools,
            present: BTreeMap::new(),
            unused: BTreeMap::new(),
            tables: Vec::new(),
            leaving: JoinSet::new(),
            ending: watch::Sender::new(false),
        }
    }

    /// Starts the pools of `wanted` realms that are new, and replaces those that are reached
    /// otherwise now. Waits up to `patience` for a session of each. To be called before the table is
    /// installed that uses them.
    pub(super) async fn provide(
        &mut self,
        wanted: &BTreeMap<Uri, RouterConfig>,
        patience: Duration,
    ) {
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (realm, config) in wanted {
            // What was about to go stays, if it is what is wanted.
            let before = match self.unused.remove(realm) {
                Some(unused) => Some(unused.config),
                None => self.present.get(realm).cloned(),
            };
            self.present.insert(realm.clone(), config.clone());
            match before {
                Some(before) if before == *config => {}
                Some(_) => changed.push(Pool::start(realm.clone(), config.clone())),
                // Whoever looks for it finds it at once, and waits for its sessions.
                None => new.push(self.pools.start(realm, config.clone())),
            }
        }
        let all = new.iter().chain(&changed);
        join_all(all.map(|pool| pool.ready(patience))).await;
        for pool in changed {
            let realm = pool.realm().clone();
            tracing::info!(realm.uri = %realm, "realm {realm} is reached otherwise: new sessions");
            if let Some(replaced) = self.pools.replace(pool) {
                self.leave(replaced);
            }
        }
    }

    /// Lets go of the realms that are not `wanted`, as soon as no request holds a table any more
    /// that was installed before. To be called when the new table is installed.
    pub(super) fn release(
        &mut self,
        wanted: &BTreeMap<Uri, RouterConfig>,
        table: &Arc<RouteTable>,
    ) {
        let is_other = |it: &Weak<RouteTable>| !std::ptr::eq(it.as_ptr(), Arc::as_ptr(table));
        self.tables
            .retain(|it| it.strong_count() > 0 && is_other(it));
        self.tables.push(Arc::downgrade(table));
        let is_unused = |realm: &Uri| !wanted.contains_key(realm);
        for (realm, config) in self.present.extract_if(.., |realm, _| is_unused(realm)) {
            tracing::info!(realm.uri = %realm, "realm {realm} is not used any more");
            let tables = self.tables.clone();
            self.unused.insert(realm, Unused { config, tables });
        }
    }

    /// Waits until something that was not used any more has ended; forever if there is nothing.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn swept(&mut self) {
        loop {
            let is_free = |unused: &Unused| {
                let mut tables = unused.tables.iter();
                tables.all(|table| table.strong_count() == 0)
            };
            let free = self.unused.extract_if(.., |_, unused| is_free(unused));
            let free: Vec<Uri> = free.map(|(realm, _)| realm).collect();
            for realm in free {
                if let Some(pool) = self.pools.remove(realm.as_str()) {
                    self.leave(pool);
                }
            }
            tokio::select! {
                Some(_) = self.leaving.join_next() => return,
                () = sleep(LOOK), if !self.unused.is_empty() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Returns whether nothing is on its way out.
    pub(super) fn is_settled(&self) -> bool {
        self.unused.is_empty() && self.leaving.is_empty()
    }

    fn leave(&mut self, pool: Pool) {
        self.leaving.spawn(leave(pool, self.ending.subscribe()));
    }

    /// Ends what is on its way out, in good order but soon. The pools that are in use are not
    /// touched.
    pub(super) async fn end(mut self) {
        self.ending.send_replace(true);
        while self.leaving.join_next().await.is_some() {}
    }
}

/// Ends a pool when the last request that holds it has its answer.
async fn leave(pool: Pool, mut ending: watch::Receiver<bool>) {
    let latest = Instant::now() + LONGEST_LEAVE;
    while pool.is_shared() && Instant::now() < latest {
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = ending.wait_for(|ending| *ending) => break,
        }
    }
    pool.drain(POOL_DRAIN).await;
}
