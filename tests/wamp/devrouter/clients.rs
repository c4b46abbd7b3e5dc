//! Our own client makes use of what the router offers.

use std::sync::Arc;

use wampgate::uri::{Match, UriCheck, UriPattern};
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{
    Call, CallStep, Client, Originator, ProgressLimits, Publish, RegisterOptions, SubscribeOptions,
};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::error::CallError;
use wampgate::wamp::message::Payload;
use wampgate::wamp::options::Invoke;

use crate::fake_router::{LONG, args, call, map, publish};
use crate::peer::{REALM, router, uri};

fn pattern(text: &str, policy: Match) -> UriPattern {
    UriPattern::parse(text, policy, UriCheck::Loose).unwrap()
}

/// A router, and so many sessions of this process.
async fn sessions<const N: usize>() -> [Client; N] {
    let router = Arc::new(router());
    let config = RouterConfig {
        urls: vec![router.endpoint()],
        ..RouterConfig::default()
    };
    let mut clients = Vec::new();
    for _ in 0..N {
        clients.push(Client::connect(&uri(REALM), &config).await.unwrap());
    }
    clients.try_into().unwrap()
}

#[tokio::test]
async fn patterns_and_retained_events() {
    let [publisher, subscriber] = sessions().await;
    assert!(
        subscriber
            .welcome()
            .broker_has("pattern_based_subscription")
    );
    let retained = Publish {
        options: map(r#"{"retain": true}"#),
        ..publish("com.shop.orders.created")
    };
    let first = publisher.publish(retained).await.unwrap();
    let mut events = subscriber
        .subscribe(
            pattern("com.shop..created", Match::Wildcard),
            SubscribeOptions { get_retained: true },
            8,
        )
        .await
        .unwrap();
    let event = events.next().await.unwrap();
    assert_eq!(Some(event.publication), first);
    assert_eq!(&*event.topic, "com.shop.orders.created");
    assert_eq!(event.details["retained"], Value::Bool(true));
    publisher
        .publish(publish("com.shop.users.created"))
        .await
        .unwrap();
    let event = events.next().await.unwrap();
    assert_eq!(&*event.topic, "com.shop.users.created");
    assert!(!event.details.contains_key("retained"));
}

#[tokio::test]
async fn parts_of_a_result_and_for_whom_it_is() {
    let [caller, callee] = sessions().await;
    let _registration = callee
        .register(
            pattern("com.count.", Match::Prefix),
            RegisterOptions::default(),
            |invocation| async move {
                for part in 1..=3_i64 {
                    invocation.progress(args([part.into()])).await.unwrap();
                }
                let whom = invocation.caller_authid().unwrap();
                Ok(args([Value::from(&*invocation.procedure), whom.into()]))
            },
        )
        .await
        .unwrap();
    let call = Call {
        on_behalf_of: Some(Originator {
            authid: "ann".to_owned(),
            authrole: "clerk".to_owned(),
        }),
        ..call("com.count.three")
    };
    let mut parts = caller
        .call_progressive(call, ProgressLimits::default())
        .unwrap();
    for part in 1..=3_i64 {
        match parts.next().await.unwrap().unwrap() {
            CallStep::Progress(result) => assert_eq!(result.payload.args(), [Value::from(part)]),
            other @ CallStep::Result(_) => panic!("{other:?}"),
        }
    }
    match parts.next().await.unwrap().unwrap() {
        CallStep::Result(result) => {
            let expected = ["com.count.three", "ann"].map(Value::from);
            assert_eq!(result.payload.args(), expected);
        }
        other @ CallStep::Progress(_) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_procedure_that_is_shared_and_found_by_the_meta_api() {
    let [caller, one, two] = sessions().await;
    let mut created = caller
        .subscribe(
            &uri("wamp.registration.on_create"),
            SubscribeOptions::default(),
            8,
        )
        .await
        .unwrap();
    let mut registrations = Vec::new();
    for (callee, name) in [(&one, "one"), (&two, "two")] {
        let options = RegisterOptions {
            invoke: Invoke::RoundRobin,
            ..RegisterOptions::default()
        };
        let registration = callee
            .register(&uri("com.a"), options, move |_| async move {
                Ok(args([name.into()]))
            })
            .await
            .unwrap();
        registrations.push(registration);
    }
    let event = created.next().await.unwrap();
    assert_eq!(
        event.payload.args()[1].as_map().unwrap()["uri"],
        "com.a".into()
    );
    let found = Call {
        payload: args(["com.a".into()]),
        ..call("wamp.registration.match")
    };
    let found = caller.call(found).await.unwrap();
    let id = Value::from(registrations[0].id().0);
    assert_eq!(found.payload, Payload::new(vec![id], Map::new()));
    for name in ["one", "two", "one"] {
        let result = caller.call(call("com.a")).await.unwrap();
        assert_eq!(result.payload.args(), [Value::from(name)]);
    }
    // Its share goes with it, and the rest with the last.
    one.close(LONG).await;
    for _ in 0..2 {
        let result = caller.call(call("com.a")).await.unwrap();
        assert_eq!(result.payload.args(), [Value::from("two")]);
    }
    two.close(LONG).await;
    match caller.call(call("com.a")).await.unwrap_err() {
        CallError::Application(error) => assert_eq!(error.uri, "wamp.error.no_such_procedure"),
        other => panic!("{other:?}"),
    }
}
