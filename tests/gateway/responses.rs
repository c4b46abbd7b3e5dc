//! Statuses, headers and bodies of answers, as templates and their absence shape them.

use wampgate::value::{Map, Value};
use wampgate::wamp::client::SubscribeOptions;
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
    let mut events = gateway
        .callee
        .client
        .subscribe(&topic, SubscribeOptions::default(), 16)
        .await
        .unwrap();

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

fn fixed(headers: &str, body: &str, more: &str) -> String {
    format!(
        r#"{{"get": {{"action": {{"type": "static", "body": {body}, "headers": {headers}}},
                      "response": {{"on_result": {{"headers": {{}} {more}}}}}}},
             "post": {{"action": {{"type": "static", "body": {body}, "headers": {headers}}},
                      "response": {{"on_result": {{"headers": {{}} {more}}}}}}}}}"#
    )
}

#[tokio::test]
async fn a_bodys_type_is_the_specs_own_word_only_where_it_is_true() {
    let paths = format!(
        r#"{{"/own": {}, "/utf8": {}, "/any": {{"post": {{
            "action": {{"type": "static", "body": "text", "headers": "{{{{request.body}}}}"}}}}}}}}"#,
        fixed(
            r#"{"Content-Type": "application/json; charset=utf-8"}"#,
            r#"{"a": 1}"#,
            ""
        ),
        fixed(r#"{"x-name": "Gr\u00fc\u00dfe", "x-empty": ""}"#, "1", ""),
    );
    let gateway = gateway(&paths).await;
    let answer = gateway.http.get("/own").await;
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
    let accept = [("accept", "application/msgpack")];
    let answer = gateway.http.send("GET", "/own", &accept, "").await;
    assert_eq!(answer.header("content-type"), "application/msgpack");
    assert_eq!(&answer.body[..], b"\x81\xa1a\x01");

    // What a spec may not write it cannot be made to write by a request either.
    let framing = r#"{"content-length": "1", "transfer-encoding": "chunked", "connection": "upgrade",
        "keep-alive": "1", "trailer": "a", "upgrade": "h2c", "te": "trailers",
        "proxy-connection": "close", "x-null": null, "set-cookie": ["a=1", "b=2"]}"#;
    let answer = gateway.http.json("POST", "/any", framing).await;
    assert_eq!(answer.show(), r#"200 "text""#);
    assert_eq!(answer.header("content-length"), "6");
    for name in [
        "transfer-encoding",
        "connection",
        "keep-alive",
        "trailer",
        "upgrade",
        "te",
        "proxy-connection",
        "x-null",
    ] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    let answer = gateway.http.get("/utf8").await;
    assert_eq!(answer.headers["x-name"].as_bytes(), "Grüße".as_bytes());
    assert_eq!(answer.headers["x-empty"], "");
    gateway.stop().await;
}

