//! The gateways that share a store, in a second bucket beside it.
//!
//! It is in memory only and forgets by itself: an entry that its gateway does not renew is gone
//! after [`AGE`], so that nobody has to find out who died.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Shared;
use super::bucket::{Bucket, Make};
use super::keeper::ticks;
use super::link::{Link, Trouble};
use crate::store::Gateway;

/// How often a gateway tells of itself.
const EVERY: Duration = Duration::from_secs(4);

/// After how long a gateway that tells nothing is forgotten.
const AGE: Duration = Duration::from_secs(15);

#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    version: String,
    revision: u64,
    state: String,
    time_ms: u64,
}

/// Tells of this gateway again and again, and whenever there is something new to tell.
pub(super) async fn run(shared: Arc<Shared>, mut gateway: watch::Receiver<Option<Gateway>>) {
    let mut link = shared.link.subscribe();
    let mut tick = ticks(EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            Ok(()) = link.changed() => {}
            Ok(()) = gateway.changed() => {}
        }
        let connected = link.borrow_and_update().clone();
        let present = gateway.borrow_and_update().clone();
        if let (Some(link), Some(gateway)) = (connected, present)
            && let Err(trouble) = tell(&shared, link, &gateway).await
        {
            // The store's own state says what there is to say.
            tracing::debug!("the other gateways are not told of this one: {trouble}");
        }
    }
}

async fn tell(shared: &Shared, link: Arc<Link>, gateway: &Gateway) -> Result<(), Trouble> {
    let bucket = bucket(shared, link);
    let told = bucket.put(&key(gateway), encode(gateway), false).await;
    if told != Err(Trouble::Nobody) {
        return told;
    }
    let make = Make {
        history: 1,
        replicas: shared.address.replicas,
        max_age: Some(AGE),
    };
    bucket.make(make).await?;
    bucket.put(&key(gateway), encode(gateway), false).await
}

/// Tells that this gateway ends.
pub(super) async fn leave(shared: &Shared, link: Arc<Link>, gateway: &Gateway) {
    let left = bucket(shared, link)
        .put(&key(gateway), Vec::new(), true)
        .await;
    if let Err(trouble) = left {
        tracing::debug!("the other gateways are not told that this one ends: {trouble}");
    }
}

/// Returns the gateways that are there, by id.
///
/// # Errors
///
/// See [`Trouble`].
pub(super) async fn list(shared: &Shared, link: Arc<Link>) -> Result<Vec<Gateway>, Trouble> {
    let bucket = bucket(shared, link);
    if bucket.about().await?.is_none() {
        return Ok(Vec::new());
    }
    let entries = bucket.all_newest().await?.into_iter();
    let entries = entries.filter(|entry| !entry.is_deletion);
    let mut gateways: Vec<_> = entries.filter_map(|entry| decode(&entry.payload)).collect();
    gateways.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(gateways)
}

fn bucket(shared: &Shared, link: Arc<Link>) -> Bucket {
    Bucket::new(link, format!("{}_gateways", shared.address.bucket))
}

/// Ids are chosen by gateways, and may be anything.
fn key(gateway: &Gateway) -> String {
    data_encoding::HEXLOWER.encode(gateway.id.as_bytes())
}

fn encode(gateway: &Gateway) -> Vec<u8> {
    let stored = Stored {
        id: gateway.id.clone(),
        version: gateway.version.clone(),
        revision: gateway.revision,
        state: gateway.state.clone(),
        time_ms: gateway.time_ms,
    };
    serde_json::to_vec(&stored).expect("texts and numbers are JSON")
}

/// None for what a later version tells in another way.
fn decode(bytes: &[u8]) -> Option<Gateway> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    Some(Gateway {
        id: stored.id,
        version: stored.version,
        revision: stored.revision,
        state: stored.state,
        time_ms: stored.time_ms,
    })
}
