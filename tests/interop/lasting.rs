//! What lasts, on real routers: patterns, shared registrations, progress, what a pool keeps and knows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use wampgate::uri::{Match, Uri, UriCheck, UriPattern};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{
    Call, CallStep, Client, NoProgress, Originator, ProgressLimits, Publish, RegisterOptions,
    SubscribeOptions,
};
use wampgate::wamp::config::{Reconnect, RouterConfig};
use wampgate::wamp::error::CallError;
use wampgate::wamp::message::Payload;
use wampgate::wamp::options::{CancelMode, Invoke};
use wampgate::wamp::pool::{Pool, Registrations, RegistrationsState};

use crate::peers::{self, Brand, RealRouter};

/// Realms of the Crossbar that tests share, one for each test.
const PATTERNS: &str = "com.example.patterns";
const PARTS: &str = "com.example.parts";
const LONG: Duration = Duration::from_secs(60);

fn uri(text: &str) -> Uri {
    Uri::parse(text, UriCheck::Loose).unwrap()
}

fn pattern(text: &str, policy: Match) -> UriPattern {
    UriPattern::parse(text, policy, UriCheck::Loose).unwrap()
}

fn config(url: &str) -> RouterConfig {
    RouterConfig {
        urls: vec![url.into()],
        reconnect: Reconnect {
            min: Duration::from_millis(1),
            max: Duration::from_millis(100),
        },
        ..RouterConfig::default()
    }
}

fn payload<const N: usize>(args: [Value; N]) -> Payload {
    Payload::new(args.into(), Map::new())
}

fn call(procedure: &str, arg: Value) -> Call {
    Call::new(uri(procedure), payload([arg]), LONG)
}

fn flag(name: &str) -> Map {
    Map::from([(name.to_owned(), Value::Bool(true))])
}

#[tokio::test]
async fn patterns_and_shared_registrations_reach_their_callees() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let router = RealRouter::shared_crossbar(&folder).await;
    let one = Client::connect(&uri(PATTERNS), &config(&router.url()))
        .await
        .unwrap();
    let other = Client::connect(&uri(PATTERNS), &config(&router.url()))
        .await
        .unwrap();
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
                let authid = call.caller_authid().map_or(Value::Null, Value::from);
                Ok(payload([
                    name.into(),
                    (*call.procedure).into(),
                    caller,
                    authid,
                ]))
            },
        );
        registrations.push(offer.await.unwrap());
    }
    let session = Value::from(one.welcome().session.0);
    let mut answered = Vec::new();
    for _ in 0..4 {
        let result = one.call(call("com.shop.buy", Value::Null)).await.unwrap();
        let all = result.payload.args();
        assert_eq!(all[1..3], [Value::from("com.shop.buy"), session.clone()]);
        answered.push(all[0].as_text().unwrap().to_owned());
    }
    answered.sort_unstable();
    assert_eq!(answered, ["one", "one", "other", "other"]);

    // Crossbar believes whom a call is made for, whoever says it.
    let originator = Originator {
        authid: "ann".to_owned(),
        authrole: "customer".to_owned(),
    };
    let asking = Call {
        on_behalf_of: Some(originator),
        ..call("com.shop.buy", Value::Null)
    };
    let result = one.call(asking).await.unwrap();
    assert_eq!(result.payload.args()[2..], [session, "ann".into()]);

    // By wildcard, and what was kept.
    let publish = |topic: &str, options: Map| Publish {
        options,
        ..Publish::new(uri(topic), payload([Value::I64(7)]), LONG)
    };
    one.publish(publish("com.news.sport", flag("retain")))
        .await
        .unwrap();
    let retained = SubscribeOptions { get_retained: true };
    let mut sport = other
        .subscribe(&uri("com.news.sport"), retained, 8)
        .await
        .unwrap();
    assert!(sport.next().await.unwrap().is_retained());
    let all = pattern("com..sport", Match::Wildcard);
    let mut all = other
        .subscribe(all, SubscribeOptions::default(), 8)
        .await
        .unwrap();
    one.publish(publish("com.weather.sport", flag("disclose_me")))
        .await
        .unwrap();
    let event = all.next().await.unwrap();
    assert_eq!(&*event.topic, "com.weather.sport");
    one.close(LONG).await;
    other.close(LONG).await;
}

