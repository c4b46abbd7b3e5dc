//! Routers and callers that ask more of our client than it can do: it says so, counts what it drops,
//! and its session goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{Client, Publish, RegisterOptions, Registration, SubscribeOptions};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::error::CallError;
use wampgate::wamp::id::{RegistrationId, RequestId, SubscriptionId};
use wampgate::wamp::message::{Message, Payload};

use crate::fake_router::{FakeRouter, LONG, Peer, args, call, config, map, publish, realm, uri};
use crate::peer::router;

const RUNNING: usize = 8;
const FLOOD: usize = 5_000;

/// A session that runs up to [`RUNNING`] invocations, and the router's end of it.
async fn session() -> (Client, Peer) {
    let (mut router, endpoint) = FakeRouter::in_process(64);
    let config = RouterConfig {
        max_in_flight: RUNNING,
        ..config(endpoint)
    };
    let realm = realm();
    let (client, peer) = tokio::join!(Client::connect(&realm, &config), router.welcome());
    (client.unwrap(), peer)
}

/// Takes in the REGISTER of a handler, and gives it the id 70.
async fn registered(peer: &mut Peer) {
    let Message::Register { request, .. } = peer.receive().await else {
        panic!("no REGISTER");
    };
    let registration = RegistrationId(70);
    peer.send(Message::Registered {
        request,
        registration,
    })
    .await;
}

