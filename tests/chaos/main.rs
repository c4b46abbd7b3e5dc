//! A storm between a gateway and its router: connections are cut, delayed and left half-open, the
//! router is stopped, continued, killed and restarted, while two hundred clients ask.
//!
//! Whatever happens, each answer is the right one for its own request or a clear 502, 503 or 504.
//! What may not be repeated is executed once at most, and not at all where the answer says that
//! nobody saw it. After the storm everybody is served again, and nothing is left over.
//!
//! `WAMPGATE_CHAOS_SEED` repeats the actions of a run (not the scheduler's), and
//! `WAMPGATE_CHAOS_SECONDS` says how long the storm lasts; `make test` lets it last longer.

#[path = "../gateway/http.rs"]
mod http;
mod proxy;
mod router;
#[path = "../gateway/support.rs"]
#[expect(dead_code, reason = "the gateway's tests use the rest of it")]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wampgate::app::App;
use wampgate::value::Value;
use wampgate::wamp::client::{Invocation, RegisterOptions};
use wampgate::wamp::config::{Endpoint, Reconnect, RouterConfig};
use wampgate::wamp::error::ApplicationError;
use wampgate::wamp::message::Payload;
use wampgate::wamp::pool::{OfferState, Pool, PoolRegistration, PoolState};

use http::Http;
use proxy::{Proxy, Weather};
use router::Router;
use support::{REALM, plan, session_config, sessions, uri, url};

const CALLERS: u64 = 200;
const CALLEES: u64 = 2;
const SESSIONS: usize = 4;

/// Longest wait for what must come: a bound, not an expectation.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much more memory may be in use after the storm: buffers, an allocator that keeps pages.
/// A leak of the storm's requests would be far more.
const MEMORY_SLACK_KIB: u64 = 96 * 1024;

/// A callee that is away looks like one that never was, and one that dies in mid-call like one that
/// cancels. Here it is known to be the former, and the spec says so.
const SPEC: &str = r#"{
    "id": "chaos", "host": "_", "realm_uri": "com.test",
    "status_codes": {"wamp.error.no_such_procedure": 503, "wamp.error.canceled": 502},
    "defaults": {"timeout": 1500, "connect_timeout": 700},
    "versions": {"1": {"base_path": "/", "paths": {
        "/work/:callee": {
            "post": {"action": {"type": "wamp_call", "retries": 2, "retry_timeout": 500,
                "procedure": "com.test.work.{{request.bindings.callee}}",
                "args": ["{{request.body}}"]}}},
        "/look/:callee/:token": {
            "get": {"action": {"type": "wamp_call", "retries": 2, "retry_timeout": 500,
                "procedure": "com.test.look.{{request.bindings.callee}}",
                "args": ["{{request.bindings.token}}"]}}}
    }}}
}"#;

#[expect(clippy::disallowed_methods, reason = "a test's own switches")]
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_every_answer_is_right_or_clear_and_nothing_is_left_over() {
    let seed = setting("WAMPGATE_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let length = Duration::from_secs(setting("WAMPGATE_CHAOS_SECONDS").unwrap_or(10));
    eprintln!("WAMPGATE_CHAOS_SEED={seed}");

    let mut router = Router::start(REALM).await;
    let proxy = Proxy::to(router.address).await;
    let executed = Arc::new(Executed::default());
    let stop = Arc::new(AtomicBool::new(false));
    let callees: Vec<_> = (0..CALLEES)
        .map(|number| callee(number, config(seed, &proxy), executed.clone()))
        .collect();
    let mut plan = plan(SPEC, url(proxy.address));
    *sessions(&mut plan) = config(seed, &proxy);
    let app = App::start(plan).await.expect("a free port");
    let pool = app.gateway().pools.get(REALM).expect("a pool");
    let all_pools: Vec<_> = callees
        .iter()
        .map(|(pool, _)| pool)
        .chain([&pool])
        .collect();

    nothing_is_left(&all_pools).await;
    let unused = Usage::now();
    let http = Http::to(app.local_addrs()[0]);
    everybody_is_served(&http, seed).await;
    let before = Usage::now();

    let seen = Arc::new(Seen::default());
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (http, seen, stop) = (http.clone(), seen.clone(), stop.clone());
        callers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed ^ caller << 32);
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let token = format!("{caller}-{number}");
                ask(&http, token, &mut random, &seen).await;
            }
        });
    }
    let did = storm(seed, length, &mut router, &proxy).await;
    stop.store(true, Ordering::Relaxed);
    let ended = timeout(PATIENCE, callers.join_all()).await;
    ended.expect("callers that end");

    let statuses = seen.statuses.lock().unwrap().clone();
    let told = format!("seed {seed}, {did:?}, {statuses:?}");
    eprintln!("{told}");
    assert!(
        statuses
            .keys()
            .all(|status| [200, 502, 503, 504].contains(status)),
        "{told}"
    );
    assert!(statuses[&200] > CALLERS && statuses.len() > 1, "{told}");

    everybody_is_served(&http, seed).await;
    nothing_is_left(&all_pools).await;
    {
        let executed = executed.0.lock().unwrap();
        let twice: Vec<_> = executed.iter().filter(|(_, count)| **count > 1).collect();
        assert!(
            twice.is_empty(),
            "executed more than once: {twice:?} {told}"
        );
    }
    for token in seen.refused.lock().unwrap().iter() {
        assert_eq!(executed.count(token), 0, "{token} was answered 503 {told}");
    }
    let after = Usage::now();
    eprintln!("before {before:?}\nafter  {after:?}");
    assert!(
        after.memory_kib < before.memory_kib + MEMORY_SLACK_KIB,
        "{told} {before:?} {after:?}"
    );
    drop(http);
    unused.returns().await;

    app.stop().await;
    drop(callees);
}

