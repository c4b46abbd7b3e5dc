//! Subscriptions and registrations: patterns, options, and what a pool does to keep them.

use wampgate::uri::{Match, UriCheck, UriPattern};
use wampgate::value::Value;
use wampgate::wamp::client::{Client, Originator, RegisterOptions, SubscribeOptions, Subscription};
use wampgate::wamp::error::CallError;
use wampgate::wamp::id::{RegistrationId, SessionId, SubscriptionId};
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::options::Invoke;

use crate::fake_router::{FEATURES, Peer, call, map, publish, session, session_with, uri};

fn pattern(text: &str, policy: Match) -> UriPattern {
    UriPattern::parse(text, policy, UriCheck::Loose).unwrap()
}

/// Subscribes, and asserts what is asked of the router; the subscription's id is 30.
async fn subscribe(
    client: &Client,
    peer: &mut Peer,
    topic: UriPattern,
    options: SubscribeOptions,
    asked: &str,
) -> Subscription {
    let (subscription, ()) = tokio::join!(client.subscribe(topic, options, 8), async {
        let message = peer.receive().await;
        let Message::Subscribe {
            request, options, ..
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(options, map(asked));
        let subscription = SubscriptionId(30);
        peer.send(Message::Subscribed {
            request,
            subscription,
        })
        .await;
    });
    subscription.unwrap()
}

// ---- one session ----

#[tokio::test(start_paused = true)]
async fn a_patterns_events_name_their_topic_and_their_publisher() {
    let (client, mut peer) = session().await;
    let topic = pattern("com..created", Match::Wildcard);
    let options = SubscribeOptions { get_retained: true };
    let asked = r#"{"match": "wildcard", "get_retained": true}"#;
    let mut events = subscribe(&client, &mut peer, topic, options, asked).await;
    peer.send_raw(
        r#"[36,30,1,{"topic":"com.order.created","publisher":7,"publisher_authid":"bob","publisher_authrole":"user","retained":true}]"#,
    )
    .await;
    let event = events.next().await.unwrap();
    assert_eq!(&*event.topic, "com.order.created");
    assert_eq!(event.publisher(), Some(SessionId(7)));
    assert_eq!(event.publisher_authid(), Some("bob"));
    assert_eq!(event.publisher_authrole(), Some("user"));
    assert!(event.is_retained());
    // A broker that names nothing.
    peer.send_raw(r#"[36,30,1,{}]"#).await;
    let event = events.next().await.unwrap();
    assert_eq!(&*event.topic, "com..created");
    assert_eq!(event.publisher(), None);
    assert!(!event.is_retained());
}

#[tokio::test(start_paused = true)]
async fn the_same_text_by_another_policy_is_another_subscription() {
    let (client, mut peer) = session().await;
    let none = SubscribeOptions::default();
    let mut exact = subscribe(&client, &mut peer, uri("com.t").into(), none, "{}").await;
    let prefix = pattern("com.t", Match::Prefix);
    let asked = r#"{"match": "prefix"}"#;
    let (subscribed, ()) = tokio::join!(client.subscribe(prefix, none, 8), async {
        let message = peer.receive().await;
        let Message::Subscribe {
            request, options, ..
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(options, map(asked));
        peer.send_raw(&format!("[33,{request},31]")).await;
    });
    let mut prefixed = subscribed.unwrap();
    peer.send_raw(r#"[36,31,2,{"topic":"com.t.x"}]"#).await;
    peer.send_raw(r#"[36,30,1,{}]"#).await;
    assert_eq!(&*prefixed.next().await.unwrap().topic, "com.t.x");
    assert_eq!(&*exact.next().await.unwrap().topic, "com.t");
    drop(prefixed);
    assert!(matches!(
        peer.receive().await,
        Message::Unsubscribe {
            subscription: SubscriptionId(31),
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_registrations_options_are_told_and_its_invocations_name_procedure_and_caller() {
    let (client, mut peer) = session().await;
    let procedure = pattern("com.shop.", Match::Prefix);
    let options = RegisterOptions {
        invoke: Invoke::RoundRobin,
        disclose_caller: true,
    };
    let registering = client.register(procedure, options, |call| async move {
        let caller = call.caller().map_or(Value::Null, |caller| caller.0.into());
        let texts = [
            Some(&*call.procedure),
            call.caller_authid(),
            call.caller_authrole(),
        ];
        let texts = texts.map(|text| text.map_or(Value::Null, Value::from));
        let all = texts.into_iter().chain([caller]).collect();
        Ok(Payload::new(all, map("{}")))
    });
    let (registration, ()) = tokio::join!(registering, async {
        let message = peer.receive().await;
        let Message::Register {
            request,
            options,
            procedure,
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(procedure, "com.shop.");
        assert_eq!(
            options,
            map(r#"{"match": "prefix", "invoke": "roundrobin", "disclose_caller": true}"#)
        );
        let registration = RegistrationId(70);
        peer.send(Message::Registered {
            request,
            registration,
        })
        .await;
    });
    let mut registration = registration.unwrap();
    for (details, answer) in [
        (
            r#"{"procedure":"com.shop.buy","caller":9,"caller_authid":"bob","caller_authrole":"user"}"#,
            r#"["com.shop.buy", "bob", "user", 9]"#,
        ),
        ("{}", r#"["com.shop.", null, null, null]"#),
    ] {
        peer.send_raw(&format!("[68,1,70,{details}]")).await;
        let message = peer.receive().await;
        let Message::Yield { payload, .. } = message else {
            panic!("{message:?}");
        };
        let wanted: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(Value::from(payload.args().to_vec()), wanted);
    }
    // Revoked: its end is told, and it is not withdrawn again.
    peer.send_raw(r#"[67,0,{"registration":70}]"#).await;
    registration.ended().await;
    registration.ended().await;
    drop(registration);
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pattern_that_the_router_would_not_take_is_never_sent() {
    let (client, mut peer) =
        session_with(FEATURES, |config| config.uri_check = UriCheck::Strict).await;
    let loose = pattern("com..x-y", Match::Wildcard);
    let error = client
        .subscribe(loose, SubscribeOptions::default(), 1)
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::InvalidUri { .. }), "{error:?}");
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whom_a_request_is_made_for_is_told_with_our_own_session() {
    let (client, mut peer) = session().await;
    let originator = || {
        Some(Originator {
            authid: "bob".to_owned(),
            authrole: "user".to_owned(),
        })
    };
    let told = map(r#"{"forward_for": [{"session": 4711, "authid": "bob", "authrole": "user"}]}"#);
    let mut asking = call("com.a");
    asking.on_behalf_of = originator();
    let mut telling = publish("com.t");
    telling.on_behalf_of = originator();
    telling.options = map(r#"{"acknowledge": false}"#);
    let serve = async {
        let message = peer.receive().await;
        let Message::Call {
            request, options, ..
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(options, told);
        peer.result(request, 1_i64).await;
        let message = peer.receive().await;
        let Message::Publish { options, .. } = message else {
            panic!("{message:?}");
        };
        assert_eq!(options["forward_for"], told["forward_for"]);
    };
    tokio::join!(serve, async {
        client.call(asking).await.unwrap();
        client.publish(telling).await.unwrap();
    });
    // Nobody else may say it.
    let mut forged = call("com.a");
    forged.options = told.clone();
    let error = client.call(forged).await.unwrap_err();
    assert!(matches!(error, CallError::InvalidOption(_)), "{error:?}");
}