#[tokio::test]
async fn parts_of_a_result_arrive_in_order_and_the_session_goes_on_in_each_mode() {
    let Some(folder) = peers::installed() else {
        return;
    };
    let router = RealRouter::shared_crossbar(&folder).await;
    let callee = Client::connect(&uri(PARTS), &config(&router.url()))
        .await
        .unwrap();
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
                        match call.progress(payload([part.into()])).await {
                            Ok(()) => {}
                            Err(NoProgress::NotWanted) => break,
                            Err(NoProgress::Interrupted | NoProgress::Ended) => {
                                tell.notify_one();
                                break;
                            }
                        }
                    }
                    Ok(payload(["all".into()]))
                }
            },
        )
        .await
        .unwrap();
    let pool = Pool::start(uri(PARTS), config(&router.url()));
    let wide = ProgressLimits {
        queue: 10_000,
        ..ProgressLimits::default()
    };
    let asking = call("com.example.count", Value::I64(1_000));
    let mut stream = pool.call_progressive(asking, wide, LONG).unwrap();
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
    // Without end. `skip` would leave the callee at work.
    for cancel in [CancelMode::Kill, CancelMode::KillNoWait] {
        let asking = Call {
            cancel,
            ..call("com.example.count", Value::Null)
        };
        let limits = ProgressLimits::default();
        let mut stream = pool.call_progressive(asking.clone(), limits, LONG).unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        stopped.notified().await;
        let mut stream = pool.call_progressive(asking, limits, LONG).unwrap();
        stream.next().await.unwrap().unwrap();
        // A call on the same session or another: nobody is held up by who does not read.
        let result = pool
            .call(call("com.example.count", Value::I64(3)), LONG)
            .await
            .unwrap();
        assert_eq!(result.payload.args(), [Value::from("all")]);
        // The callee hears that it does not keep up.
        stopped.notified().await;
        let error = loop {
            if let Err(error) = stream.next().await.unwrap() {
                break error;
            }
        };
        assert!(matches!(error, CallError::Overrun(64)), "{error:?}");
    }
    let status = pool.status();
    for session in &status.sessions {
        assert_eq!(
            (session.reconnects, session.in_flight),
            (0, 0),
            "{status:?}"
        );
    }
    pool.drain(LONG).await;
    callee.close(LONG).await;
}

#[tokio::test]
async fn a_pool_keeps_what_it_holds_and_follows_what_is_registered_where_it_can() {
    let Some(folder) = peers::installed() else {
        return;
    };
    for (brand, has_map) in [
        (Brand::Crossbar, true),
        (Brand::Xconn, false),
        (Brand::Fox, false),
    ] {
        // A name that fox-wamp takes too.
        let realm = "market";
        let mut router = RealRouter::start(brand, &folder, &[realm]).await;
        let pool = Pool::start(uri(realm), config(&router.url()));
        let offer = pool
            .register(uri("com.kept"), RegisterOptions::default(), |call| async {
                Ok(call.payload)
            })
            .unwrap();
        let mut events = pool
            .subscribe(uri("com.t"), SubscribeOptions::default(), 8)
            .unwrap();
        let map = pool.registrations();
        for turn in 0..2_u64 {
            let other = Client::connect(&uri(realm), &config(&router.url()))
                .await
                .unwrap();
            assert!(events.ready(LONG).await, "{brand:?}: {:?}", events.status());
            assert!(offer.ready(LONG).await, "{brand:?}: {:?}", offer.status());
            let result = other.call(call("com.kept", Value::I64(1))).await.unwrap();
            assert_eq!(result.payload.args(), [Value::I64(1)], "{brand:?}");
            let publish = Publish::new(uri("com.t"), payload([Value::I64(1)]), LONG);
            other.publish(publish).await.unwrap();
            assert!(events.next().await.is_some());
            assert_eq!(events.gaps(), turn, "{brand:?}");
            if has_map {
                follow(&map, &other).await;
            } else {
                let state = |map: &Registrations| map.status().state;
                map.wait_until(|map| state(map) == RegistrationsState::Unavailable)
                    .await;
                assert_eq!(map.covers("com.kept"), None);
            }
            router.restart(&folder).await;
            other.closed().await;
        }
        pool.drain(LONG).await;
        assert!(events.next().await.is_none());
    }
}

/// Sees procedures come and go.
async fn follow(map: &Registrations, callee: &Client) {
    map.wait_until(|map| map.covers("com.kept") == Some(true))
        .await;
    let brief = pattern("com.brief.", Match::Prefix);
    let registration = callee
        .register(brief, RegisterOptions::default(), |_| async {
            Ok(Payload::default())
        })
        .await
        .unwrap();
    map.wait_until(|map| map.covers("com.brief.one") == Some(true))
        .await;
    registration.unregister().await.unwrap();
    map.wait_until(|map| map.covers("com.brief.one") == Some(false))
        .await;
    assert!(!map.status().is_partial);
}