/// Returns the error with which the next message answers an invocation.
async fn refusal(peer: &mut Peer) -> (RequestId, String) {
    match peer.receive().await {
        Message::Error {
            request_type: 68,
            request,
            error,
            ..
        } => (request, error),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn invocations_beyond_the_bound_are_refused_as_unavailable_and_the_others_run() {
    let (client, mut peer) = session().await;
    let gate = Arc::new(Semaphore::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (held, seen) = (gate.clone(), most.clone());
    let running = Arc::new(AtomicUsize::new(0));
    let procedure = uri("com.p");
    let handler = move |invocation: wampgate::wamp::client::Invocation| {
        let (held, seen, running) = (held.clone(), seen.clone(), running.clone());
        async move {
            seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            held.acquire().await.unwrap().forget();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(invocation.payload)
        }
    };
    let registering = client.register(&procedure, RegisterOptions::default(), handler);
    let (registration, ()) = tokio::join!(registering, registered(&mut peer));
    let _registration: Registration = registration.unwrap();

    for request in 1..=RUNNING + FLOOD {
        peer.send_raw(&format!("[68,{request},70,{{}},[{request}]]"))
            .await;
        if request > RUNNING {
            let (refused, error) = refusal(&mut peer).await;
            assert_eq!(refused, RequestId(request as u64));
            assert_eq!(error, "wamp.error.unavailable");
        }
    }
    assert_eq!(most.load(Ordering::SeqCst), RUNNING);
    // The session is as it was: its own calls are answered, and so are those that run.
    let (result, _) = tokio::join!(client.call(call("com.own")), peer.echo());
    result.unwrap();
    gate.add_permits(RUNNING);
    for _ in 0..RUNNING {
        assert!(matches!(peer.receive().await, Message::Yield { .. }));
    }
    // And the places are free again.
    gate.add_permits(1);
    peer.send_raw(r#"[68,99999,70,{},["again"]]"#).await;
    assert!(matches!(
        peer.receive().await,
        Message::Yield { request: RequestId(99_999), payload, .. }
            if payload.args() == [Value::from("again")]
    ));
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_heed_an_interrupt_keep_their_places_and_get_them_back_in_time() {
    let (client, mut peer) = session().await;
    let procedure = uri("com.p");
    let handler = |invocation: wampgate::wamp::client::Invocation| {
        // Says that it watches, and does not.
        drop(invocation.interrupted());
        std::future::pending()
    };
    let registering = client.register(&procedure, RegisterOptions::default(), handler);
    let (registration, ()) = tokio::join!(registering, registered(&mut peer));
    let _registration = registration.unwrap();
    let began = Instant::now();
    let mut running = 0;
    for request in 1..=FLOOD {
        peer.send_raw(&format!("[68,{request},70,{{}}]")).await;
        tokio::task::yield_now().await;
        peer.send_raw(&format!("[69,{request},{{}}]")).await;
        match refusal(&mut peer).await.1.as_str() {
            "wamp.error.canceled" => running += 1,
            "wamp.error.unavailable" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(running, RUNNING, "each is answered once, whatever it does");
    tokio::time::sleep(Duration::from_secs(6)).await;
    peer.send_raw("[68,99999,70,{}]").await;
    tokio::task::yield_now().await;
    peer.send_raw("[69,99999,{}]").await;
    assert_eq!(refusal(&mut peer).await.1, "wamp.error.canceled");
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_reads_are_counted_and_hold_nothing_up() {
    const QUEUE: usize = 16;
    let (client, mut peer) = session().await;
    let topic = uri("com.t");
    let (subscription, ()) = tokio::join!(
        client.subscribe(&topic, SubscribeOptions::default(), QUEUE),
        async {
            let Message::Subscribe { request, .. } = peer.receive().await else {
                panic!("no SUBSCRIBE");
            };
            let subscription = SubscriptionId(30);
            peer.send(Message::Subscribed {
                request,
                subscription,
            })
            .await;
        }
    );
    let mut events = subscription.unwrap();
    for number in 0..FLOOD {
        peer.send_raw(&format!("[36,30,{number},{{}},[{number}]]"))
            .await;
        if number % 1000 == 0 {
            let (result, _) = tokio::join!(client.call(call("com.own")), peer.echo());
            result.unwrap();
        }
    }
    let (result, _) = tokio::join!(client.call(call("com.own")), peer.echo());
    result.unwrap();
    let lost = (FLOOD - QUEUE) as u64;
    assert_eq!(events.dropped(), lost);
    assert_eq!(client.dropped_messages().events, lost);
    // What waits is the oldest, in order.
    for number in 0..QUEUE {
        let event = events.next().await.unwrap();
        assert_eq!(event.payload.args(), [Value::from(number as u64)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_does_not_read_costs_its_events_but_neither_session_nor_router() {
    const QUEUE: usize = 16;
    let router = router();
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let config = RouterConfig {
        heartbeat: Some(Duration::from_secs(15)),
        ..config(url.as_str().into())
    };
    let realm = uri(crate::peer::REALM);
    let subscriber = Client::connect(&realm, &config).await.unwrap();
    let publisher = Client::connect(&realm, &config).await.unwrap();
    let topic = uri("com.t");
    let lazy = subscriber.subscribe(&topic, SubscribeOptions::default(), QUEUE);
    let mut lazy = lazy.await.unwrap();
    let eager = subscriber.subscribe(&topic, SubscribeOptions::default(), FLOOD);
    let mut eager = eager.await.unwrap();

    let silent = || Publish {
        options: map(r#"{"acknowledge": false}"#),
        payload: args(["x".repeat(1000).into()]),
        ..publish("com.t")
    };
    for batch in 0..FLOOD / 500 {
        let publishing = join_all((0..500).map(|_| publisher.publish(silent())));
        for outcome in publishing.await {
            outcome.unwrap_or_else(|error| panic!("{batch}: {error:?}"));
        }
    }
    let reading = async {
        for number in 0..FLOOD {
            assert!(eager.next().await.is_some(), "{number}");
        }
    };
    tokio::time::timeout(LONG, reading)
        .await
        .expect("all events");
    assert_eq!(eager.dropped(), 0);
    assert_eq!(lazy.dropped(), (FLOOD - QUEUE) as u64);
    for _ in 0..QUEUE {
        lazy.next().await.unwrap();
    }
    assert!(subscriber.is_open() && publisher.is_open());
    router.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_ask_too_much_of_a_callee_are_told_and_are_served_later() {
    let router = router();
    let url = router.listen("127.0.0.1:0").await.unwrap().url();
    let roomy = config(url.as_str().into());
    let narrow = RouterConfig {
        max_in_flight: RUNNING,
        ..roomy.clone()
    };
    let realm = uri(crate::peer::REALM);
    let callee = Client::connect(&realm, &narrow).await.unwrap();
    let caller = Client::connect(&realm, &roomy).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let procedure = uri("com.p");
    let registration = callee.register(&procedure, RegisterOptions::default(), move |_| {
        let held = held.clone();
        async move {
            let _permit = held.acquire().await.unwrap();
            Ok(Payload::new(vec![true.into()], Map::new()))
        }
    });
    let _registration = registration.await.unwrap();

    let calls = join_all((0..200).map(|_| caller.call(call("com.p"))));
    let release = async {
        // All but those that run have been refused when no more than these are in flight.
        while caller.in_flight() != RUNNING {
            tokio::task::yield_now().await;
        }
        gate.add_permits(RUNNING);
    };
    let both = async { tokio::join!(calls, release).0 };
    let outcomes = tokio::time::timeout(LONG, both).await.expect("an end");
    let refused = outcomes.iter().filter(|outcome| {
        matches!(outcome, Err(CallError::Application(error)) if error.uri == "wamp.error.unavailable")
    });
    assert_eq!(refused.count(), 200 - RUNNING);
    let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(served, RUNNING);
    caller.call(call("com.p")).await.unwrap();
    router.shutdown().await;
}
