//! What an HTTP client sees when a call fails, and that the session survives it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use wampgate::value::{Map, Value};
use wampgate::wamp::error::ApplicationError;

use crate::http::PATIENCE;
use crate::support::{TestGateway, json, result};

const SPEC: &str = r#"{
    "/call/:procedure": {
        "post": {
            "action": {
                "type": "wamp_call",
                "procedure": "com.test.{{request.bindings.procedure}}",
                "args": ["{{request.query_params |> get(arg, 0)}}"],
                "timeout": 300
            }
        }
    },
    "/shaped": {
        "get": {
            "action": {"type": "wamp_call", "procedure": "com.test.fail"},
            "response": {
                "on_error": {
                    "status_code": 409,
                    "headers": {"x-error": "{{action.error.error_uri}}"},
                    "body": {
                        "uri": "{{action.error.error_uri}}",
                        "args": "{{action.error.args}}",
                        "kwargs": "{{action.error.kwargs}}",
                        "table": "{{action.error.status_code}}"
                    }
                }
            }
        }
    },
    "/patient/:procedure": {
        "post": {
            "action": {
                "type": "wamp_call",
                "procedure": "com.test.{{request.bindings.procedure}}"
            }
        }
    }
}"#;

#[tokio::test]
async fn a_procedure_that_nobody_registered_is_501() {
    let gateway = TestGateway::with_paths(SPEC).await;
    let answer = gateway.http.json("POST", "/call/nobody", "").await;
    assert_eq!(answer.status, 501);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(
        answer.member("code"),
        Value::from("wamp.error.no_such_procedure")
    );
    assert_eq!(
        answer.member("instance"),
        Value::from(answer.header("x-request-id"))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_application_error_keeps_its_args_and_kwargs_for_the_template() {
    let mut gateway = TestGateway::with_paths(SPEC).await;
    gateway
        .callee
        .register("com.test.fail", |_| {
            let kwargs = Map::from_iter([("why".to_owned(), Value::from("because"))]);
            let args = vec![Value::from(u64::MAX), Value::from("two")];
            std::future::ready(Err(ApplicationError::new(
                "com.test.error.sold_out",
                args,
                kwargs,
            )))
        })
        .await;
    let answer = gateway.http.get("/shaped").await;
    assert_eq!(answer.header("x-error"), "com.test.error.sold_out");
    assert_eq!(
        answer.show(),
        r#"409 {"uri":"com.test.error.sold_out","args":[18446744073709551615,"two"],"kwargs":{"why":"because"},"table":500}"#
    );

    // Without a template nothing of the callee's words is shown.
    let answer = gateway.http.json("POST", "/call/fail", "").await;
    assert_eq!(answer.status, 500);
    assert_eq!(
        answer.member("code"),
        Value::from("com.test.error.sold_out")
    );
    assert!(!answer.show().contains("because"), "{}", answer.show());
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_callee_is_504_at_the_deadline_sees_the_interrupt_and_its_late_result_harms_nothing()
{
    let mut gateway = TestGateway::with_paths(SPEC).await;
    let interrupted = Arc::new(Notify::new());
    let seen = interrupted.clone();
    gateway
        .callee
        .register("com.test.slow", move |call| {
            let seen = seen.clone();
            let interrupt = call.interrupted();
            async move {
                interrupt.await;
                seen.notify_one();
                // What comes now comes too late.
                result("late")
            }
        })
        .await;
    gateway.callee.register_echo("com.test.echo").await;

    let answer = gateway.http.json("POST", "/call/slow", "").await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.member("code"), Value::from("bondy.error.timeout"));
    tokio::time::timeout(PATIENCE, interrupted.notified())
        .await
        .expect("the interrupt");

    for n in 0..20 {
        let answer = gateway
            .http
            .json("POST", &format!("/call/echo?arg={n}"), "")
            .await;
        assert_eq!(answer.show(), format!(r#"200 "{n}""#));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let mut gateway = TestGateway::with_paths(SPEC).await;
    let (started, interrupted) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (start, seen) = (started.clone(), interrupted.clone());
    gateway
        .callee
        .register("com.test.slow", move |call| {
            let (start, seen) = (start.clone(), seen.clone());
            let interrupt = call.interrupted();
            async move {
                start.notify_one();
                interrupt.await;
                seen.notify_one();
                result("nobody listens")
            }
        })
        .await;
    let http = gateway.http.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { http.json("POST", "/patient/slow", "").await });
    tokio::time::timeout(PATIENCE, started.notified())
        .await
        .expect("the call");
    request.shutdown().await;
    tokio::time::timeout(PATIENCE, interrupted.notified())
        .await
        .expect("the interrupt");
    gateway.stop().await;
}

#[tokio::test]
async fn an_invalid_uri_from_a_path_variable_is_400_and_the_session_survives() {
    let mut gateway = TestGateway::with_paths(SPEC).await;
    gateway.callee.register_echo("com.test.echo").await;
    let pool = gateway
        .app
        .gateway()
        .pools
        .get(crate::support::REALM)
        .unwrap();
    let before = format!(
        "{:?}",
        pool.status()
            .sessions
            .iter()
            .map(|s| s.reconnects)
            .collect::<Vec<_>>()
    );
    for bad in ["a%20b", "a..b", "a.", "%23", "x%0Ay"] {
        let answer = gateway.http.json("POST", &format!("/call/{bad}"), "").await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.show());
        assert_eq!(
            answer.member("code"),
            Value::from("wamp.error.invalid_uri"),
            "{bad}"
        );
    }
    assert_eq!(
        gateway
            .http
            .json("POST", "/call/echo?arg=1", "")
            .await
            .show(),
        r#"200 "1""#
    );
    let after = format!(
        "{:?}",
        pool.status()
            .sessions
            .iter()
            .map(|s| s.reconnects)
            .collect::<Vec<_>>()
    );
    assert_eq!(before, after, "no session was lost");
    gateway.stop().await;
}

#[tokio::test]
async fn a_callee_that_leaves_in_mid_call_ends_the_call() {
    let mut gateway = TestGateway::with_paths(SPEC).await;
    let started = Arc::new(Notify::new());
    let start = started.clone();
    gateway
        .callee
        .register("com.test.slow", move |_| {
            start.notify_one();
            std::future::pending()
        })
        .await;
    let http = gateway.http.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { http.json("POST", "/patient/slow", "").await });
    tokio::time::timeout(PATIENCE, started.notified())
        .await
        .expect("the call");
    gateway.callee.client.close(Duration::ZERO).await;
    let answer = request.join_next().await.unwrap().unwrap();
    assert!(
        [400, 502].contains(&answer.status.as_u16()),
        "{}",
        answer.show()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn more_actions_than_the_version_allows_are_503_with_retry_after() {
    let spec = format!(
        r#"{{"id": "test", "host": "_", "realm_uri": "com.test",
            "versions": {{"1": {{"base_path": "/", "pool_size": 1, "paths": {SPEC}}}}}}}"#
    );
    let mut gateway = TestGateway::start(&spec).await;
    let (started, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (start, held) = (started.clone(), release.clone());
    gateway
        .callee
        .register("com.test.slow", move |_| {
            let (start, held) = (start.clone(), held.clone());
            async move {
                start.notify_one();
                held.notified().await;
                result("done")
            }
        })
        .await;
    let http = gateway.http.clone();
    let mut first = JoinSet::new();
    first.spawn(async move { http.json("POST", "/patient/slow", "").await });
    tokio::time::timeout(PATIENCE, started.notified())
        .await
        .expect("the call");
    let second = gateway.http.json("POST", "/patient/slow", "").await;
    assert_eq!(second.status, 503);
    assert!(!second.header("retry-after").is_empty());
    release.notify_one();
    assert_eq!(
        first.join_next().await.unwrap().unwrap().show(),
        r#"200 "done""#
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_client_sends_is_never_evaluated() {
    let paths = r#"{
        "/echo": {
            "post": {
                "action": {"type": "wamp_call", "procedure": "com.test.echo",
                           "args": ["{{request.body.name}}"], "kwargs": "{{request.body}}"}
            }
        }
    }"#;
    let mut gateway = TestGateway::with_paths(paths).await;
    gateway.callee.register_echo("com.test.echo").await;
    let body = r#"{"name": "{{security.meta}} {{request.headers}}"}"#;
    let answer = gateway.http.json("POST", "/echo", body).await;
    assert_eq!(
        answer.value(),
        json(
            r#"{"args": ["{{security.meta}} {{request.headers}}"],
                "kwargs": {"name": "{{security.meta}} {{request.headers}}"}}"#
        )
    );
    gateway.stop().await;
}
