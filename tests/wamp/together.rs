//! Our client as caller, callee, publisher and subscriber on our embedded router.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use wampgate::uri::{Match, UriCheck, UriPattern};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{
    Call, CallStep, Client, NoProgress, ProgressLimits, Publish, RegisterOptions, Registration,
    SubscribeOptions,
};
use wampgate::wamp::config::{Endpoint, Reconnect, RouterConfig};
use wampgate::wamp::error::{ApplicationError, CallError};
use wampgate::wamp::message::Payload;
use wampgate::wamp::options::Invoke;
use wampgate::wamp::pool::Pool;
use wampgate::wamp::serializer::Serializer;

use crate::fake_router::{LONG, args, call, map, publish};
use crate::peer::{REALM, router, uri};

fn config(url: &str, serializer: Serializer) -> RouterConfig {
    RouterConfig {
        urls: vec![url.into()],
        serializers: vec![serializer],
        reconnect: Reconnect {
            min: Duration::from_millis(1),
            max: Duration::from_millis(20),
        },
        ..RouterConfig::default()
    }
}

/// Offers `com.example.double` and `com.example.fail`.
async fn serve(url: &str, serializer: Serializer) -> (Client, Vec<Registration>) {
    let callee = Client::connect(&uri(REALM), &config(url, serializer))
        .await
        .unwrap();
    let double = callee
        .register(
            &uri("com.example.double"),
            RegisterOptions::default(),
            |invocation| async move {
                let number = invocation.payload.args()[0].as_u64().unwrap();
                Ok(Payload::new(vec![(number * 2).into()], Map::new()))
            },
        )
        .await
        .unwrap();
    let fail = callee
        .register(
            &uri("com.example.fail"),
            RegisterOptions::default(),
            |_| async {
                Err(ApplicationError::new(
                    "com.example.error.no",
                    vec!["why".into()],
                    map(r#"{"left": 18446744073709551615}"#),
                ))
            },
        )
        .await
        .unwrap();
    (callee, vec![double, fail])
}

fn double(number: u64) -> Call {
    Call {
        payload: args([number.into()]),
        ..call("com.example.double")
    }
}

#[tokio::test]
async fn results_and_errors_travel_whole_by_each_serializer() {
    let router = router();
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    for serializer in Serializer::ALL {
        let (callee, _registrations) = serve(&url, serializer).await;
        let pool = Pool::start(uri(REALM), config(&url, serializer));
        let result = pool.call(double(1 << 62), LONG).await.unwrap();
        assert_eq!(result.payload.args(), [Value::from(1_u64 << 63)]);

        let error = pool.call(call("com.example.fail"), LONG).await.unwrap_err();
        let CallError::Application(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.uri, "com.example.error.no");
        assert_eq!(error.payload.args(), [Value::from("why")]);
        assert_eq!(error.payload.kwargs()["left"], Value::from(u64::MAX));

        let error = pool.call(call("com.example.gone"), LONG).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Application(error)
                if error.uri == "wamp.error.no_such_procedure"),
            "{error:?}"
        );
        pool.drain(LONG).await;
        callee.close(LONG).await;
    }
    router.shutdown().await;
}

#[tokio::test]
async fn a_deadline_interrupts_the_callee_and_the_session_goes_on() {
    let router = Arc::new(router());
    let endpoint = {
        let router = Arc::clone(&router);
        Endpoint::in_process("embedded", move || {
            let transport = router.connect_in_process(Serializer::Msgpack);
            Box::pin(async move { Ok(transport) })
        })
    };
    let config = RouterConfig {
        urls: vec![endpoint],
        ..RouterConfig::default()
    };
    let callee = Client::connect(&uri(REALM), &config).await.unwrap();
    let interrupted = Arc::new(Notify::new());
    let tell = interrupted.clone();
    let _registration = callee
        .register(
            &uri("com.example.slow"),
            RegisterOptions::default(),
            move |invocation| {
                let tell = tell.clone();
                async move {
                    invocation.interrupted().await;
                    tell.notify_one();
                    Ok(args(["too late".into()]))
                }
            },
        )
        .await
        .unwrap();
    let caller = Client::connect(&uri(REALM), &config).await.unwrap();
    let hurried = Call {
        timeout: Duration::from_millis(20),
        ..call("com.example.slow")
    };
    let error = caller.call(hurried).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout(_)), "{error:?}");
    interrupted.notified().await;

    // The same when the caller goes away.
    let gone = caller.call(call("com.example.slow"));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), gone)
            .await
            .is_err()
    );
    interrupted.notified().await;
    assert!(caller.is_open() && callee.is_open());
    caller.close(LONG).await;
    callee.close(LONG).await;
    router.shutdown().await;
}

