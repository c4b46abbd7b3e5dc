//! Our WAMP client on real routers: what it says of other routers holds for them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use wampgate::uri::{Uri, UriCheck};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{
    Call, Client, Publish, RegisterOptions, Registration, SubscribeOptions,
};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::error::{ApplicationError, CallError, SessionError, chain};
use wampgate::wamp::message::Payload;
use wampgate::wamp::pool::Pool;
use wampgate::wamp::serializer::Serializer;

use crate::peers::{self, Brand, RealRouter};

pub(crate) const REALM: &str = "com.example.client";
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Long enough for what happens at once, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(2);

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Loose).unwrap()
}

fn config(url: &str, serializer: Serializer) -> RouterConfig {
    RouterConfig {
        urls: vec![url.into()],
        serializers: vec![serializer],
        // Routers that do not know batches take the messages one by one.
        batched: true,
        heartbeat: Some(Duration::from_secs(1)),
        ..RouterConfig::default()
    }
}

pub(crate) fn call(procedure: &str, args: Vec<Value>) -> Call {
    Call::new(uri(procedure), Payload::new(args, Map::new()), LONG)
}

/// A callee of ours: `echo`, `fail` and `slow`, which tells when it is interrupted.
async fn callee(
    url: &str,
    serializer: Serializer,
    interrupted: Arc<Notify>,
) -> (Client, [Registration; 3]) {
    let callee = Client::connect(&uri(REALM), &config(url, serializer))
        .await
        .unwrap();
    let echo = callee
        .register(
            &uri("com.example.echo"),
            RegisterOptions::default(),
            |invocation| async { Ok(invocation.payload) },
        )
        .await
        .unwrap();
    let fail = callee
        .register(
            &uri("com.example.fail"),
            RegisterOptions::default(),
            |_| async {
                let kwargs = Map::from([("left".to_owned(), Value::from(u64::MAX))]);
                let args = vec!["why".into()];
                Err(ApplicationError::new("com.example.error.no", args, kwargs))
            },
        )
        .await
        .unwrap();
    let slow = callee
        .register(
            &uri("com.example.slow"),
            RegisterOptions::default(),
            move |invocation| {
                let interrupted = interrupted.clone();
                async move {
                    invocation.interrupted().await;
                    interrupted.notify_one();
                    Ok(Payload::default())
                }
            },
        )
        .await
        .unwrap();
    (callee, [echo, fail, slow])
}

#[tokio::test]
async fn our_client_plays_all_roles_on_crossbar() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let router = RealRouter::shared_crossbar(&folder).await;
    all_roles(&router.url()).await;
}

#[tokio::test]
async fn our_client_plays_all_roles_by_rawsocket() {
    let Some(folder) = peers::installed() else {
        return;
    };
    all_roles(&RealRouter::shared_crossbar(&folder).await.raw_url()).await;
    let xconn = RealRouter::start(Brand::Xconn, &folder, &[REALM]).await;
    all_roles(&xconn.raw_url()).await;
}

