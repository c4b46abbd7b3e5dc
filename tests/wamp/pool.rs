//! Pools against routers that come and go.

mod offers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use wampgate::value::Value;
use wampgate::wamp::auth::{Auth, Secret};
use wampgate::wamp::client::{Call, Client};
use wampgate::wamp::config::{Endpoint, RouterConfig};
use wampgate::wamp::error::{CallError, SessionError, chain};
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::Message;
use wampgate::wamp::pool::{Outcomes, Pool, PoolState, Pools, SessionState};
use wampgate::wamp::transport::ConnectError;

use crate::fake_router::{
    FEATURES, FakeRouter, LONG, Peer, args, call, config, map, publish, realm, uri,
};

const SECOND: Duration = Duration::from_secs(1);

fn pool_of(sessions: usize) -> (Pool, FakeRouter) {
    let (router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        sessions,
        ..config(endpoint)
    };
    (Pool::start(realm(), config), router)
}

/// Lets every task run as far as it can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_and_publishes_go_through() {
    let (pool, mut router) = pool_of(1);
    let serve = async {
        let mut peer = router.welcome().await;
        peer.echo().await;
        let Message::Publish { request, .. } = peer.receive().await else {
            panic!("no PUBLISH");
        };
        peer.send_raw(&format!("[17,{request},99]")).await;
        peer
    };
    let talk = async {
        let mut asking = call("com.echo");
        asking.payload = args(["x".into()]);
        let result = pool.call(asking, SECOND).await.unwrap();
        assert_eq!(result.payload.args(), [Value::from("x")]);
        let id = pool.publish(publish("com.t"), SECOND).await.unwrap();
        assert_eq!(id.map(|id| id.0), Some(99));
    };
    tokio::join!(serve, talk);
}