/// Through the proxy, and quick to see that the other end is gone. By seed over RawSocket, which
/// has no pings: there a router that is stopped is seen only by what it does not answer.
fn config(seed: u64, proxy: &Proxy) -> RouterConfig {
    let endpoint = if seed.is_multiple_of(2) {
        url(proxy.address)
    } else {
        Endpoint::from(format!("tcp://{}", proxy.address).as_str())
    };
    RouterConfig {
        sessions: SESSIONS,
        heartbeat: Some(Duration::from_millis(400)),
        connect_timeout: Duration::from_secs(1),
        reconnect: Reconnect {
            min: Duration::from_millis(10),
            max: Duration::from_millis(200),
        },
        ..session_config(endpoint)
    }
}

// ---- who answers ----

/// How often each token was worked on.
#[derive(Debug, Default)]
struct Executed(Mutex<HashMap<String, u32>>);

impl Executed {
    fn begins(&self, token: String) {
        *self.0.lock().unwrap().entry(token).or_default() += 1;
    }

    fn count(&self, token: &str) -> u32 {
        self.0.lock().unwrap().get(token).copied().unwrap_or(0)
    }
}

/// A callee, whose sessions are lost as the gateway's are.
fn callee(
    number: u64,
    config: RouterConfig,
    executed: Arc<Executed>,
) -> (Pool, [PoolRegistration; 2]) {
    let pool = Pool::start(uri(REALM), config);
    let work = uri(&format!("com.test.work.{number}"));
    let work = pool.register(work, RegisterOptions::default(), move |call| {
        let sent = call.payload.args()[0].as_text().unwrap();
        executed.begins(sent.trim_end_matches('x').to_owned());
        answer(call)
    });
    let look = uri(&format!("com.test.look.{number}"));
    let look = pool.register(look, RegisterOptions::default(), answer);
    (pool, [work.unwrap(), look.unwrap()])
}

/// Gives back what it was called with, now and then after a while.
async fn answer(call: Invocation) -> Result<Payload, ApplicationError> {
    if fastrand::u8(..4) == 0 {
        sleep(Duration::from_millis(fastrand::u64(1..30))).await;
    }
    Ok(call.payload)
}

// ---- who asks ----

/// What the callers have seen.
#[derive(Debug, Default)]
struct Seen {
    statuses: Mutex<BTreeMap<u16, u64>>,
    /// What was said not to have been executed.
    refused: Mutex<Vec<String>>,
}

/// Asks once, and looks closely at the answer.
async fn ask(http: &Http, token: String, random: &mut fastrand::Rng, seen: &Seen) {
    let callee = random.u64(..CALLEES);
    let is_work = random.bool();
    let (answer, sent) = if is_work {
        // Now and then more than fits one write, so that connections are cut in mid-message.
        let is_large = random.u8(..16) == 0;
        let padding = if is_large { random.usize(..200_000) } else { 0 };
        let sent = format!("{token}{}", "x".repeat(padding));
        let path = format!("/work/{callee}");
        (http.json("POST", &path, &format!("\"{sent}\"")).await, sent)
    } else {
        let path = format!("/look/{callee}/{token}");
        (http.get(&path).await, token.clone())
    };
    let status = answer.status.as_u16();
    let told = || {
        format!(
            "{token}: {}",
            answer.show().chars().take(300).collect::<String>()
        )
    };
    if status == 200 {
        assert!(
            answer.value() == Value::from(sent),
            "another request's answer: {}",
            told()
        );
    } else {
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{}",
            told()
        );
        assert_eq!(
            answer.member("status"),
            Value::from(u64::from(status)),
            "{}",
            told()
        );
    }
    *seen.statuses.lock().unwrap().entry(status).or_default() += 1;
    if status == 503 {
        assert!(!answer.header("retry-after").is_empty(), "{}", told());
        seen.refused.lock().unwrap().push(token);
    }
    if status != 200 {
        // A refusal is at once: do not spin.
        sleep(Duration::from_millis(random.u64(1..50))).await;
    }
}

