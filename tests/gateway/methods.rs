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
