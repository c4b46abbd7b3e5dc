//! The admin API without sockets: requests in, answers out.

mod conflicts;
mod described;
mod documents;
mod realms;
mod support;
mod wamp;

use axum::body::Body;
use http::{Method, Request};

use self::support::Api;
use crate::telemetry::health::Finding;
use crate::uri::{Uri, UriCheck};
use crate::value::Value;
use crate::value::msgpack::from_msgpack;
use crate::wamp::config::{Endpoint, RouterConfig};
use crate::wamp::pool::Pools;

#[tokio::test]
async fn health_is_told_to_everybody() {
    let api = Api::changed(|admin| {
        admin
            .health
            .check(|| vec![Finding::degraded("realm com.b", "1 of 2 sessions is down.")]);
    });
    let down = Api::changed(|admin| {
        admin.health.check(|| {
            vec![
                Finding::ok("lifecycle"),
                Finding::failing("realm com.a", "No session is up."),
                Finding::degraded("realm com.b", "1 of 2 sessions is down."),
            ]
        });
    });
    let ask = |path: &str| {
        let request = Request::get(path).header("host", "localhost");
        request.body(Body::empty()).unwrap()
    };
    for path in [
        "/ping",
        "/livez",
        "/ready",
        "/readyz",
        "/v1.0/ping",
        "/v1.0/readyz/",
    ] {
        let reply = api.send(ask(path)).await;
        assert_eq!((reply.status, reply.body.len()), (204, 0), "{path}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert_eq!(down.send(ask("/livez")).await.status, 204);
    let reply = down.send(ask("/readyz")).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.code(), "wampgate.error.not_ready");
    assert!(!reply.header("retry-after").is_empty());
    let body = reply.json().to_string();
    assert!(
        body.contains(r#""reasons":["realm com.a: No session is up."]"#),
        "{body}"
    );

    let reply = api.send(ask("/readyz?verbose")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json().to_string(),
        r#"{"state":"degraded","checks":[{"check":"realm com.b","state":"degraded","reason":"1 of 2 sessions is down."}]}"#
    );
    let reply = down.send(ask("/ready?verbose=true")).await;
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.json().to_string(),
        concat!(
            r#"{"state":"failing","checks":[{"check":"lifecycle","state":"ok"},"#,
            r#"{"check":"realm com.a","state":"failing","reason":"No session is up."},"#,
            r#"{"check":"realm com.b","state":"degraded","reason":"1 of 2 sessions is down."}]}"#
        )
    );
}

#[tokio::test]
async fn metrics_are_what_the_scraper_asks_for() {
    let api = Api::new();
    let prometheus = "text/plain; version=0.0.4; charset=utf-8";
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, expected) in [
        ("*/*", prometheus),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", prometheus),
        // What Prometheus 2 sends.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            openmetrics,
        ),
        ("image/png", prometheus),
    ] {
        let reply = api
            .ask(Method::GET, "/metrics", &[("accept", accept)])
            .await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), expected, "{accept}");
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(text.ends_with("# EOF\n"), expected == openmetrics);
        assert!(text.contains("wampgate_build_info{"), "{text}");
    }
}

#[tokio::test]
async fn strangers_learn_nothing_not_even_which_paths_there_are() {
    let api = Api::new();
    for path in [
        "/",
        "/realms/com.a/router",
        "/nothing",
        "/v1.0",
        "/v1.0/ping/x",
    ] {
        let request = Request::get(path).header("host", "localhost");
        let reply = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.code(), "wamp.error.authentication_required");
        let challenge = reply.header("www-authenticate");
        assert_eq!(challenge, "Bearer realm=\"wampgate admin\"");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_request_is_a_problem() {
    let api = Api::new();
    let reply = api.get("/nothing").await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (404, "bondy.error.not_found")
    );
    let reply = api.ask(Method::DELETE, "/ping", &[]).await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), "GET,HEAD");
    reply.code();
    let reply = api.get("/realms/%ff/router").await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (400, "wamp.error.invalid_argument")
    );
    let reply = api.get("/ping?verbose=1").await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (400, "wamp.error.invalid_argument")
    );
    let reply = api.get("/realms/com%2Fa/router").await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (404, "bondy.error.not_found")
    );
    let given = [("x-request-id", "mine-1")];
    let reply = api.ask(Method::GET, "/nothing", &given).await;
    assert_eq!(reply.header("x-request-id"), "mine-1");
    reply.code();
}

#[tokio::test]
async fn the_sessions_of_a_realm_are_told_in_either_type() {
    let realm = Uri::parse("com.a", UriCheck::Loose).unwrap();
    let config = RouterConfig {
        urls: vec![Endpoint::from("ws://127.0.0.1:1/ws")],
        sessions: 1,
        ..RouterConfig::default()
    };
    let pools = Pools::default();
    pools.start(&realm, config);
    let api = Api::changed(|admin| admin.pools = pools);
    let reply = api.get("/realms/com.a/router").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    let body = reply.json();
    let body = body.as_map().unwrap();
    assert_eq!(body["realm_uri"], Value::from("com.a"));
    assert_eq!(body["sessions"].as_list().unwrap().len(), 1);

    let packed = [("accept", "application/msgpack, text/html")];
    let reply = api
        .ask(Method::GET, "/v1.0/realms/com.a/router", &packed)
        .await;
    assert_eq!(reply.header("content-type"), "application/msgpack");
    let unpacked = from_msgpack(&reply.body).unwrap();
    assert_eq!(
        unpacked.as_map().unwrap()["realm_uri"],
        Value::from("com.a")
    );

    let other = [("accept", "text/html")];
    let reply = api.ask(Method::GET, "/realms/com.a/router", &other).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (406, "wampgate.error.not_acceptable")
    );
}
