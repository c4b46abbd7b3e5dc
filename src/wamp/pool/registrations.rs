//! The procedures that are registered at a router, followed by its registration meta API.
//!
//! One session subscribes to what is created and deleted, and only then asks for what there is: so
//! nothing falls in between. What is told twice does no harm, because a registration's id is never
//! given again. Events of both kinds come through one queue, which keeps their order.
//!
//! Where a router has no such API, or does not let us use it, the map says that it does not know,
//! and nothing else: it is a convenience. It is asked again when the session has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::uri::{Match, Uri, UriCheck, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::client::{Call, Client, Event, Held, Inbox, SubscribeOptions, Wanted};
use crate::wamp::error::{CallError, chain, clipped, uris};
use crate::wamp::id::RegistrationId;
use crate::wamp::message::Payload;
use crate::wamp::pool::Shared;
use crate::wamp::pool::backoff::Backoff;

const ON_CREATE: &str = "wamp.registration.on_create";
const ON_DELETE: &str = "wamp.registration.on_delete";
const LIST: &str = "wamp.registration.list";
const GET: &str = "wamp.registration.get";

/// More registrations than this are not kept; the map then no longer knows what is *not* there.
const MAX_REGISTRATIONS: usize = 20_000;
/// So many events wait while the map is being filled; if more come it is filled anew.
const MAX_WAITING_EVENTS: usize = 1024;
/// So many registrations are asked about at once.
const MAX_ASKED_AT_ONCE: usize = 16;
/// Longest wait for each answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Whether the map can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegistrationsState {
    /// Not yet, or not now: it is being filled, or there is no session.
    #[default]
    Loading,
    /// It follows the router.
    Live,
    /// The router has no registration meta API, or does not let us use it.
    Unavailable,
}

impl RegistrationsState {
    /// Returns the name that status pages and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            RegistrationsState::Loading => "loading",
            RegistrationsState::Live => "live",
            RegistrationsState::Unavailable => "unavailable",
        }
    }
}

/// What is told about the map itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationsStatus {
    /// Whether it can be relied on.
    pub state: RegistrationsState,
    /// How many registrations it holds.
    pub count: usize,
    /// Whether there are more than it holds: beyond 20,000 none is added, and one whose URI is not a
    /// URI is left out.
    pub is_partial: bool,
    /// Why it is not filled, if the router said so.
    pub reason: Option<String>,
}

/// A map of the procedures that are registered at the router, which follows it. Cheap to clone; it
/// ends with the last clone and the pool.
///
/// Reference: WAMP Advanced Profile, "Registration Meta API".
#[derive(Debug, Clone)]
pub struct Registrations {
    known: Arc<watch::Sender<Known>>,
    _follower: Arc<JoinSet<()>>,
}

impl Registrations {
    pub(super) fn follow(pool: Arc<Shared>) -> Self {
        let known = Arc::new(watch::Sender::new(Known::default()));
        let mut follower = JoinSet::new();
        follower.spawn(follow(pool, known.clone()));
        Self {
            known,
            _follower: Arc::new(follower),
        }
    }

    /// Returns whether a call of `procedure` would find a callee: `None` where that is not known.
    ///
    /// What begins with `wamp.` may be there without a registration: of that only `true` is known.
    pub fn covers(&self, procedure: &str) -> Option<bool> {
        let known = self.known.borrow();
        if known.state != RegistrationsState::Live {
            return None;
        }
        let is_covered = known.exact.contains_key(procedure)
            || known
                .patterns
                .values()
                .any(|pattern| pattern.covers(procedure));
        let may_be_hidden = known.is_partial || procedure.starts_with("wamp.");
        (is_covered || !may_be_hidden).then_some(is_covered)
    }

    /// Returns all that are known, in order; none while the map is not live.
    pub fn list(&self) -> Vec<UriPattern> {
        let known = self.known.borrow();
        let exact = known.by_id.values().chain(known.patterns.values());
        let mut all: Vec<_> = exact.cloned().collect();
        all.sort();
        all
    }

    /// Returns whether the map can be relied on, and why not.
    pub fn status(&self) -> RegistrationsStatus {
        let known = self.known.borrow();
        RegistrationsStatus {
            state: known.state,
            count: known.len(),
            is_partial: known.is_partial,
            reason: known.reason.clone(),
        }
    }

