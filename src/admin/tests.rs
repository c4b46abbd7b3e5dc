//! The admin API without sockets: requests in, answers out.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use super::token::Token;
use super::{Admin, service};
use crate::telemetry::health::{Finding, Health};
use crate::uri::{Uri, UriCheck};
use crate::value::Value;
use crate::value::json::from_json;
use crate::value::msgpack::from_msgpack;
use crate::wamp::config::{Endpoint, RouterConfig};
use crate::wamp::pool::Pools;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An admin API that has nothing to act on.
struct Api(BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>);

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        from_json(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        let body = body.as_map().unwrap();
        assert_eq!(body["status"].as_u64(), Some(u64::from(self.status)));
        assert_eq!(
            body["instance"].as_text(),
            Some(self.header("x-request-id"))
        );
        body["code"].as_text().unwrap().to_owned()
    }
}

impl Api {
    fn new(change: impl FnOnce(&mut Admin)) -> Self {
        let mut admin = Admin {
            token: Token::fixed(TOKEN),
            allow_remote: false,
            pools: Pools::default(),
            health: Health::default(),
            metrics: Arc::default(),
        };
        change(&mut admin);
        Self(BoxCloneSyncService::new(service(admin)))
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let mut service = self.0.clone();
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {TOKEN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[]).await
    }
}

#[tokio::test]
async fn health_is_told_to_everybody() {
    let api = Api::new(|admin| {
        admin
            .health
            .check(|| vec![Finding::degraded("realm com.b", "1 of 2 sessions is down.")]);
    });
    let down = Api::new(|admin| {
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
    let api = Api::new(|_| {});
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
    let api = Api::new(|_| {});
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
    let api = Api::new(|_| {});
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
    let api = Api::new(|admin| admin.pools = pools);
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
