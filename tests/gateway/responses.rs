//! Statuses, headers and bodies of answers, as templates and their absence shape them.

use wampgate::value::{Map, Value};
use wampgate::wamp::message::Payload;

use crate::support::TestGateway;

async fn gateway(paths: &str) -> TestGateway {
    let mut gateway = TestGateway::with_paths(paths).await;
    gateway.callee.register_echo("com.test.echo").await;
    gateway
        .callee
        .register("com.test.nan", |_| {
            std::future::ready(Ok(Payload::new(vec![Value::F64(f64::NAN)], Map::new())))
        })
        .await;
    gateway
}

fn call(args: &str, response: &str) -> String {
    format!(
        r#"{{"action": {{"type": "wamp_call", "procedure": "com.test.echo", "args": {args}}}
            {response}}}"#
    )
}

#[tokio::test]
async fn the_smallest_operation_answers_with_the_result_as_it_is() {
    let paths = format!(
        r#"{{"/one": {{"get": {}}}, "/two": {{"get": {}}}, "/none": {{"get": {}}},
            "/null": {{"get": {}}}}}"#,
        call("[7]", ""),
        call("[7, 8]", ""),
        call("[]", ""),
        call("[null]", "")
    );
    let gateway = gateway(&paths).await;
    assert_eq!(gateway.http.get("/one").await.show(), "200 7");
    assert_eq!(
        gateway.http.get("/two").await.show(),
        r#"200 {"args":[7,8],"kwargs":{}}"#
    );
    assert_eq!(
        gateway.http.get("/none").await.show(),
        r#"200 {"args":[],"kwargs":{}}"#
    );
    assert_eq!(gateway.http.get("/null").await.show(), "200 null");
    gateway.stop().await;
}

#[tokio::test]
async fn the_status_of_a_success_follows_method_body_and_uri() {
    let operation = |body: &str| call("[7]", &format!(r#", "response": {{"on_result": {body}}}"#));
    let with_body = operation(r#"{"body": "{{action.result.args |> head}}"}"#);
    let without = operation("{}");
    let located = operation(r#"{"uri": "/things/{{action.result.args |> head}}"}"#);
    let chosen = operation(r#"{"status_code": "202", "uri": "/things/1"}"#);
    let paths = format!(
        r#"{{"/body": {{"get": {with_body}, "post": {with_body}, "delete": {with_body}}},
            "/empty": {{"get": {without}, "post": {without}, "delete": {without}}},
            "/made": {{"get": {located}, "post": {located}}},
            "/chosen": {{"post": {chosen}}}}}"#
    );
    let gateway = gateway(&paths).await;
    for (method, path, expected) in [
        ("GET", "/body", "200 7"),
        ("POST", "/body", "200 7"),
        ("DELETE", "/body", "200 7"),
        ("GET", "/empty", "200"),
        ("POST", "/empty", "204"),
        ("DELETE", "/empty", "204"),
        ("POST", "/made", "201"),
        ("GET", "/made", "200"),
        ("POST", "/chosen", "202"),
    ] {
        let answer = gateway.http.send(method, path, &[], "").await;
        assert_eq!(answer.show(), expected, "{method} {path}");
    }
    let answer = gateway.http.send("POST", "/made", &[], "").await;
    assert_eq!(answer.header("location"), "/things/7");
    gateway.stop().await;
}

#[tokio::test]
async fn a_publish_is_acknowledged_and_says_its_id() {
    let paths = r#"{
        "/plain": {"post": {"action": {"type": "wamp_publish", "topic": "com.test.topic"}}},
        "/silent": {"post": {"action": {"type": "wamp_publish", "topic": "com.test.topic",
                                         "options": {"acknowledge": false}}}},
        "/shaped": {"post": {"action": {"type": "wamp_publish", "topic": "com.test.topic",
                                         "args": ["{{request.body.text}}"], "kwargs": {"n": 1}},
                             "response": {"on_result": {"status_code": 202}}}}
    }"#;
    let gateway = gateway(paths).await;
    let topic = crate::support::uri("com.test.topic");
    let mut events = gateway.callee.client.subscribe(&topic, 16).await.unwrap();

    let answer = gateway.http.json("POST", "/plain", "").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.member("publication_id").as_u64().is_some(),
        "{}",
        answer.show()
    );
    events.next().await.expect("the event");

    let answer = gateway.http.json("POST", "/silent", "").await;
    assert_eq!(answer.show(), r#"200 {"publication_id":null}"#);
    events.next().await.expect("the event");

    let answer = gateway
        .http
        .json("POST", "/shaped", r#"{"text": "hello"}"#)
        .await;
    assert_eq!(answer.show(), "202");
    let event = events.next().await.expect("the event");
    assert_eq!(event.payload.args(), [Value::from("hello")]);
    assert_eq!(event.payload.kwargs()["n"], Value::from(1_u64));
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_template_may_not_give_is_500_and_what_cannot_be_encoded_503() {
    let shaped = |on_result: &str| {
        format!(
            r#"{{"get": {{"action": {{"type": "wamp_call", "procedure": "com.test.echo",
                 "args": ["{{{{request.query_params |> get(x, '')}}}}"]}},
                 "response": {{"on_result": {on_result}}}}}}}"#
        )
    };
    let first = "{{action.result.args |> head}}";
    let paths = format!(
        r#"{{"/status": {}, "/header": {}, "/missing": {},
            "/nan": {{"get": {{"action": {{"type": "wamp_call", "procedure": "com.test.nan"}},
                "response": {{"on_result": {{"body": "{first}"}},
                    "on_error": {{"body": "{{{{action.error.kwargs |> put(code, {{{{action.error.error_uri}}}})}}}}"}}}}}}}}}}"#,
        shaped(&format!(r#"{{"status_code": "{first}"}}"#)),
        shaped(&format!(r#"{{"headers": {{"x-a": "{first}"}}}}"#)),
        shaped(r#"{"body": "{{action.result.kwargs.absent}}"}"#),
    );
    let gateway = gateway(&paths).await;
    for path in [
        "/status?x=600",
        "/status?x=abc",
        "/header?x=a%0Ab",
        "/missing",
    ] {
        let answer = gateway.http.get(path).await;
        assert_eq!(answer.status, 500, "{path}: {}", answer.show());
        let code = "bondy.error.http_gateway.invalid_expression";
        assert_eq!(answer.member("code"), Value::from(code), "{path}");
    }
    assert_eq!(gateway.http.get("/status?x=299").await.status, 299);

    let answer = gateway.http.get("/nan").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(
        answer.member("code"),
        Value::from("bondy.error.bad_gateway")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn options_that_a_request_brings_are_checked_by_name_and_type() {
    let paths = r#"{"/call": {"post": {"action": {"type": "wamp_call",
        "procedure": "com.test.echo", "options": "{{request.body}}"}}}}"#;
    let gateway = gateway(paths).await;
    assert_eq!(
        gateway
            .http
            .json("POST", "/call", r#"{"disclose_me": true}"#)
            .await
            .status,
        200
    );
    for bad in [
        r#"{"receive_progress": true}"#,
        r#"{"_x": 1}"#,
        r#"{"timeout": "1"}"#,
        r#"{"disclose_me": null}"#,
        r#"[1]"#,
    ] {
        let answer = gateway.http.json("POST", "/call", bad).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.show());
        assert_eq!(
            answer.member("code"),
            Value::from("wamp.error.invalid_argument"),
            "{bad}"
        );
    }
    gateway.stop().await;
}