    /// Waits until `condition` holds for the map; it is asked whenever the map has changed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut news = self.known.subscribe();
        while !condition(self) {
            if news.changed().await.is_err() {
                // The sender lives in `self`.
                return;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    state: RegistrationsState,
    reason: Option<String>,
    is_partial: bool,
    /// The exact ones.
    by_id: HashMap<RegistrationId, UriPattern>,
    /// Each of `by_id` by its URI.
    exact: HashMap<Arc<str>, RegistrationId>,
    /// The prefixes and wildcards: few, and to be gone through.
    patterns: HashMap<RegistrationId, UriPattern>,
}

impl Known {
    fn len(&self) -> usize {
        self.by_id.len() + self.patterns.len()
    }

    fn add(&mut self, id: RegistrationId, pattern: Option<UriPattern>) {
        let Some(pattern) = pattern.filter(|_| self.len() < MAX_REGISTRATIONS) else {
            self.is_partial = true;
            return;
        };
        if pattern.policy() == Match::Exact {
            self.exact.insert(pattern.matched(None), id);
            self.by_id.insert(id, pattern);
        } else {
            self.patterns.insert(id, pattern);
        }
    }

    fn remove(&mut self, id: RegistrationId) {
        self.patterns.remove(&id);
        if let Some(pattern) = self.by_id.remove(&id)
            // Another one of the same URI may have been created meanwhile.
            && self.exact.get(pattern.as_str()) == Some(&id)
        {
            self.exact.remove(pattern.as_str());
        }
    }

    /// Takes in an event of the router's.
    fn apply(&mut self, event: &Event) {
        let Some(subject) = event.payload.args().get(1) else {
            return;
        };
        if &*event.topic == ON_DELETE {
            if let Some(id) = subject.as_u64() {
                self.remove(RegistrationId(id));
            }
        } else if let Some((id, pattern)) = registration(subject) {
            self.add(id, pattern);
        }
    }
}

/// Reads what the router tells about one registration; without a pattern, if that is none.
fn registration(details: &Value) -> Option<(RegistrationId, Option<UriPattern>)> {
    let details = details.as_map()?;
    let id = details.get("id").and_then(Value::as_u64)?;
    let uri = details.get("uri").and_then(Value::as_text);
    let policy = match details.get("match").and_then(Value::as_text) {
        Some(name) => Match::from_name(name),
        None => Some(Match::Exact),
    };
    let pattern = uri
        .zip(policy)
        .and_then(|(uri, policy)| UriPattern::parse(uri, policy, UriCheck::Loose).ok());
    Some((RegistrationId(id), pattern))
}

/// Follows the router of `pool` until that is drained or gone.
async fn follow(pool: Arc<Shared>, known: Arc<watch::Sender<Known>>) {
    let mut gone = pool.keepers.subscribe();
    tokio::select! {
        () = follow_sessions(&pool, &known) => {}
        _ = gone.wait_for(|keepers| *keepers == 0) => {}
    }
    known.send_replace(Known::default());
}

async fn follow_sessions(pool: &Shared, known: &watch::Sender<Known>) {
    let mut backoff = Backoff::new(pool.config.reconnect, fastrand::Rng::new());
    // An error means that the pool is being drained.
    while let Ok(client) = pool.session(Duration::MAX).await {
        let began = Instant::now();
        let wait = match follow_session(&client, known).await {
            Ok(()) => {
                known.send_replace(Known::default());
                backoff.lived(began.elapsed());
                if !client.is_open() {
                    continue;
                }
                backoff.wait(false)
            }
            Err(Failure::Unavailable(reason)) => {
                tracing::debug!(realm.uri = %pool.realm, %reason, "no map of registrations");
                known.send_replace(Known {
                    state: RegistrationsState::Unavailable,
                    reason: Some(clipped(reason)),
                    ..Known::default()
                });
                client.closed().await;
                continue;
            }
            Err(Failure::Trouble(error)) => {
                let error = chain(&error);
                tracing::debug!(realm.uri = %pool.realm, %error, "no map of registrations yet");
                known.send_replace(Known::default());
                backoff.wait(false)
            }
        };
        sleep(wait).await;
    }
}

enum Failure {
    /// This router does not tell, or not to us.
    Unavailable(String),
    /// It was not told this time.
    Trouble(CallError),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Application(error) => Failure::Unavailable(error.uri),
            error => Failure::Trouble(error),
        }
    }
}

