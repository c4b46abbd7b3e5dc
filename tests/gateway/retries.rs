//! What is tried again, and what never is.
//!
//! Where time matters it is paused: the action then runs by itself, against a scripted router in
//! this process. That the layers are connected is seen over HTTP.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wampgate::action::{self, ActionError, Failure, Request};
use wampgate::mops::Context;
use wampgate::spec::Route;
use wampgate::value::{Map, Value};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::error::ApplicationError;
use wampgate::wamp::id::PublicationId;
use wampgate::wamp::message::Message;
use wampgate::wamp::pool::{PoolStatus, Pools, RetryCounts};

use crate::fake_router::{FakeRouter, Peer, config};
use crate::support::{Callee, REALM, TestGateway, result, routes, uri};

/// What timers add to a handful of waits: each is rounded up to the next millisecond.
const ROUNDED: u128 = 20;

/// An operation of one method, its pool, and the router that the test plays.
struct Scripted {
    route: Route,
    pools: Pools,
    router: FakeRouter,
    request: Value,
}

impl Scripted {
    /// Takes the method and the members of the operation and of the action beside its type and URI.
    fn new(method: &str, operation: &str, kind: &str, action: &str) -> Self {
        Self::of(1, method, operation, kind, action)
    }

    fn of(sessions: usize, method: &str, operation: &str, kind: &str, action: &str) -> Self {
        let what = if kind == "wamp_call" {
            "procedure"
        } else {
            "topic"
        };
        let spec = format!(
            r#"{{"id": "test", "host": "_", "realm_uri": "{REALM}", "versions": {{"1": {{
                "base_path": "/", "paths": {{"/": {{"{method}": {{{operation} "action": {{
                    "type": "{kind}", "{what}": "com.test.it", {action}}}}}}}}}}}}}}}"#
        );
        let (router, endpoint) = FakeRouter::in_process(64);
        let pools = Pools::default();
        let sessions = RouterConfig {
            sessions,
            ..config(endpoint)
        };
        pools.start(&uri(REALM), sessions);
        Self {
            route: routes(&spec).remove(0),
            pools,
            router,
            request: Value::from(Map::new()),
        }
    }

    /// Runs the action, and the router's side of it beside it.
    async fn run<T>(
        &mut self,
        script: impl AsyncFnOnce(&mut FakeRouter) -> T,
    ) -> (Result<Map, Failure>, T) {
        let context = Context::new().data("request", &self.request);
        let acting = async {
            let outcome = action::run(
                &self.route.operation,
                &context,
                &self.pools,
                &Request::default(),
            )
            .await;
            outcome.map_err(|error| match error {
                ActionError::Failed(failure) => *failure,
                ActionError::Template(error) => panic!("{error}"),
            })
        };
        tokio::join!(acting, script(&mut self.router))
    }

    fn status(&self) -> PoolStatus {
        self.pools.get(REALM).unwrap().status()
    }
}

