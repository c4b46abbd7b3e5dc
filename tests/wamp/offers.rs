//! Subscriptions and registrations of one session: patterns, options, and leaving them.

use wampgate::uri::{Match, UriCheck, UriPattern};
use wampgate::value::Value;
use wampgate::wamp::client::{Client, Originator, RegisterOptions, SubscribeOptions, Subscription};
use wampgate::wamp::error::CallError;
use wampgate::wamp::id::{RegistrationId, RequestId, SessionId, SubscriptionId};
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::options::Invoke;

use crate::fake_router::{FEATURES, Peer, call, grant, map, publish, session, session_with, uri};

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
    peer.hears_unsubscribe(31).await;
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

/// Waits for a SUBSCRIBE or REGISTER and returns its request id.
async fn asked(peer: &mut Peer) -> RequestId {
    match peer.receive().await {
        Message::Subscribe { request, .. } | Message::Register { request, .. } => request,
        other => panic!("{other:?}"),
    }
}

/// Asserts that all that was said so far has been heard, and that nothing was said about it.
async fn hears_nothing_more(client: &Client, peer: &mut Peer) {
    let (result, _) = tokio::join!(client.call(call("com.sync")), peer.echo());
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_end_the_subscription_that_is_being_made() {
    let (client, mut peer) = session().await;
    let none = SubscribeOptions::default();
    let topic = uri("com.t");
    // A broker that is slow: the first is given up when the second is asked for.
    let mut given_up = Box::pin(client.subscribe(&topic, none, 8));
    let late = tokio::select! {
        _ = &mut given_up => panic!("nobody answered"),
        request = asked(&mut peer) => request,
    };
    drop(given_up);
    let (events, ()) = tokio::join!(client.subscribe(&topic, none, 8), async {
        let request = asked(&mut peer).await;
        // It has taken both, and they are one subscription to it.
        peer.send_raw(&format!("[33,{late},30]")).await;
        hears_nothing_more(&client, &mut peer).await;
        peer.send_raw(&format!("[33,{request},30]")).await;
    });
    let mut events = events.unwrap();
    hears_nothing_more(&client, &mut peer).await;
    peer.send_raw(r#"[36,30,1,{}]"#).await;
    assert!(events.next().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_end_the_registration_that_is_being_made() {
    let (client, mut peer) = session().await;
    let shared = RegisterOptions {
        invoke: Invoke::RoundRobin,
        ..RegisterOptions::default()
    };
    let procedure = uri("com.p");
    let register = || client.register(&procedure, shared, |call| async move { Ok(call.payload) });
    let mut given_up = Box::pin(register());
    let late = tokio::select! {
        _ = &mut given_up => panic!("nobody answered"),
        request = asked(&mut peer) => request,
    };
    drop(given_up);
    let (registration, ()) = tokio::join!(register(), async {
        let request = asked(&mut peer).await;
        // To Crossbar.io a shared registration of one session is one, however often it is made.
        peer.send_raw(&format!("[65,{late},70]")).await;
        hears_nothing_more(&client, &mut peer).await;
        peer.send_raw(&format!("[65,{request},70]")).await;
    });
    let registration = registration.unwrap();
    hears_nothing_more(&client, &mut peer).await;
    peer.send_raw(r#"[68,1,70,{},["x"]]"#).await;
    assert!(matches!(peer.receive().await, Message::Yield { .. }));
    drop(registration);
    assert!(matches!(peer.receive().await, Message::Unregister { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_was_made_for_nobody_is_left_when_nothing_else_is_being_made() {
    let (client, mut peer) = session().await;
    let none = SubscribeOptions::default();
    let topic = uri("com.t");
    let mut given_up = Box::pin(client.subscribe(&topic, none, 8));
    let late = tokio::select! {
        _ = &mut given_up => panic!("nobody answered"),
        request = asked(&mut peer) => request,
    };
    drop(given_up);
    let other = uri("com.other");
    let (refused, ()) = tokio::join!(client.subscribe(&other, none, 8), async {
        let request = asked(&mut peer).await;
        peer.send_raw(&format!("[33,{late},30]")).await;
        hears_nothing_more(&client, &mut peer).await;
        peer.send_raw(&format!(
            r#"[8,32,{request},{{}},"wamp.error.not_authorized"]"#
        ))
        .await;
    });
    assert!(refused.is_err());
    peer.hears_unsubscribe(30).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_while_it_is_asked_for_again_is_kept_for_the_new_one() {
    let (client, mut peer) = session().await;
    let none = SubscribeOptions::default();
    let topic = uri("com.t");
    let subscribe = || client.subscribe(&topic, none, 8);
    let (first, ()) = tokio::join!(subscribe(), grant(&mut peer, 30));
    let first = first.unwrap();
    // Of another topic's answer nothing is to be feared.
    let other = uri("com.other");
    let (others, ()) = tokio::join!(client.subscribe(&other, none, 8), grant(&mut peer, 31));
    let mut others = Some(others.unwrap());
    let (second, ()) = tokio::join!(subscribe(), async {
        let request = asked(&mut peer).await;
        first.unsubscribe().await.unwrap();
        drop(others.take());
        peer.hears_unsubscribe(31).await;
        peer.send_raw(&format!("[33,{request},30]")).await;
    });
    let mut second = second.unwrap();
    hears_nothing_more(&client, &mut peer).await;
    peer.send_raw(r#"[36,30,1,{}]"#).await;
    assert!(second.next().await.is_some());
    // Refused, the next one does not keep it.
    let (third, ()) = tokio::join!(subscribe(), async {
        let request = asked(&mut peer).await;
        drop(second);
        hears_nothing_more(&client, &mut peer).await;
        peer.send_raw(&format!(r#"[8,32,{request},{{}},"com.error"]"#))
            .await;
    });
    assert!(third.is_err());
    assert!(matches!(peer.receive().await, Message::Unsubscribe { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_procedure_withdrawn_while_it_is_offered_again_is_kept_for_the_new_offer() {
    let (client, mut peer) = session().await;
    let shared = RegisterOptions {
        invoke: Invoke::RoundRobin,
        ..RegisterOptions::default()
    };
    let procedure = uri("com.p");
    let register = || client.register(&procedure, shared, |call| async move { Ok(call.payload) });
    let (held, ()) = tokio::join!(register(), grant(&mut peer, 70));
    let mut held = Some(held.unwrap());
    for is_dropped in [true, false] {
        let former = held.take().unwrap();
        let (next, ()) = tokio::join!(register(), async {
            let request = asked(&mut peer).await;
            if is_dropped {
                drop(former);
            } else {
                former.unregister().await.unwrap();
            }
            hears_nothing_more(&client, &mut peer).await;
            peer.send_raw(&format!("[65,{request},70]")).await;
        });
        held = Some(next.unwrap());
        hears_nothing_more(&client, &mut peer).await;
        peer.send_raw(r#"[68,1,70,{},["x"]]"#).await;
        assert!(matches!(peer.receive().await, Message::Yield { .. }));
    }
    // Given up, and answered late: what is held already is not withdrawn for that.
    let mut given_up = Box::pin(register());
    let late = tokio::select! {
        _ = &mut given_up => panic!("nobody answered"),
        request = asked(&mut peer) => request,
    };
    drop(given_up);
    hears_nothing_more(&client, &mut peer).await;
    peer.send_raw(&format!("[65,{late},70]")).await;
    hears_nothing_more(&client, &mut peer).await;
    drop(held);
    assert!(matches!(peer.receive().await, Message::Unregister { .. }));
}

#[tokio::test(start_paused = true)]
async fn who_goes_when_the_answer_is_there_already_leaves_nothing_behind() {
    let (client, mut peer) = session().await;
    let topic = uri("com.t");
    let mut subscribing = Box::pin(client.subscribe(&topic, SubscribeOptions::default(), 8));
    tokio::select! {
        _ = &mut subscribing => panic!("nobody has read the answer"),
        () = grant(&mut peer, 30) => {}
    }
    hears_nothing_more(&client, &mut peer).await;
    drop(subscribing);
    peer.hears_unsubscribe(30).await;
    let procedure = uri("com.p");
    let none = RegisterOptions::default();
    let mut registering =
        Box::pin(client.register(&procedure, none, |call| async move { Ok(call.payload) }));
    tokio::select! {
        _ = &mut registering => panic!("nobody has read the answer"),
        () = grant(&mut peer, 70) => {}
    }
    hears_nothing_more(&client, &mut peer).await;
    drop(registering);
    peer.hears_unregister(70).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_offers_a_shared_procedure_once() {
    let (client, mut peer) = session().await;
    let shared = RegisterOptions {
        invoke: Invoke::RoundRobin,
        ..RegisterOptions::default()
    };
    let procedure = uri("com.p");
    let register = |name: &'static str| {
        client.register(&procedure, shared, move |_| async move {
            Ok(Payload::new(vec![name.into()], map("{}")))
        })
    };
    let (first, ()) = tokio::join!(register("first"), grant(&mut peer, 70));
    let first = first.unwrap();
    // Crossbar.io does not refuse it, and gives it the same id.
    let (second, ()) = tokio::join!(register("second"), grant(&mut peer, 70));
    let Err(CallError::Application(error)) = second else {
        panic!("{second:?}");
    };
    assert_eq!(error.uri, "wamp.error.procedure_already_exists");
    hears_nothing_more(&client, &mut peer).await;
    peer.send_raw(r#"[68,1,70,{}]"#).await;
    let Message::Yield { payload, .. } = peer.receive().await else {
        panic!("no YIELD");
    };
    assert_eq!(payload.args(), ["first".into()]);
    drop(first);
    assert!(matches!(peer.receive().await, Message::Unregister { .. }));
    hears_nothing_more(&client, &mut peer).await;
}

// ---- kept by a pool ----