/// Keeps the map while the session lasts and the router's events come.
async fn follow_session(client: &Client, known: &watch::Sender<Known>) -> Result<(), Failure> {
    // Some routers close a session over what they do not know: where it is not announced, it is
    // not tried.
    if !client.welcome().dealer_has("registration_meta_api") {
        let reason = "the router does not announce a registration meta API";
        return Err(Failure::Unavailable(reason.to_owned()));
    }
    let (inbox, mut events) = Inbox::new(MAX_WAITING_EVENTS);
    let dropped = inbox.dropped.clone();
    let mut created = subscribe(client, ON_CREATE, inbox.clone()).await?;
    let mut deleted = subscribe(client, ON_DELETE, inbox).await?;
    loop {
        // What waits is older than the list that is asked for next, which says it all.
        while events.try_recv().is_ok() {}
        let losses = dropped.load(Ordering::Relaxed);
        let loaded = load(client).await?;
        known.send_replace(loaded);
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => take(known, &event, &mut events),
                () = created.ended() => return Ok(()),
                () = deleted.ended() => return Ok(()),
            }
            if dropped.load(Ordering::Relaxed) != losses {
                break;
            }
        }
    }
}

/// Takes in an event and those that have come with it.
fn take(known: &watch::Sender<Known>, first: &Event, more: &mut mpsc::Receiver<Event>) {
    known.send_modify(|known| {
        known.apply(first);
        while let Ok(event) = more.try_recv() {
            known.apply(&event);
        }
    });
}

async fn subscribe(client: &Client, topic: &str, inbox: Inbox) -> Result<Held, CallError> {
    let wanted = Wanted::subscription(uri(topic).into(), SubscribeOptions::default(), inbox);
    wanted.establish(client).await
}

/// Asks for all registrations that there are.
async fn load(client: &Client) -> Result<Known, Failure> {
    let lists = ask(client, LIST, Vec::new()).await?;
    let Some(lists) = lists.as_ref().and_then(Value::as_map) else {
        return Err(Failure::Unavailable(format!("{LIST} brings no lists")));
    };
    let mut ids: Vec<u64> = Match::ALL
        .iter()
        .filter_map(|policy| lists.get(policy.name())?.as_list())
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    let mut known = Known {
        state: RegistrationsState::Live,
        is_partial: ids.len() > MAX_REGISTRATIONS,
        ..Known::default()
    };
    ids.truncate(MAX_REGISTRATIONS);
    let mut answers = stream::iter(ids)
        .map(|id| ask(client, GET, vec![id.into()]))
        .buffer_unordered(MAX_ASKED_AT_ONCE);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(details) => match details.as_ref().and_then(registration) {
                Some((id, pattern)) => known.add(id, pattern),
                None => known.is_partial = true,
            },
            // Deleted since it was listed.
            Err(CallError::Application(error)) if error.uri == uris::NO_SUCH_REGISTRATION => {}
            Err(error) => return Err(error.into()),
        }
    }
    drop(answers);
    Ok(known)
}

async fn ask(client: &Client, what: &str, args: Vec<Value>) -> Result<Option<Value>, CallError> {
    let payload = Payload::new(args, Map::new());
    let result = client
        .call(Call::new(uri(what), payload, ANSWER_WAIT))
        .await?;
    let (args, _) = result.payload.into_parts();
    Ok(args.into_iter().next())
}

fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Strict).expect("the names of the meta API are URIs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str, policy: Match) -> Option<UriPattern> {
        UriPattern::parse(text, policy, UriCheck::Loose).ok()
    }

    #[test]
    fn what_is_told_twice_or_in_another_order_does_no_harm() {
        let mut known = Known::default();
        let exact = || pattern("com.a", Match::Exact);
        known.add(RegistrationId(1), exact());
        known.add(RegistrationId(1), exact());
        // Registered anew before the end of the old one is told.
        known.add(RegistrationId(2), exact());
        known.remove(RegistrationId(1));
        known.remove(RegistrationId(1));
        assert_eq!(known.exact.get("com.a"), Some(&RegistrationId(2)));
        assert_eq!(known.len(), 1);
        known.remove(RegistrationId(2));
        assert!(known.exact.is_empty() && known.len() == 0 && !known.is_partial);
    }

    #[test]
    fn the_map_is_bounded_and_says_so() {
        let mut known = Known::default();
        for id in 0..MAX_REGISTRATIONS as u64 + 5 {
            known.add(
                RegistrationId(id),
                pattern(&format!("p.{id}"), Match::Prefix),
            );
        }
        assert_eq!(known.len(), MAX_REGISTRATIONS);
        assert!(known.is_partial);
    }
}
