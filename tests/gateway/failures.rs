//! What an HTTP client sees when a call fails, and that the session survives it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use wampgate::app::App;
use wampgate::value::{Map, Value};
use wampgate::wamp::client::Invocation;
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::error::ApplicationError;
use wampgate::wamp::serializer::Serializer;

use crate::http::{Http, PATIENCE};
use crate::support::{Callee, TestGateway, json, plan, result, router, sessions, url};

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
    assert_eq!(answer.status, 400, "{}", answer.show());
    assert_eq!(answer.member("code"), Value::from("wamp.error.canceled"));
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

const SHAPED: &str = r#"{
    "id": "test", "host": "_", "realm_uri": "com.test",
    "defaults": {"body_max_bytes": 4000000},
    "status_codes": {"com.test.both": 410, "com.test.api": 411, "wamp.error.timeout": 598},
    "variables": {
        "on_error": {
            "status_code": "{{status_codes |> get({{action.error.error_uri}}, 500) |> integer}}",
            "body": "{{action.error.kwargs |> put(code, {{action.error.error_uri}}) |> put(args, {{action.error.args}}) |> put(table, {{action.error.status_code}})}}"
        }
    },
    "versions": {"1": {"base_path": "/", "status_codes": {"com.test.both": 412, "com.test.version": 413},
        "paths": {
            "/call": {"post": {
                "action": {"type": "wamp_call", "procedure": "com.test.{{request.query_params |> get(p, echo)}}",
                    "args": ["{{request.body}}"],
                    "options": "{{request.query_lists |> with([option])}}",
                    "timeout": "{{request.query_params |> get(t, 60000) |> integer}}",
                    "connect_timeout": "{{request.query_params |> get(c, 8000) |> integer}}"},
                "response": {"on_result": {"body": "{{action.result.args |> head}}"},
                             "on_error": "{{variables.on_error}}"}}},
            "/raise": {"post": {
                "action": {"type": "wamp_call", "procedure": "com.test.raise", "args": ["{{request.body}}"]},
                "response": {"on_error": {"body": "{{action.error.status_code}}"}}}}
        }}}}"#;

/// A gateway for [`SHAPED`].
async fn shaped(change: impl FnOnce(&mut RouterConfig)) -> TestGateway {
    let mut gateway = TestGateway::changed(SHAPED, |plan| {
        change(sessions(plan));
    })
    .await;
    gateway.callee.register_echo("com.test.echo").await;
    let pending = |_| std::future::pending();
    gateway.callee.register("com.test.slow", pending).await;
    let raise = |call: Invocation| {
        let uri = call.payload.args()[0].as_text().unwrap().to_owned();
        std::future::ready(Err(ApplicationError::with_message(&uri, "no")))
    };
    gateway.callee.register("com.test.raise", raise).await;
    gateway
}

#[tokio::test]
async fn failures_of_our_own_reach_on_error_in_the_shape_of_a_callees() {
    let gateway = shaped(|config| config.max_message_bytes = 1_000_000).await;
    let large = format!("\"{}\"", "x".repeat(2_000_000));
    for (query, body, status, code) in [
        ("t=50&p=slow", "", 504, "bondy.error.timeout"),
        ("p=a%20b", "", 400, "wamp.error.invalid_uri"),
        ("option=1", "", 400, "wamp.error.invalid_argument"),
        ("t=0", "", 400, "wamp.error.invalid_argument"),
        ("t=-1", "", 400, "wamp.error.invalid_argument"),
        ("c=-1", "", 400, "wamp.error.invalid_argument"),
        ("", &large, 413, "wamp.error.payload_size_exceeded"),
    ] {
        let answer = gateway
            .http
            .json("POST", &format!("/call?{query}"), body)
            .await;
        let shown = format!("{query}: {}", answer.show());
        assert_eq!(answer.status, status, "{shown}");
        assert_eq!(answer.member("code"), Value::from(code), "{shown}");
        assert_eq!(
            answer.member("table"),
            Value::from(u64::from(status)),
            "{shown}"
        );
        assert_eq!(answer.member("args"), json("[]"), "{shown}");
        for name in ["message", "description"] {
            let text = answer.member(name);
            assert!(
                text.as_text().is_some_and(|text| text.len() > 10),
                "{shown}"
            );
        }
    }
    // None of them cost a session.
    let answer = gateway.http.json("POST", "/call", "1").await;
    assert_eq!(answer.show(), "200 1");
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_routers_serializer_cannot_carry_is_400_and_the_session_survives() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let endpoint = url(listening.local_addr);
    let mut plan = plan(SHAPED, endpoint.clone());
    sessions(&mut plan).serializers = vec![Serializer::Json];
    let app = App::start(plan).await.unwrap();
    let mut callee = Callee::join(endpoint).await;
    callee.register_echo("com.test.echo").await;
    let http = Http::to(app.local_addrs()[0]);
    // Text that begins with U+0000 is binary in WAMP's JSON.
    let answer = http.json("POST", "/call", r#""\u0000abc""#).await;
    assert_eq!(answer.status, 400, "{}", answer.show());
    let code = Value::from("wamp.error.invalid_argument");
    assert_eq!(answer.member("code"), code);
    assert_eq!(http.json("POST", "/call", "1").await.show(), "200 1");
    app.stop().await;
    router.shutdown().await;
}

#[tokio::test]
async fn limits_that_a_request_brings_may_be_of_any_size() {
    let gateway = shaped(|_| {}).await;
    for query in [
        "t=18446744073709551615",
        "t=9223372036854775807&c=18446744073709551615",
        "t=1000000000000&c=0",
        "c=0",
    ] {
        let answer = gateway
            .http
            .json("POST", &format!("/call?{query}"), "1")
            .await;
        assert_eq!(answer.show(), "200 1", "{query}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_session_it_is_503_after_connect_timeout() {
    let gateway = shaped(|_| {}).await;
    gateway.router.shutdown().await;
    let mut answer = gateway.http.json("POST", "/call?c=0", "1").await;
    // The first may still have gone out.
    if answer.status == 502 {
        answer = gateway.http.json("POST", "/call?c=0", "1").await;
    }
    assert_eq!(answer.status, 503, "{}", answer.show());
    assert_eq!(
        answer.member("code"),
        Value::from("bondy.error.bad_gateway")
    );
    assert!(!answer.header("retry-after").is_empty());
    let answer = gateway.http.json("POST", "/call?t=100", "1").await;
    assert_eq!(answer.status, 503, "{}", answer.show());
    gateway.stop().await;
}

#[tokio::test]
async fn status_codes_of_api_and_version_are_merged_over_the_table() {
    let gateway = shaped(|_| {}).await;
    for (uri, status) in [
        ("com.test.api", 411),
        ("com.test.version", 413),
        ("com.test.both", 412),
        ("wamp.error.timeout", 598),
        ("wamp.error.not_authorized", 403),
        ("wamp.error.canceled", 400),
        ("com.test.unknown", 500),
    ] {
        let body = format!("\"{uri}\"");
        let answer = gateway.http.json("POST", "/raise", &body).await;
        assert_eq!(answer.show(), format!("{status} {status}"), "{uri}");
        let answer = gateway.http.json("POST", "/call?p=raise", &body).await;
        assert_eq!(answer.status, status, "{uri}");
        assert_eq!(answer.member("args"), json(r#"["no"]"#));
    }
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