#[tokio::test]
async fn a_status_brings_what_it_calls_for_and_leaves_out_what_it_rules_out() {
    let failing = |status: u16| {
        format!(
            r#"{{"get": {{"action": {{"type": "wamp_call", "procedure": "com.test.nobody"}},
                 "response": {{"on_error": {{"status_code": {status}}}}}}}}}"#
        )
    };
    let paths = format!(
        r#"{{"/204": {}, "/205": {}, "/304": {}, "/503": {}, "/429": {}, "/own": {},
            "/made": {}, "/failed/204": {}, "/failed/205": {}, "/failed/304": {}}}"#,
        fixed("{}", r#""x""#, r#", "status_code": 204"#),
        fixed("{}", r#""x""#, r#", "status_code": "205""#),
        fixed("{}", r#""x""#, r#", "status_code": 304"#),
        fixed("{}", r#""x""#, r#", "status_code": 503"#),
        fixed("{}", r#""x""#, r#", "status_code": 429"#),
        fixed(
            r#"{"retry-after": "7"}"#,
            r#""x""#,
            r#", "status_code": 503"#
        ),
        r#"{"put": {"action": {"type": "static", "body": ""},
                    "response": {"on_result": {"uri": "/made/1"}}},
            "post": {"action": {"type": "static", "body": ""},
                     "response": {"on_result": {"uri": ""}}}}"#,
        failing(204),
        failing(205),
        failing(304),
    );
    let gateway = gateway(&paths).await;
    for path in [
        "/204",
        "/205",
        "/304",
        "/failed/204",
        "/failed/205",
        "/failed/304",
    ] {
        let answer = gateway.http.get(path).await;
        assert_eq!(answer.show(), path.rsplit('/').next().unwrap(), "{path}");
        assert_eq!(answer.header("content-type"), "", "{path}");
    }
    for (path, expected) in [("/503", "1"), ("/429", "1"), ("/own", "7")] {
        assert_eq!(
            gateway.http.get(path).await.header("retry-after"),
            expected,
            "{path}"
        );
    }
    let answer = gateway.http.send("PUT", "/made", &[], "").await;
    assert_eq!(
        (answer.show().as_str(), answer.header("location")),
        ("204", "/made/1")
    );
    let answer = gateway.http.send("POST", "/made", &[], "").await;
    assert_eq!(
        (answer.show().as_str(), answer.header("location")),
        ("204", "")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_body_becomes_depends_on_value_and_type() {
    let paths = r#"{"/echo": {
        "accepts": ["application/json", "application/octet-stream"],
        "provides": ["text/plain", "application/json", "application/msgpack",
                     "application/octet-stream"],
        "post": {"action": {"type": "static", "body": "{{request.body}}"}}}}"#;
    let gateway = gateway(paths).await;
    let (json, bytes) = ("application/json", "application/octet-stream");
    for (content_type, body, accept, status, expected) in [
        (json, &b"null"[..], json, 200, &b"null"[..]),
        (json, b"null", "application/msgpack", 200, b"\xc0"),
        (json, b"null", "text/plain", 503, b""),
        (json, b"\"\"", json, 204, b""),
        (json, b"\"\"", "text/plain", 204, b""),
        (json, b"\"a\"", json, 200, b"\"a\""),
        (json, b"\"a\"", "text/plain", 200, b"a"),
        (json, b"\"a\"", bytes, 200, b"a"),
        (json, b"{}", "text/plain", 503, b""),
        (json, b"1", bytes, 503, b""),
        (bytes, b"\x00\xff", json, 200, b"\"AP8=\""),
        (
            bytes,
            b"\x00\xff",
            "application/msgpack",
            200,
            b"\xc4\x02\x00\xff",
        ),
        (bytes, b"\x00\xff", "text/plain", 200, b"\x00\xff"),
        (bytes, b"\x00\xff", bytes, 200, b"\x00\xff"),
    ] {
        let headers = [("content-type", content_type), ("accept", accept)];
        let sent = bytes::Bytes::copy_from_slice(body);
        let answer = gateway.http.send("POST", "/echo", &headers, sent).await;
        let shown = format!("{body:?} as {accept}: {}", answer.show());
        assert_eq!(answer.status, status, "{shown}");
        match status {
            200 => {
                assert_eq!(&answer.body[..], expected, "{shown}");
                assert_eq!(answer.header("content-type"), accept, "{shown}");
            }
            503 => {
                let code = Value::from("bondy.error.bad_gateway");
                assert_eq!(answer.member("code"), code, "{shown}");
            }
            _ => assert_eq!(&answer.body[..], b"", "{shown}"),
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn headers_that_a_request_brings_can_be_too_many() {
    let paths = r#"{"/headers": {"post": {"action": {"type": "static", "body": 1},
        "response": {"on_result": {"headers": "{{request.body}}"}}}}}"#;
    let gateway = gateway(paths).await;
    let many: Vec<String> = (0..40_000).map(|n| format!(r#""x{n}": 1"#)).collect();
    for bad in [
        format!("{{{}}}", many.join(",")),
        r#"{"x y": 1}"#.to_owned(),
        r#"{"": 1}"#.to_owned(),
        r#"{"x": "a\r\nset-cookie: b"}"#.to_owned(),
        r#"{"x": "a\u0000"}"#.to_owned(),
        "[1]".to_owned(),
    ] {
        let answer = gateway.http.json("POST", "/headers", &bad).await;
        assert_eq!(answer.status, 500, "{}", answer.show());
        let code = Value::from("bondy.error.http_gateway.invalid_expression");
        assert_eq!(answer.member("code"), code, "{}", answer.show());
    }
    gateway.stop().await;
}