#[tokio::test(start_paused = true)]
async fn the_session_with_the_fewest_in_flight_is_next() {
    let (pool, mut router) = pool_of(2);
    let mut one = router.welcome().await;
    let mut other = router.welcome().await;
    settle().await;
    let calls: Vec<_> = (0..6)
        .map(|_| Box::pin(pool.call(call("com.a"), SECOND)))
        .collect();
    let all = join_all(calls);
    let serve = async {
        for _ in 0..3 {
            let (request, ..) = one.call().await;
            one.result(request, 1_i64).await;
        }
        for _ in 0..3 {
            other.echo().await;
        }
    };
    let (results, ()) = tokio::join!(all, serve);
    assert!(results.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn of_many_sessions_each_gets_about_its_share() {
    let (pool, mut router) = pool_of(4);
    let mut peers = Vec::new();
    for _ in 0..4 {
        peers.push(router.welcome().await);
    }
    settle().await;
    let mut calls = Vec::new();
    for _ in 0..400 {
        let mut calling = Box::pin(pool.call(call("com.a"), SECOND));
        assert!((&mut calling).now_or_never().is_none());
        calls.push(calling);
    }
    let status = pool.status();
    let shares: Vec<_> = status.sessions.iter().map(|one| one.in_flight).collect();
    assert!(
        shares.iter().all(|share| (85..=115).contains(share)),
        "{shares:?}"
    );
    drop(calls);
    settle().await;
    let status = pool.status();
    assert!(status.sessions.iter().all(|one| one.in_flight == 0));
    assert_eq!(status.calls.abandoned, 400);
}

#[tokio::test(start_paused = true)]
async fn full_sessions_are_passed_over_while_one_has_room() {
    let (router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        sessions: 5,
        max_in_flight: 4,
        ..config(endpoint)
    };
    let pool = Pool::start(realm(), config);
    let mut router = router;
    let mut peers = Vec::new();
    for _ in 0..5 {
        peers.push(router.welcome().await);
    }
    settle().await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        let mut calling = Box::pin(pool.call(call("com.a"), SECOND));
        assert!((&mut calling).now_or_never().is_none());
        calls.push(calling);
    }
    let refused = pool.call(call("com.a"), SECOND).await;
    assert!(matches!(refused, Err(CallError::Busy(4))), "{refused:?}");
    assert_eq!(pool.status().calls.unsent, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_router_is_late_is_passed_over_until_it_is_heard() {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        sessions: 2,
        heartbeat: Some(15 * SECOND),
        ..config(endpoint)
    };
    let pool = Pool::start(realm(), config);
    let mut late = router.welcome().await;
    let mut well = router.welcome().await;
    // Pings are answered by reading.
    assert!(timeout(31 * SECOND, well.next()).await.is_err());
    let status = pool.status();
    assert_eq!(status.state, PoolState::Degraded);
    let mut states: Vec<_> = status.sessions.iter().map(|one| one.state.name()).collect();
    states.sort_unstable();
    assert_eq!(states, ["ready", "suspect"]);
    for _ in 0..10 {
        let (result, _) = tokio::join!(pool.call(call("com.a"), SECOND), well.echo());
        result.unwrap();
    }
    assert!(timeout(SECOND, late.next()).await.is_err());
    assert_eq!(pool.status().state, PoolState::Ready);

    // One that is late is better than none.
    assert!(timeout(31 * SECOND, late.next()).await.is_err());
    drop(well);
    router.set_up(false);
    settle().await;
    let (result, _) = tokio::join!(pool.call(call("com.a"), SECOND), late.echo());
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_became_of_requests_is_counted() {
    let (pool, mut router) = pool_of(1);
    let mut peer = router.welcome().await;
    let serve = async {
        peer.echo().await;
        let (request, ..) = peer.call().await;
        peer.send_raw(&format!(r#"[8,48,{request},{{}},"com.error.no"]"#))
            .await;
        peer.call().await;
        assert!(matches!(peer.receive().await, Message::Cancel { .. }));
        let Message::Publish { request, .. } = peer.receive().await else {
            panic!("no PUBLISH");
        };
        peer.send_raw(&format!("[17,{request},1]")).await;
        peer.call().await;
        drop(peer);
    };
    let talk = async {
        pool.call(call("com.a"), SECOND).await.unwrap();
        pool.call(call("com.b"), SECOND).await.unwrap_err();
        let mut hurried = call("com.c");
        hurried.timeout = SECOND;
        pool.call(hurried, SECOND).await.unwrap_err();
        pool.publish(publish("com.t"), SECOND).await.unwrap();
        pool.call(call("com.d"), SECOND).await.unwrap_err();
    };
    tokio::join!(serve, talk);
    router.set_up(false);
    pool.call(call("com.e"), SECOND).await.unwrap_err();
    let unread = pool.call(call("com.f"), SECOND).now_or_never();
    assert!(unread.is_none());
    let status = pool.status();
    let wanted = Outcomes {
        answered: 1,
        errors: 1,
        timeouts: 1,
        lost: 1,
        unsent: 1,
        abandoned: 1,
        moved: 0,
    };
    assert_eq!(status.calls, wanted);
    assert_eq!(status.publishes.answered, 1);
    let session = &status.sessions[0];
    assert_eq!((session.opened, session.reconnects), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn why_there_is_no_session_is_said_once_for_all_of_them() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .without_time()
        .with_writer(log.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let (pool, mut router) = pool_of(3);
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(router.welcome().await);
    }
    settle().await;
    router.set_up(false);
    drop(peers);
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(
        log.lines(),
        [
            "no session: connection ended without GOODBYE",
            "no session: cannot connect to fake: connection refused",
        ]
    );
    // Again after there was one.
    router.set_up(true);
    let peer = router.welcome().await;
    settle().await;
    router.set_up(false);
    drop(peer);
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(log.lines().len(), 4, "{:?}", log.lines());
    drop(pool);
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let message = |line: &str| {
            let (_, message) = line.split_once("wampgate::wamp::pool::keeper: ")?;
            Some(message.split(" realm.uri=").next()?.to_owned())
        };
        text.lines().filter_map(message).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_session_a_call_waits_so_long_and_no_longer() {
    let (pool, router) = pool_of(2);
    router.set_up(false);
    let began = Instant::now();
    let error = pool.call(call("com.a"), 8 * SECOND).await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 8);
    assert!(error.was_not_sent());
    assert!(matches!(&error, CallError::NoSession { .. }), "{error:?}");
    assert!(
        chain(&error).starts_with("no session was ready within 8s: cannot connect to fake: "),
        "{}",
        chain(&error)
    );
    // The call's own deadline is shorter: still nothing was sent, so still not a timeout.
    let mut hurried = call("com.a");
    hurried.timeout = SECOND;
    let began = Instant::now();
    let error = pool.call(hurried, 8 * SECOND).await.unwrap_err();
    assert!(matches!(&error, CallError::NoSession { .. }), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 1);
    assert_eq!(pool.status().state, PoolState::Down);
}

#[tokio::test(start_paused = true)]
async fn a_bad_request_fails_at_once_even_while_the_router_is_down() {
    let (pool, router) = pool_of(1);
    router.set_up(false);
    let mut bad = call("com.a");
    bad.options = map(r#"{"unheard_of": 1}"#);
    let result = pool.call(bad, LONG).now_or_never();
    assert!(
        matches!(result, Some(Err(CallError::InvalidOption(_)))),
        "{result:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_router_that_comes_back_is_found_again() {
    let (pool, mut router) = pool_of(1);
    let mut peer = router.welcome().await;
    let (result, _) = tokio::join!(pool.call(call("com.a"), SECOND), peer.echo());
    result.unwrap();

    router.set_up(false);
    let (result, ()) = tokio::join!(pool.call(call("com.b"), SECOND), async {
        peer.call().await;
        drop(peer);
    });
    let error = result.unwrap_err();
    assert!(matches!(error, CallError::Disconnected(_)), "{error:?}");
    let error = pool.call(call("com.c"), SECOND).await.unwrap_err();
    assert!(matches!(error, CallError::NoSession { .. }), "{error:?}");
    assert_eq!(pool.status().sessions[0].state, SessionState::Waiting);

    router.set_up(true);
    let (result, mut peer) = tokio::join!(pool.call(call("com.d"), LONG), async {
        let mut peer = router.welcome().await;
        assert_eq!(peer.echo().await, RequestId(1), "ids begin anew");
        peer
    });
    result.unwrap();
    let status = pool.status();
    assert_eq!(status.state, PoolState::Ready);
    assert_eq!(status.sessions[0].reconnects, 1);

    // Killed with a reason of somebody's own: the same.
    peer.send_raw(r#"[6,{},"com.kick"]"#).await;
    // A call before the session has heard of it would still go out on it, and be lost with it.
    assert!(matches!(peer.receive().await, Message::Goodbye { .. }));
    let (result, _peer) = tokio::join!(pool.call(call("com.e"), LONG), async {
        let mut peer = router.welcome().await;
        peer.echo().await;
        peer
    });
    result.unwrap();
    assert_eq!(pool.status().sessions[0].reconnects, 2);
    assert_eq!(
        pool.status().sessions[0].last_error.as_ref().map(chain_of),
        Some("ended by the router: com.kick".to_owned())
    );
}

fn chain_of(error: &SessionError) -> String {
    chain(error)
}

#[tokio::test(start_paused = true)]
async fn what_was_not_written_moves_to_another_session() {
    let (mut router, endpoint) = FakeRouter::in_process(1);
    let pool = Pool::start(realm(), config(endpoint));
    let stuck = router.welcome().await;
    settle().await;
    // The router reads nothing: the first call fills the connection, the second the session's
    // buffer, and the third stays in the queue.
    let mut calls = Vec::new();
    for name in ["com.first", "com.second", "com.third"] {
        let mut calling = Box::pin(pool.call(call(name), LONG));
        assert!((&mut calling).now_or_never().is_none());
        settle().await;
        calls.push(calling);
    }
    drop(stuck);
    let (results, _peer) = tokio::join!(join_all(calls), async {
        let mut peer = router.welcome().await;
        let (request, procedure, _) = peer.call().await;
        assert_eq!(procedure, "com.third");
        peer.result(request, "moved").await;
        peer
    });
    for written in &results[..2] {
        assert!(
            matches!(written, Err(CallError::Disconnected(_))),
            "{written:?}"
        );
    }
    let moved = results[2].as_ref().unwrap();
    assert_eq!(moved.payload.args(), [Value::from("moved")]);
    assert_eq!(pool.status().calls.moved, 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_spread_out_while_a_router_is_down() {
    let (pool, router) = pool_of(1);
    router.set_up(false);
    tokio::time::sleep(10 * 60 * SECOND).await;
    // Ten minutes of waits of 15 seconds on average, and a few short ones to begin with.
    let attempts = router.attempts();
    assert!((20..=90).contains(&attempts), "{attempts}");
    drop(pool);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_refuses_us_is_asked_seldom_and_the_status_says_so() {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        auth: Auth::Ticket {
            authid: "bob".to_owned(),
            secret: Secret::text("outdated-ticket"),
        },
        ..config(endpoint)
    };
    let pool = Pool::start(realm(), config);
    let refuse = async {
        loop {
            let mut peer = router.accept().await;
            peer.receive().await;
            peer.send_raw(r#"[3,{"message":"ticket expired"},"wamp.error.authentication_failed"]"#)
                .await;
        }
    };
    assert!(timeout(10 * 60 * SECOND, refuse).await.is_err());
    // Each wait is 15 to 30 seconds from the first one on.
    let attempts = router.attempts();
    assert!((20..=41).contains(&attempts), "{attempts}");
    let status = pool.status();
    assert_eq!(status.sessions[0].state, SessionState::Refused);
    assert_eq!(status.state, PoolState::Down);
    let shown = format!("{status:?} {pool:?}");
    assert!(shown.contains("ticket expired"), "{shown}");
    assert!(!shown.contains("outdated-ticket"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_router_that_throws_us_out_at_once_does_not_see_us_in_a_tight_loop() {
    let (_pool, mut router) = pool_of(1);
    let kick = async {
        loop {
            let mut peer = router.welcome().await;
            peer.send_raw(r#"[6,{},"com.kick"]"#).await;
        }
    };
    assert!(timeout(10 * 60 * SECOND, kick).await.is_err());
    let attempts = router.attempts();
    assert!(attempts <= 90, "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn another_address_is_tried_when_one_does_not_answer() {
    let (dead, dead_endpoint) = FakeRouter::in_process(1024);
    let (mut live, live_endpoint) = FakeRouter::in_process(1024);
    dead.set_up(false);
    let config = RouterConfig {
        sessions: 4,
        urls: vec![dead_endpoint, live_endpoint],
        ..config("unused".into())
    };
    let pool = Pool::start(realm(), config);
    let began = Instant::now();
    for _ in 0..4 {
        live.welcome().await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "without any back-off");
    drop(pool);
}

#[tokio::test(start_paused = true)]
async fn the_error_that_is_told_does_not_depend_on_the_order_of_tries() {
    let down = |name: &str| {
        Endpoint::in_process(name, || {
            let refused = std::io::ErrorKind::ConnectionRefused;
            Box::pin(async move { Err(ConnectError::Unreachable(refused.into())) })
        })
    };
    let config = RouterConfig {
        urls: ["a", "b", "c"].map(down).into(),
        ..config(down("none"))
    };
    for _ in 0..10 {
        let error = Client::connect(&realm(), &config).await.unwrap_err();
        assert_eq!(chain(&error), "cannot connect to a: connection refused");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_comes_back_after_a_fault_of_our_own() {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let Endpoint::InProcess { connect, .. } = endpoint else {
        panic!("{endpoint:?}");
    };
    let has_failed = AtomicBool::new(false);
    let endpoint = Endpoint::in_process("faulty", move || {
        assert!(has_failed.swap(true, Ordering::SeqCst), "a planted fault");
        connect()
    });
    let pool = Pool::start(realm(), config(endpoint));
    let (ready, _peer) = tokio::join!(pool.ready(10 * SECOND), router.welcome());
    ready.unwrap();
    let status = pool.status();
    assert_eq!(status.state, PoolState::Ready);
    let error = status.sessions[0].last_error.clone();
    assert!(matches!(error, Some(SessionError::Panicked)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn draining_ends_what_is_in_flight_then_leaves_and_takes_nothing_new() {
    let (pool, mut router) = pool_of(1);
    let mut peer = router.welcome().await;
    settle().await;
    let calling = pool.call(call("com.slow"), SECOND);
    let drain = async {
        let (request, ..) = peer.call().await;
        let serve = async {
            settle().await;
            assert_eq!(pool.status().state, PoolState::Draining);
            assert_eq!(pool.status().sessions[0].state, SessionState::Draining);
            let refused = pool.call(call("com.new"), LONG).now_or_never();
            assert!(
                matches!(refused, Some(Err(CallError::NoSession { .. }))),
                "{refused:?}"
            );
            peer.result(request, "done").await;
            assert!(matches!(peer.receive().await, Message::Goodbye { .. }));
            peer.send_raw(r#"[6,{},"wamp.close.goodbye_and_out"]"#)
                .await;
            assert!(peer.next().await.is_none());
        };
        tokio::join!(pool.drain(LONG), serve);
    };
    let began = Instant::now();
    let (result, ()) = tokio::join!(calling, drain);
    result.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(pool.status().sessions[0].state, SessionState::Closed);
    pool.drain(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn draining_does_not_wait_for_a_router_that_is_down() {
    let (pool, router) = pool_of(2);
    router.set_up(false);
    tokio::time::sleep(60 * SECOND).await;
    let began = Instant::now();
    pool.drain(LONG).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_what_the_router_told() {
    let (pool, mut router) = pool_of(2);
    let welcome = r#"{"agent": "Fake-1.0", "authrole": "guest",
        "roles": {"dealer": {"features": {"call_canceling": true}}}}"#;
    let _peer = router.welcome_with(welcome).await;
    settle().await;
    let status = pool.status();
    assert_eq!(status.state, PoolState::Degraded);
    let session = status
        .sessions
        .iter()
        .find(|session| session.state == SessionState::Ready)
        .unwrap();
    let router = session.router.as_ref().unwrap();
    assert_eq!(router.welcome.details, map(welcome));
    assert!(router.welcome.dealer_has("call_canceling"));
    assert_eq!(router.endpoint, "fake");
    assert_eq!(router.transport, "memory");
    assert_eq!(router.welcome.session.0, 4711);
    assert_eq!(session.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_fault_on_one_realm_does_not_touch_another() {
    let (mut good_router, good) = FakeRouter::in_process(1024);
    let (bad_router, bad) = FakeRouter::in_process(1024);
    bad_router.set_up(false);
    let pools = Pools::default();
    pools.start(&uri("com.bad"), config(bad));
    pools.start(&uri("com.good"), config(good));
    let mut peer = good_router.welcome().await;
    let began = Instant::now();
    let pool = pools.get("com.good").unwrap();
    let (result, _) = tokio::join!(pool.call(call("com.a"), SECOND), peer.echo());
    result.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    let states: Vec<_> = pools
        .status()
        .iter()
        .map(|pool| (pool.realm.to_string(), pool.state))
        .collect();
    assert_eq!(
        states,
        [
            ("com.bad".to_owned(), PoolState::Down),
            ("com.good".to_owned(), PoolState::Ready)
        ]
    );
    assert!(pools.get("com.other").is_none());
    tokio::join!(pools.drain(SECOND), async {
        assert!(matches!(peer.receive().await, Message::Goodbye { .. }));
        peer.send_raw(r#"[6,{},"wamp.close.goodbye_and_out"]"#)
            .await;
    });
}

/// Serves one connection: each call gets its own argument back, out of order, until told to stop.
async fn serve_shuffled(mut peer: Peer, mut random: fastrand::Rng, calls: usize) {
    let mut waiting = Vec::new();
    for _ in 0..calls {
        let Some(message) = peer.next().await else {
            return;
        };
        if let Message::Call {
            request, payload, ..
        } = message
        {
            waiting.push((request, payload.args()[0].clone()));
        }
        if random.bool() && !waiting.is_empty() {
            let (request, argument) = waiting.swap_remove(random.usize(..waiting.len()));
            peer.result(request, argument).await;
        }
    }
    // Dropped without a word, with calls unanswered.
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_goes_to_another_request_while_sessions_are_cut() {
    let (mut router, endpoint) = FakeRouter::on_websocket().await;
    let config = RouterConfig {
        sessions: 2,
        reconnect: wampgate::wamp::config::Reconnect {
            min: Duration::from_millis(1),
            max: Duration::from_millis(5),
        },
        ..config(endpoint)
    };
    let pool = Pool::start(realm(), config);
    let mut connections = tokio::task::JoinSet::new();
    let serve = async {
        for seed in 0_u64.. {
            let peer = router.welcome_with(FEATURES).await;
            connections.spawn(serve_shuffled(peer, fastrand::Rng::with_seed(seed), 50));
        }
    };
    let callers = join_all((0_i64..20).map(|caller| {
        let pool = pool.clone();
        async move {
            let (mut right, mut lost) = (0, 0);
            for turn in 0..20 {
                let argument = Value::I64(caller * 1000 + turn);
                let asking = Call {
                    payload: args([argument.clone()]),
                    timeout: Duration::from_millis(100),
                    ..call("com.echo")
                };
                match pool.call(asking, LONG).await {
                    Ok(result) => {
                        assert_eq!(result.payload.args(), [argument]);
                        right += 1;
                    }
                    Err(CallError::Disconnected(_) | CallError::Timeout(_)) => lost += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
            (right, lost)
        }
    }));
    let outcomes = tokio::select! {
        outcomes = callers => outcomes,
        () = serve => unreachable!(),
    };
    let right: usize = outcomes.iter().map(|(right, _)| right).sum();
    let lost: usize = outcomes.iter().map(|(_, lost)| lost).sum();
    assert_eq!(right + lost, 400);
    assert!(right > 0 && lost > 0, "{right} right, {lost} lost");
    let in_flight: usize = pool
        .status()
        .sessions
        .iter()
        .map(|session| session.in_flight)
        .sum();
    assert!(in_flight <= 20, "{in_flight}");
}