/// Refuses the next call.
async fn refuse(peer: &mut Peer, error: &str) {
    let (request, _, _) = peer.call().await;
    peer.send_raw(&format!(r#"[8, 48, {request}, {{}}, "{error}"]"#))
        .await;
}

fn outcome(outcome: Result<Map, Failure>) -> String {
    match outcome {
        Ok(result) => Value::from(result).to_string(),
        Err(failure) => failure.error_uri,
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_callee_is_repeated_whatever_it_does() {
    for error in [
        "wamp.error.no_such_procedure",
        "wamp.error.no_eligible_callee",
        "wamp.error.no_available_callee",
    ] {
        let mut it = Scripted::new("post", "", "wamp_call", r#""args": [7], "retries": 3"#);
        let (answer, _peer) = it
            .run(async |router| {
                let mut peer = router.welcome().await;
                for _ in 0..3 {
                    refuse(&mut peer, error).await;
                }
                let (request, procedure, payload) = peer.call().await;
                assert_eq!(procedure, "com.test.it");
                assert_eq!(payload.args(), [Value::from(7_u64)], "the same call again");
                peer.result(request, "done").await;
                peer
            })
            .await;
        assert!(outcome(answer).contains("done"), "{error}");
        let made = RetryCounts {
            made: 3,
            refused: 0,
        };
        assert_eq!(it.status().retries, made);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_retries_and_none_without() {
    for retries in [0, 2] {
        let action = format!(r#""retries": {retries}"#);
        let mut it = Scripted::new("get", "", "wamp_call", &action);
        let (answer, _peer) = it
            .run(async |router| {
                let mut peer = router.welcome().await;
                for _ in 0..=retries {
                    refuse(&mut peer, "wamp.error.no_such_procedure").await;
                }
                peer
            })
            .await;
        assert_eq!(outcome(answer), "wamp.error.no_such_procedure");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_callee_is_never_repeated() {
    for (error, details) in [
        ("com.test.error.no", "{}"),
        ("wamp.error.runtime_error", "{}"),
        ("wamp.error.not_authorized", "{}"),
        // The router says that a callee said it.
        ("wamp.error.no_such_procedure", r#"{"callee": 5}"#),
    ] {
        let mut it = Scripted::new("get", "", "wamp_call", r#""retries": 3"#);
        let (answer, _peer) = it
            .run(async |router| {
                let mut peer = router.welcome().await;
                let (request, _, _) = peer.call().await;
                peer.send_raw(&format!(r#"[8, 48, {request}, {details}, "{error}"]"#))
                    .await;
                peer
            })
            .await;
        assert_eq!(outcome(answer), error);
        assert_eq!(it.status().retries.made, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_run_is_repeated_only_where_it_may_run_twice() {
    // The session is lost, the callee is lost.
    for loses_session in [true, false] {
        for (method, operation, is_repeated) in [
            ("get", "", true),
            ("post", r#""idempotent": true,"#, true),
            ("post", "", false),
            ("put", "", false),
            ("get", r#""idempotent": false,"#, false),
        ] {
            let mut it = Scripted::of(2, method, operation, "wamp_call", r#""retries": 1"#);
            let (answer, _peers) = it
                .run(async |router| {
                    let mut first = router.welcome().await;
                    let mut second = router.welcome().await;
                    let (mut called, mut other) = tokio::select! {
                        call = first.call() => ((call.0, first), second),
                        call = second.call() => ((call.0, second), first),
                    };
                    if loses_session {
                        drop(called);
                    } else {
                        let error =
                            format!(r#"[8, 48, {}, {{}}, "wamp.error.canceled"]"#, called.0);
                        called.1.send_raw(&error).await;
                        if is_repeated {
                            // Either may get it.
                            let peer = &mut called.1;
                            tokio::select! {
                                call = peer.call() => peer.result(call.0, "again").await,
                                call = other.call() => other.result(call.0, "again").await,
                            }
                        }
                        return vec![called.1, other];
                    }
                    if is_repeated {
                        let (request, _, _) = other.call().await;
                        other.result(request, "again").await;
                    }
                    vec![other]
                })
                .await;
            let expected = match (is_repeated, loses_session) {
                (true, _) => "again",
                (false, true) => "wamp.error.network_failure",
                (false, false) => "wamp.error.canceled",
            };
            let answer = outcome(answer);
            assert!(answer.contains(expected), "{method} {operation}: {answer}");
            assert_eq!(it.status().retries.made, u64::from(is_repeated));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_repeated_where_it_was_not_written_and_never_else() {
    // No session at first.
    let action = r#""retries": 5, "connect_timeout": 10"#;
    let mut it = Scripted::new("get", "", "wamp_publish", action);
    it.router.set_up(false);
    let (answer, _peer) = it
        .run(async |router| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            router.set_up(true);
            let mut peer = router.welcome().await;
            let Message::Publish { request, .. } = peer.receive().await else {
                panic!("no PUBLISH");
            };
            peer.send(Message::Published {
                request,
                publication: PublicationId(9),
            })
            .await;
            peer
        })
        .await;
    assert_eq!(outcome(answer), r#"{"publication_id":9}"#);
    assert!(it.status().retries.made > 0);

    // Written, and then lost: an operation that may run twice changes nothing.
    let action = r#""retries": 5"#;
    let mut it = Scripted::of(2, "get", r#""idempotent": true,"#, "wamp_publish", action);
    let (answer, mut other) = it
        .run(async |router| {
            let mut first = router.welcome().await;
            let mut second = router.welcome().await;
            tokio::select! {
                _ = first.receive() => second,
                _ = second.receive() => first,
            }
        })
        .await;
    assert_eq!(outcome(answer), "wamp.error.network_failure");
    it.pools.drain(Duration::ZERO).await;
    assert!(!matches!(other.next().await, Some(Message::Publish { .. })));
}

/// Refuses every call until the client is gone, and counts them.
async fn refuse_all(router: &mut FakeRouter, calls: &Cell<u32>) {
    let mut peer = router.welcome().await;
    loop {
        refuse(&mut peer, "wamp.error.no_such_procedure").await;
        calls.set(calls.get() + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_timeout_and_the_deadline_end_it() {
    for (action, at_most) in [
        (r#""retries": 100, "retry_timeout": 700"#, 700),
        (r#""retries": 100, "retry_timeout": 0"#, 0),
        (r#""retries": 100, "timeout": 300"#, 300),
        (r#""retries": 100, "options": {"timeout": 300}"#, 300),
    ] {
        let mut it = Scripted::new("post", "", "wamp_call", action);
        let calls = Cell::new(0);
        let context = Context::new().data("request", &it.request);
        let request = Request::default();
        let began = Instant::now();
        let answer = tokio::select! {
            answer = action::run(&it.route.operation, &context, &it.pools, &request) => answer,
            () = refuse_all(&mut it.router, &calls) => unreachable!(),
        };
        let Err(ActionError::Failed(failure)) = answer else {
            panic!("{answer:?}")
        };
        // What was met, not that time was up: it says more.
        assert_eq!(failure.error_uri, "wamp.error.no_such_procedure");
        let took = began.elapsed().as_millis();
        assert!(took <= at_most + ROUNDED, "{action}: {took} ms");
        // The waits double, so it takes few calls to use the time up.
        let wanted = if at_most == 0 { 1..2 } else { 2..8 };
        assert!(wanted.contains(&calls.get()), "{action}: {}", calls.get());
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_what_is_left_of_the_deadline_and_the_message_says_the_whole() {
    let action = r#""retries": 3, "timeout": 1000"#;
    let mut it = Scripted::new("get", "", "wamp_call", action);
    let began = Instant::now();
    let (answer, _peer) = it
        .run(async |router| {
            let mut peer = router.welcome().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            refuse(&mut peer, "wamp.error.no_such_procedure").await;
            // And then nothing.
            peer.call().await;
            peer
        })
        .await;
    let failure = answer.unwrap_err();
    assert_eq!(failure.error_uri, "bondy.error.timeout");
    let text = Value::from(failure.kwargs).to_string();
    assert!(text.contains("within 1000 ms"), "{text}");
    assert_eq!(began.elapsed().as_millis(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_session_again_is_waiting_too() {
    let action = r#""retries": 3, "retry_timeout": 2000, "connect_timeout": 3000"#;
    let mut it = Scripted::new("post", "", "wamp_call", action);
    it.router.set_up(false);
    let began = Instant::now();
    let (answer, ()) = it.run(async |_| ()).await;
    assert_eq!(outcome(answer), "bondy.error.bad_gateway");
    let took = began.elapsed().as_millis();
    assert!((3_000..=5_000 + ROUNDED).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_being_drained_is_not_waited_for() {
    let mut it = Scripted::new("post", "", "wamp_call", r#""retries": 100"#);
    it.pools.drain(Duration::ZERO).await;
    let began = Instant::now();
    let (answer, ()) = it.run(async |_| ()).await;
    assert_eq!(outcome(answer), "bondy.error.bad_gateway");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_realms_retries_are_a_fifth_of_its_calls() {
    let action = r#""retries": 1, "retry_timeout": 1000"#;
    let mut it = Scripted::new("post", "", "wamp_call", action);
    let calls = Cell::new(0);
    let context = Context::new().data("request", &it.request);
    let request = Request::default();
    let all = (0..100).map(|_| action::run(&it.route.operation, &context, &it.pools, &request));
    let answers = tokio::select! {
        answers = futures_util::future::join_all(all) => answers,
        () = refuse_all(&mut it.router, &calls) => unreachable!(),
    };
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(calls.get(), 120);
    let counts = it.status().retries;
    assert_eq!((counts.made, counts.refused), (20, 80));
}

#[tokio::test]
async fn numbers_of_the_request_are_checked_as_those_of_a_spec() {
    let paths = r#"{"/": {"post": {"action": {
        "type": "wamp_call", "procedure": "com.test.nobody",
        "retries": "{{request.body.retries}}", "retry_timeout": "{{request.body.wait}}"}}}}"#;
    let gateway = TestGateway::with_paths(paths).await;
    for (body, status) in [
        (r#"{"retries": 1, "wait": 1}"#, 501),
        (r#"{"retries": 101, "wait": 1}"#, 400),
        (r#"{"retries": -1, "wait": 1}"#, 400),
        (r#"{"retries": "1", "wait": 1}"#, 400),
        (r#"{"retries": 1, "wait": -1}"#, 400),
        (r#"{"retries": 1, "wait": "long"}"#, 400),
    ] {
        let answer = gateway.http.json("POST", "/", body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.show());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_outlasts_the_absence_of_its_callee() {
    let paths = r#"{"/": {"retries": 100, "post": {"action": {
        "type": "wamp_call", "procedure": "com.test.late", "retry_timeout": 15000}}}}"#;
    let mut gateway = TestGateway::with_paths(paths).await;
    let http = gateway.http.clone();
    let mut asking = tokio::task::JoinSet::new();
    asking.spawn(async move { http.json("POST", "/", "").await });
    let pool = gateway.app.gateway().pools.get(REALM).unwrap();
    // The first attempt has failed.
    while pool.status().retries.made == 0 {
        tokio::task::yield_now().await;
    }
    let late = |_| std::future::ready(result("late"));
    gateway.callee.register("com.test.late", late).await;
    let answer = asking.join_next().await.unwrap().unwrap();
    assert_eq!(answer.show(), r#"200 "late""#);
    gateway.stop().await;
}

#[tokio::test]
async fn a_callee_that_dies_costs_a_get_nothing_and_a_post_one_error() {
    let paths = r#"{"/": {"retries": 100, "retry_timeout": 15000,
        "get": {"action": {"type": "wamp_call", "procedure": "com.test.die"}},
        "post": {"action": {"type": "wamp_call", "procedure": "com.test.die"}}}}"#;
    for (method, expected) in [("GET", "200"), ("POST", "400")] {
        let mut gateway = TestGateway::with_paths(paths).await;
        let runs = Arc::new(AtomicUsize::new(0));
        let first = Callee::join(gateway.router.endpoint()).await;
        let (client, counter) = (first.client.clone(), runs.clone());
        let mut first = first;
        first
            .register("com.test.die", move |_| {
                let client = client.clone();
                counter.fetch_add(1, Ordering::SeqCst);
                async move {
                    client.close(Duration::ZERO).await;
                    std::future::pending::<Result<_, ApplicationError>>().await
                }
            })
            .await;
        let http = gateway.http.clone();
        let mut asking = tokio::task::JoinSet::new();
        asking.spawn(async move { http.json(method, "/", "").await });
        first.client.closed().await;
        let again = |_| std::future::ready(result("again"));
        gateway.callee.register("com.test.die", again).await;
        let answer = asking.join_next().await.unwrap().unwrap();
        assert!(answer.show().starts_with(expected), "{}", answer.show());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        gateway.stop().await;
    }
}
