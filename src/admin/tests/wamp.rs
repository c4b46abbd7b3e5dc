//! What the API shows of a router, and does there.

use std::sync::Arc;
use std::time::Duration;

use super::support::Api;
use crate::devrouter::{DevRouterConfig, Router};
use crate::uri::{Uri, UriCheck};
use crate::value::Value;
use crate::wamp::client::{Client, RegisterOptions};
use crate::wamp::config::RouterConfig;
use crate::wamp::error::ApplicationError;
use crate::wamp::pool::Pools;

fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Loose).unwrap()
}

#[tokio::test]
async fn registrations_sessions_and_calls_of_a_realm() {
    let router = Arc::new(Router::new(DevRouterConfig {
        realms: vec![uri("com.file").into()],
        ..DevRouterConfig::default()
    }));
    let config = RouterConfig {
        urls: vec![router.endpoint()],
        sessions: 1,
        ..RouterConfig::default()
    };
    let client = Client::connect(&uri("com.file"), &config).await.unwrap();
    let echo = |call: crate::wamp::client::Invocation| std::future::ready(Ok(call.payload));
    let fail = |_| {
        let error = ApplicationError::with_message("com.example.error.odd", "so it is");
        std::future::ready(Err(error))
    };
    let options = RegisterOptions::default;
    let _echo = client
        .register(&uri("com.echo"), options(), echo)
        .await
        .unwrap();
    let _fail = client
        .register(&uri("com.fail"), options(), fail)
        .await
        .unwrap();
    let pools = Pools::default();
    let pool = pools.start(&uri("com.file"), config);
    pool.ready(Duration::from_secs(30)).await.unwrap();
    let api = Api::changed(|admin| {
        admin.pools = pools;
        admin.allow_calls = true;
    });

    let reply = api.get("/realms/com.file/registrations?limit=1").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let first = reply.json().to_string();
    assert!(
        first.contains(r#""uri":"com.echo","match":"exact","invoke":"single","created":"2"#),
        "{first}"
    );
    let link = reply.header("link");
    let (next, _) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    let second = api.get(next).await;
    assert!(second.json().to_string().contains("com.fail"), "{second:?}");
    assert_eq!(second.header("link"), "");
    assert_eq!(api.get("/realms/com.file/subscriptions").await.status, 200);

    let reply = api.get("/realms/com.file/router").await;
    assert_eq!(reply.member("state"), "\"ready\"");
    let sessions = reply.member("sessions");
    assert!(sessions.contains(r#""transport":"memory""#), "{sessions}");

    let call = r#"{"procedure": "com.echo", "args": [1, "a"], "kwargs": {"b": 9007199254740993}}"#;
    let reply = api.post("/services/call", call).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.member("args"), "[1,\"a\"]");
    assert_eq!(reply.member("kwargs"), r#"{"b":9007199254740993}"#);
    let reply = api
        .post(
            "/services/call",
            r#"{"procedure": "com.fail", "realm_uri": "com.file"}"#,
        )
        .await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (500, "com.example.error.odd")
    );
    assert_eq!(
        reply.member("args"),
        Value::from(vec![Value::from("so it is")]).to_string()
    );
    let reply = api
        .post("/services/call", r#"{"procedure": "com.none"}"#)
        .await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (501, "wamp.error.no_such_procedure")
    );
    for (body, status) in [
        (r#"{"procedure": "com.echo", "realm_uri": "com.none"}"#, 404),
        (r#"{"procedure": "com..echo"}"#, 400),
        (r#"{"procedure": "com.echo", "args": {}}"#, 400),
        (
            r#"{"procedure": "com.echo", "options": {"timeout": "x"}}"#,
            400,
        ),
        (r#"{"procedure": "com.echo", "argz": []}"#, 400),
        ("{}", 400),
    ] {
        assert_eq!(
            api.post("/services/call", body).await.status,
            status,
            "{body}"
        );
    }
    router.shutdown().await;
}