/// Waits until each caller has been served once.
async fn everybody_is_served(http: &Http, seed: u64) {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let http = http.clone();
        callers.spawn(async move {
            let path = format!("/look/{}/calm-{caller}", caller % CALLEES);
            loop {
                let answer = http.get(&path).await;
                if answer.status == 200 {
                    assert_eq!(answer.show(), format!("200 \"calm-{caller}\""));
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let served = timeout(PATIENCE, callers.join_all()).await;
    served.unwrap_or_else(|_| panic!("seed {seed}: not everybody is served again"));
}

// ---- the storm ----

/// Does something bad every now and then, and in the end makes all good again. Returns what it did,
/// and how often.
async fn storm(
    seed: u64,
    length: Duration,
    router: &mut Router,
    proxy: &Proxy,
) -> BTreeMap<&'static str, u32> {
    let mut did = BTreeMap::new();
    let until = Instant::now() + length;
    for turn in 0.. {
        if Instant::now() >= until {
            break;
        }
        // What a turn does is the seed's, however many connections there are by then.
        let mut random = fastrand::Rng::with_seed(seed ^ turn << 40);
        sleep(Duration::from_millis(random.u64(20..500))).await;
        let action = match random.u8(..20) {
            0..5 => {
                proxy.set(Weather::Cut, |_| random.bool());
                "cut some"
            }
            5..8 => {
                let delay = Duration::from_millis(random.u64(1..100));
                proxy.set(Weather::Slow(delay), |_| random.bool());
                "slow"
            }
            8..10 => {
                proxy.set(Weather::Still, |_| random.bool());
                "half-open"
            }
            10..13 => {
                proxy.set(Weather::Fair, |_| true);
                "fair"
            }
            13..17 => {
                router.stop().await;
                sleep(Duration::from_millis(random.u64(10..1500))).await;
                router.go_on().await;
                "stop"
            }
            17..19 => {
                let meanwhile = Duration::from_millis(random.u64(0..800));
                router.restart(REALM, meanwhile).await;
                "restart"
            }
            _ => {
                proxy.set(Weather::Cut, |_| true);
                "cut all"
            }
        };
        *did.entry(action).or_default() += 1;
    }
    // What is half-open never heals by itself: the router does not ask whether anybody is there.
    proxy.set(Weather::Cut, |weather| weather != Weather::Fair);
    did
}

// ---- what is left ----

/// Waits until all sessions are up and hold nothing, and all procedures are offered.
async fn nothing_is_left(pools: &[&Pool]) {
    let is_settled = |pool: &&Pool| {
        let status = pool.status();
        status.state == PoolState::Ready
            && status.sessions.len() == SESSIONS
            && status.sessions.iter().all(|session| {
                (session.in_flight, session.pending, session.tombstones) == (0, 0, 0)
            })
            && status
                .offers
                .iter()
                .all(|offer| offer.state == OfferState::Established)
    };
    let settled = async {
        while !pools.iter().all(is_settled) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(PATIENCE, settled).await.is_err() {
        let left: Vec<_> = pools.iter().map(|pool| pool.status()).collect();
        panic!("something is left: {left:?}");
    }
}

/// What this process holds.
#[derive(Debug, Clone, Copy)]
struct Usage {
    memory_kib: u64,
    tasks: usize,
    files: usize,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory_kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        Self {
            // Where there is no such file, nothing is said about memory.
            memory_kib: memory_kib.unwrap_or(0),
            tasks: Handle::current().metrics().num_alive_tasks(),
            files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }

    /// Waits until no more tasks run and no more files are open than at that time.
    async fn returns(self) {
        let returned = async {
            loop {
                let now = Self::now();
                if now.tasks <= self.tasks && now.files <= self.files {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, returned).await.is_err() {
            panic!("tasks or files are left: {self:?} became {:?}", Self::now());
        }
    }
}
