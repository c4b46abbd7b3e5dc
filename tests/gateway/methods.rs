//! Routing as a client sees it: 404, 405, HEAD, OPTIONS, default headers.

use crate::support::TestGateway;

const SPEC: &str = r#"{
    "id": "test", "host": "_", "realm_uri": "com.test",
    "defaults": {"headers": {"x-served-by": "test", "x-path": "{{request.path}}",
                             "x-result": "{{action.result.args}}"}},
    "versions": {"1": {"base_path": "/[v1]", "paths": {
        "/things/:id": {
            "get": {"action": {"type": "static", "body": {"id": "{{request.bindings.id}}"}},
                    "response": {"on_result": {"headers": {"x-own": "1"}}}},
            "delete": {"action": {"type": "static", "body": ""},
                       "response": {"on_result": {"headers": {}}}}
        },
        "/options": {
            "options": {"action": {}, "response": {
                "on_result": {"headers": {"x-from": "result"}},
                "on_error": {"headers": {"x-from": "error"}}}},
            "get": {"action": {"type": "static", "body": 1},
                    "response": {"on_result": {"headers": {}}}}
        },
        "/files/[...]": {
            "get": {"action": {"type": "static", "body": "{{request.path_info}}"},
                    "response": {"on_result": {"headers": {}}}}
        },
        "/secure": {
            "schemes": ["https"],
            "get": {"action": {"type": "static", "body": 1}}
        }
    }}}
}"#;

#[tokio::test]
async fn optional_parts_variables_and_the_rest_match() {
    let gateway = TestGateway::start(SPEC).await;
    for (path, expected) in [
        ("/v1/things/a%2Fb", r#"200 {"id":"a/b"}"#),
        ("/things/x/", r#"200 {"id":"x"}"#),
        ("/files/a/b%20c", r#"200 ["a","b c"]"#),
        ("/files", "200 []"),
        ("/v1/x/../things/y", r#"200 {"id":"y"}"#),
    ] {
        assert_eq!(gateway.http.get(path).await.show(), expected, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_schemes_are_404_and_other_methods_405() {
    let gateway = TestGateway::start(SPEC).await;
    let answer = gateway.http.get("/nothing").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("x-served-by"), "", "no path matched");
    assert_eq!(gateway.http.get("/secure").await.status, 404);
    assert_eq!(gateway.http.get("/things/%2e%2e").await.status, 400);
    assert_eq!(gateway.http.get("/things/%ff").await.status, 400);

    let answer = gateway.http.json("PUT", "/things/1", "{}").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "DELETE, GET, HEAD, OPTIONS");
    assert_eq!(
        answer.header("x-served-by"),
        "test",
        "the path's headers are on its errors"
    );
    assert_eq!(answer.header("x-path"), "/things/1");
    assert_eq!(
        answer.header("x-result"),
        "",
        "what needs an action is left out"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let gateway = TestGateway::start(SPEC).await;
    let get = gateway.http.get("/things/1").await;
    let head = gateway.http.send("HEAD", "/things/1", &[], "").await;
    assert_eq!(head.show(), "200");
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("x-own"), "1");
    gateway.stop().await;
}

#[tokio::test]
async fn options_is_the_gateways_own_answer() {
    let gateway = TestGateway::start(SPEC).await;
    let answer = gateway.http.send("OPTIONS", "/options", &[], "").await;
    assert_eq!(answer.show(), "204");
    assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS");
    assert_eq!(answer.header("x-from"), "error");

    let answer = gateway.http.send("OPTIONS", "/things/1", &[], "").await;
    assert_eq!(answer.show(), "204");
    assert_eq!(answer.header("x-served-by"), "test");
    gateway.stop().await;
}

#[tokio::test]
async fn a_sane_request_id_of_the_clients_is_kept() {
    let gateway = TestGateway::start(SPEC).await;
    let answer = gateway
        .http
        .send("GET", "/files", &[("x-request-id", "abc-1.2_3")], "")
        .await;
    assert_eq!(answer.header("x-request-id"), "abc-1.2_3");
    let answer = gateway
        .http
        .send("GET", "/files", &[("x-request-id", "no spaces")], "")
        .await;
    assert!(
        answer.header("x-request-id").len() > 20,
        "{}",
        answer.header("x-request-id")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn default_headers_are_on_every_error_past_the_path_as_far_as_they_need_no_action() {
    let spec = r#"{"id": "test", "host": "_", "realm_uri": "com.test",
        "defaults": {"body_max_bytes": 20, "headers": {
            "x-name": "{{request.bindings.name}}", "x-rest": "{{request.path_info}}",
            "x-query": "{{request.query_params.q}}", "x-id": "{{request.id}}",
            "x-body": "{{request.body.x}}", "x-result": "{{action.result.args}}",
            "content-type": "text/html", "x-request-id": "forged"}},
        "versions": {"1": {"base_path": "/", "paths": {
            "/a/:name/[...]": {
                "post": {"action": {"type": "wamp_call", "procedure": "com.test.{{request.body.uri}}"}},
                "options": {"action": {}, "response": {"on_error": {"headers":
                    {"x-options": "{{request.bindings.name}}", "content-type": "text/html"}}}}
            },
            "/secure/:name": {"schemes": ["https"],
                "post": {"action": {"type": "static", "body": 1}},
                "options": {"action": {}, "response": {}}}}}}}"#;
    let gateway = TestGateway::start(spec).await;
    let json = ("content-type", "application/json");
    for (method, path, header, body, status) in [
        ("GET", "/a/n/r", json, "", 405),
        ("POST", "/a/n/r", ("content-type", "a/b"), "1", 415),
        ("POST", "/a/n/r", ("accept", "a/b"), "", 406),
        ("POST", "/a/n/r", json, "[1, 2, 3, 4, 5, 6, 7, 8]", 413),
        ("POST", "/a/n/r", json, "{", 400),
        ("POST", "/a/n/r", json, "{}", 400),
        ("POST", "/a/n/r", json, r#"{"uri": "a b"}"#, 400),
        ("POST", "/a/n/r", json, r#"{"uri": "nobody"}"#, 501),
        ("POST", "/secure/n", json, "1", 404),
        ("OPTIONS", "/secure/n", json, "", 404),
    ] {
        let shown = format!("{method} {path} {header:?} {body}");
        let path = format!("{path}?q=1");
        let answer = gateway.http.send(method, &path, &[header], body).await;
        if status != 501 && !body.contains("a b") {
            assert_eq!(answer.status, status, "{shown}: {}", answer.show());
            assert_eq!(answer.header("x-name"), "n", "{shown}");
            assert_eq!(answer.header("x-query"), "1", "{shown}");
            assert_eq!(
                answer.header("x-id"),
                answer.header("x-request-id"),
                "{shown}"
            );
            assert_eq!(answer.header("x-body"), "", "{shown}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        } else {
            // Headers of an answer must all be there: these ask for a result that is none.
            assert_eq!(answer.status, 400, "{shown}: {}", answer.show());
        }
    }
    let answer = gateway.http.send("GET", "/a/n/r?q=%ff", &[], "").await;
    assert_eq!(answer.header("x-rest"), "r");
    assert_eq!(answer.header("x-query"), "");

    let answer = gateway.http.send("OPTIONS", "/a/n/r", &[], "").await;
    assert_eq!(answer.show(), "204");
    assert_eq!(answer.header("x-options"), "n");
    assert_eq!(answer.header("content-type"), "", "of nothing");
    gateway.stop().await;
}