#[tokio::test]
async fn an_event_reaches_its_subscribers() {
    let router = router();
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let config = config(&url, Serializer::Cbor);
    let subscriber = Client::connect(&uri(REALM), &config).await.unwrap();
    let mut events = subscriber
        .subscribe(&uri("com.t"), SubscribeOptions::default(), 8)
        .await
        .unwrap();
    let pool = Pool::start(uri(REALM), config);
    let id = pool.publish(publish("com.t"), LONG).await.unwrap().unwrap();
    let event = events.next().await.unwrap();
    assert_eq!(event.publication, id);
    assert_eq!(event.payload.args(), [Value::I64(1)]);
    events.unsubscribe().await.unwrap();
    pool.drain(LONG).await;
    subscriber.close(LONG).await;
    router.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_killed_under_load_and_restarted_is_found_again() {
    let mut router = router();
    let address: SocketAddr = router.listen("127.0.0.1:0").await.unwrap().local_addr;
    let url = format!("ws://{address}/ws");
    let mut service = serve(&url, Serializer::Msgpack).await;
    let pool = Pool::start(uri(REALM), config(&url, Serializer::Msgpack));
    let load = join_all((0..20_u64).map(|caller| {
        let pool = pool.clone();
        async move {
            let mut right = 0;
            for turn in 0..100 {
                let number = caller * 1000 + turn;
                match pool.call(double(number), LONG).await {
                    Ok(result) => {
                        assert_eq!(result.payload.args(), [Value::from(number * 2)]);
                        right += 1;
                    }
                    // The callee is not back yet, or went away in the middle.
                    Err(CallError::Application(error)) => {
                        let known = ["wamp.error.no_such_procedure", "wamp.error.canceled"];
                        assert!(known.contains(&error.uri.as_str()), "{error:?}");
                    }
                    Err(CallError::Disconnected(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            right
        }
    }));
    let restarts = async {
        for _ in 0..3 {
            pool.ready(LONG).await.unwrap();
            router.kill().await;
            service.0.closed().await;
            router = crate::peer::router();
            router.listen(address).await.unwrap();
            service = serve(&url, Serializer::Msgpack).await;
        }
    };
    let (_right, ()) = tokio::join!(load, restarts);
    // No restart of ours: the same pool, service again.
    let result = pool.call(double(21), LONG).await.unwrap();
    assert_eq!(result.payload.args(), [Value::I64(42)]);
    pool.drain(LONG).await;
    service.0.close(LONG).await;
    router.shutdown().await;
}

fn pattern(text: &str, policy: Match) -> UriPattern {
    UriPattern::parse(text, policy, UriCheck::Loose).unwrap()
}

#[tokio::test]
async fn patterns_shared_registrations_and_retained_events_work_on_both_ends() {
    let router = router();
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let config = config(&url, Serializer::Cbor);
    let one = Client::connect(&uri(REALM), &config).await.unwrap();
    let other = Client::connect(&uri(REALM), &config).await.unwrap();
    let shared = RegisterOptions {
        invoke: Invoke::RoundRobin,
        disclose_caller: true,
    };
    let mut registrations = Vec::new();
    for (name, client) in [("one", &one), ("other", &other)] {
        let offer = client.register(
            pattern("com.shop.", Match::Prefix),
            shared,
            move |call| async move {
                let caller = call.caller().map_or(Value::Null, |id| id.0.into());
                Ok(args([name.into(), (*call.procedure).into(), caller]))
            },
        );
        registrations.push(offer.await.unwrap());
    }
    let session = one.welcome().session.0;
    let mut answered = Vec::new();
    for _ in 0..4 {
        let result = one.call(call("com.shop.buy")).await.unwrap();
        let all = result.payload.args();
        assert_eq!(all[1..], [Value::from("com.shop.buy"), session.into()]);
        answered.push(all[0].as_text().unwrap().to_owned());
    }
    answered.sort_unstable();
    assert_eq!(answered, ["one", "one", "other", "other"]);

    let retained = Publish {
        options: map(r#"{"retain": true}"#),
        ..publish("com.news.sport")
    };
    one.publish(retained).await.unwrap();
    let retained = SubscribeOptions { get_retained: true };
    let mut sport = other
        .subscribe(&uri("com.news.sport"), retained, 8)
        .await
        .unwrap();
    let event = sport.next().await.unwrap();
    assert!(event.is_retained());
    let mut all = other
        .subscribe(
            pattern("com..sport", Match::Wildcard),
            SubscribeOptions::default(),
            8,
        )
        .await
        .unwrap();
    one.publish(publish("com.weather.sport")).await.unwrap();
    let event = all.next().await.unwrap();
    assert_eq!(&*event.topic, "com.weather.sport");
    assert!(!event.is_retained());
    for client in [one, other] {
        client.close(LONG).await;
    }
    router.shutdown().await;
}

#[tokio::test]
async fn a_result_in_parts_arrives_in_order_and_stops_when_nobody_reads_on() {
    let router = router();
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    for serializer in Serializer::ALL {
        let config = config(&url, serializer);
        let callee = Client::connect(&uri(REALM), &config).await.unwrap();
        let stopped = Arc::new(Notify::new());
        let tell = stopped.clone();
        let _registration = callee
            .register(
                &uri("com.example.count"),
                RegisterOptions::default(),
                move |call| {
                    let tell = tell.clone();
                    async move {
                        let last = call.payload.args()[0].as_u64().unwrap_or(u64::MAX);
                        for part in 0..last {
                            match call.progress(args([part.into()])).await {
                                Ok(()) => {}
                                Err(NoProgress::NotWanted) => break,
                                Err(stop) => {
                                    assert_eq!(stop, NoProgress::Interrupted);
                                    tell.notify_one();
                                    break;
                                }
                            }
                        }
                        Ok(args(["all".into()]))
                    }
                },
            )
            .await
            .unwrap();
        let pool = Pool::start(uri(REALM), config);
        let asking = |last: Value| Call {
            payload: args([last]),
            ..call("com.example.count")
        };
        let wide = ProgressLimits {
            queue: 10_000,
            ..ProgressLimits::default()
        };
        let mut stream = pool
            .call_progressive(asking(1_000_i64.into()), wide, LONG)
            .unwrap();
        for part in 0..1_000_i64 {
            match stream.next().await.unwrap().unwrap() {
                CallStep::Progress(got) => assert_eq!(got.payload.args(), [part.into()]),
                CallStep::Result(result) => panic!("{result:?}"),
            }
        }
        assert!(matches!(
            stream.next().await.unwrap().unwrap(),
            CallStep::Result(result) if result.payload.args() == ["all".into()]
        ));
        assert!(stream.next().await.is_none());
        // Without end: the callee hears that its reader has gone, or does not keep up.
        let mut stream = pool
            .call_progressive(asking(Value::Null), wide, LONG)
            .unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        stopped.notified().await;
        let limits = ProgressLimits::default();
        let mut stream = pool
            .call_progressive(asking(Value::Null), limits, LONG)
            .unwrap();
        stream.next().await.unwrap().unwrap();
        stopped.notified().await;
        let error = loop {
            if let Err(error) = stream.next().await.unwrap() {
                break error;
            }
        };
        assert!(matches!(error, CallError::Overrun(64)), "{error:?}");
        // A caller who wants the whole only.
        let result = pool.call(asking(5_i64.into()), LONG).await.unwrap();
        assert_eq!(result.payload.args(), [Value::from("all")]);
        pool.drain(LONG).await;
        callee.close(LONG).await;
    }
    router.shutdown().await;
}

#[tokio::test]
async fn a_pool_keeps_what_it_holds_and_knows_when_the_router_starts_anew() {
    let mut router = router();
    let address: SocketAddr = router.listen("127.0.0.1:0").await.unwrap().local_addr;
    let url = format!("ws://{address}/ws");
    let pool = Pool::start(uri(REALM), config(&url, Serializer::Msgpack));
    let _offer = pool
        .register(
            pattern("com.kept.", Match::Prefix),
            RegisterOptions::default(),
            |call| async move { Ok(args([(*call.procedure).into()])) },
        )
        .unwrap();
    let mut events = pool
        .subscribe(uri("com.t"), SubscribeOptions::default(), 8)
        .unwrap();
    let map = pool.registrations();
    for turn in 0..3_u64 {
        // Others come and go too, and are seen.
        let other = Client::connect(&uri(REALM), &config(&url, Serializer::Json))
            .await
            .unwrap();
        assert!(events.ready(LONG).await);
        map.wait_until(|map| map.covers("com.kept.one") == Some(true))
            .await;
        let result = pool.call(call("com.kept.one"), LONG).await.unwrap();
        assert_eq!(result.payload.args(), [Value::from("com.kept.one")]);
        other.publish(publish("com.t")).await.unwrap();
        assert!(events.next().await.is_some());
        assert_eq!(events.gaps(), turn);
        let registration = other
            .register(&uri("com.brief"), RegisterOptions::default(), |_| async {
                Ok(Payload::default())
            })
            .await
            .unwrap();
        map.wait_until(|map| map.covers("com.brief") == Some(true))
            .await;
        registration.unregister().await.unwrap();
        map.wait_until(|map| map.covers("com.brief") == Some(false))
            .await;
        // The connections are cut without a word.
        router.kill().await;
        other.closed().await;
        map.wait_until(|map| map.covers("com.kept.one").is_none())
            .await;
        router = crate::peer::router();
        router.listen(address).await.unwrap();
    }
    pool.drain(LONG).await;
    assert!(events.next().await.is_none());
    router.shutdown().await;
}