async fn all_roles(url: &str) {
    for serializer in Serializer::ALL {
        let interrupted = Arc::new(Notify::new());
        let (callee, _offers) = callee(url, serializer, interrupted.clone()).await;
        let pool = Pool::start(uri(REALM), config(url, serializer));

        // 64 bits, binary and nothing at all come back as they went.
        let all = vec![
            Value::from(u64::MAX),
            Value::I64(i64::MIN),
            Value::F64(1.5),
            Value::Bytes(vec![0, 255].into()),
            Value::Null,
            "Grüße".into(),
        ];
        let result = pool
            .call(call("com.example.echo", all.clone()), LONG)
            .await
            .unwrap();
        assert_eq!(result.payload.args(), all, "{serializer:?}");
        let result = pool
            .call(call("com.example.echo", Vec::new()), LONG)
            .await
            .unwrap();
        assert_eq!(result.payload, Payload::default());
        // A megabyte; xconn-router takes no more than 2^20 bytes by RawSocket, frame and all.
        let large = vec![Value::from("x".repeat(1_000_000))];
        let result = pool
            .call(call("com.example.echo", large.clone()), LONG)
            .await
            .unwrap();
        assert_eq!(result.payload.args(), large);

        let error = pool
            .call(call("com.example.fail", Vec::new()), LONG)
            .await
            .unwrap_err();
        let CallError::Application(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.uri, "com.example.error.no");
        assert_eq!(error.payload.args(), [Value::from("why")]);
        assert_eq!(error.payload.kwargs()["left"], Value::from(u64::MAX));
        let error = pool
            .call(call("com.example.gone", Vec::new()), LONG)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, CallError::Application(error)
                if error.uri == "wamp.error.no_such_procedure"),
            "{error:?}"
        );

        // The deadline settles it here, and the callee is told.
        let hurried = Call {
            timeout: Duration::from_millis(200),
            ..call("com.example.slow", Vec::new())
        };
        let error = pool.call(hurried, LONG).await.unwrap_err();
        assert!(matches!(error, CallError::Timeout(_)), "{error:?}");
        interrupted.notified().await;

        // Events.
        let mut events = callee
            .subscribe(&uri("com.example.topic"), SubscribeOptions::default(), 8)
            .await
            .unwrap();
        let payload = Payload::new(vec![Value::I64(7)], Map::new());
        let publish = Publish::new(uri("com.example.topic"), payload, LONG);
        let id = pool.publish(publish, LONG).await.unwrap();
        let event = events.next().await.unwrap();
        assert_eq!(Some(event.publication), id);
        assert_eq!(event.payload.args(), [Value::I64(7)]);
        events.unsubscribe().await.unwrap();

        // Many at once, each with its own answer; xconn-router drops a session for which 256 wait.
        let answers = join_all(
            (0..200_i64)
                .map(|number| pool.call(call("com.example.echo", vec![number.into()]), LONG)),
        )
        .await;
        for (number, answer) in (0_i64..).zip(answers) {
            assert_eq!(answer.unwrap().payload.args(), [Value::I64(number)]);
        }

        // Nothing of all this has cost a session.
        let status = pool.status();
        for session in &status.sessions {
            assert_eq!(session.reconnects, 0, "{status:?}");
            assert_eq!(session.in_flight, 0, "{status:?}");
            assert_eq!(session.dropped.malformed, 0, "{status:?}");
        }
        pool.drain(LONG).await;
        let end = callee.close(LONG).await;
        assert!(matches!(end, SessionError::Closed), "{end}");
    }
}

#[tokio::test]
async fn a_pool_outlives_crossbar_and_is_refused_by_its_realm() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let mut router = RealRouter::start(Brand::Crossbar, &folder, &[REALM]).await;
    let url = router.url();
    let refused = Client::connect(&uri("com.example.unknown"), &config(&url, Serializer::Json))
        .await
        .unwrap_err();
    assert!(refused.is_refusal(), "{}", chain(&refused));

    let pool = Pool::start(uri(REALM), config(&url, Serializer::Msgpack));
    pool.ready(LONG).await.unwrap();
    let (service, _offers) = callee(&url, Serializer::Msgpack, Arc::default()).await;
    let (lost, ()) = tokio::join!(
        pool.call(call("com.example.slow", Vec::new()), LONG),
        async {
            // Behind the slow call in some session, or not: it is out when this is answered.
            pool.call(call("com.example.echo", Vec::new()), LONG)
                .await
                .unwrap();
            router.kill();
        }
    );
    assert!(matches!(lost, Err(CallError::Disconnected(_))), "{lost:?}");
    let why = service.closed().await;
    assert!(!why.is_refusal(), "{}", chain(&why));

    router.restart(&folder).await;
    let error = pool
        .call(call("com.example.echo", Vec::new()), LONG)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CallError::Application(error)
            if error.uri == "wamp.error.no_such_procedure"),
        "{error:?}"
    );
    let (service, _offers) = callee(&url, Serializer::Msgpack, Arc::default()).await;
    let again = call("com.example.echo", vec![Value::I64(1)]);
    let result = pool.call(again, LONG).await.unwrap();
    assert_eq!(result.payload.args(), [Value::I64(1)]);
    pool.drain(LONG).await;
    service.close(LONG).await;
}
