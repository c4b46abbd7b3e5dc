//! Subscriptions and registrations that a pool keeps.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use wampgate::value::Value;
use wampgate::wamp::client::{RegisterOptions, SubscribeOptions};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::id::SessionId;
use wampgate::wamp::message::Message;
use wampgate::wamp::pool::{OfferKind, OfferState, Pool};

use crate::fake_router::{FakeRouter, LONG, Peer, call, config, grant, realm, uri};

const SECOND: Duration = Duration::from_secs(1);

fn pool_of(sessions: usize) -> (Pool, FakeRouter) {
    let (router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        sessions,
        ..config(endpoint)
    };
    (Pool::start(realm(), config), router)
}

async fn refuse(peer: &mut Peer, error: &str) {
    let (code, request) = match peer.receive().await {
        Message::Subscribe { request, .. } => (32, request),
        Message::Register { request, .. } => (64, request),
        other => panic!("{other:?}"),
    };
    peer.send_raw(&format!(r#"[8,{code},{request},{{}},"{error}"]"#))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pools_subscription_survives_its_session_and_tells_of_the_gap() {
    let (pool, mut router) = pool_of(1);
    let none = SubscribeOptions::default();
    let mut events = pool.subscribe(uri("com.t"), none, 8).unwrap();
    assert_eq!(events.status().state, OfferState::Pending);
    let mut peer = router.welcome().await;
    grant(&mut peer, 30).await;
    assert!(events.ready(LONG).await);
    peer.send_raw(r#"[36,30,1,{},["one"]]"#).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.payload.args(), [Value::from("one")]);
    assert_eq!(events.gaps(), 0);

    drop(peer);
    let mut peer = router.welcome().await;
    grant(&mut peer, 31).await;
    peer.send_raw(r#"[36,31,2,{},["two"]]"#).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.payload.args(), [Value::from("two")]);
    assert_eq!(events.gaps(), 1);
    let status = &pool.status().offers[0];
    assert_eq!(status.state, OfferState::Established);
    assert_eq!(status.kind, OfferKind::Subscription);
    assert_eq!(status.pattern, uri("com.t").into());
    assert_eq!(
        (status.established, status.session),
        (2, Some(SessionId(4711)))
    );

    drop(events);
    peer.hears_unsubscribe(31).await;
    assert!(pool.status().offers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_session_held_moves_to_another_at_once() {
    let (pool, mut router) = pool_of(2);
    let mut peers = vec![router.welcome().await, router.welcome().await];
    let none = RegisterOptions::default();
    let offer = pool
        .register(uri("com.p"), none, |call| async move { Ok(call.payload) })
        .unwrap();
    // On either of them.
    let (first, second) = peers.split_at_mut(1);
    let holder = tokio::select! {
        () = grant(&mut first[0], 70) => 0,
        () = grant(&mut second[0], 70) => 1,
    };
    assert!(offer.ready(LONG).await);
    router.set_up(false);
    let began = Instant::now();
    drop(peers.remove(holder));
    let mut peer = peers.remove(0);
    // The router has not noticed that the other one is gone.
    for _ in 0..3 {
        refuse(&mut peer, "wamp.error.procedure_already_exists").await;
    }
    grant(&mut peer, 71).await;
    assert!(offer.ready(LONG).await);
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
    peer.send_raw(r#"[68,1,71,{},["x"]]"#).await;
    assert!(matches!(peer.receive().await, Message::Yield { .. }));
    drop(offer);
    assert!(matches!(peer.receive().await, Message::Unregister { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_shown_and_tried_again_seldom() {
    let (pool, mut router) = pool_of(1);
    let none = SubscribeOptions::default();
    let events = pool.subscribe(uri("com.secret"), none, 8).unwrap();
    let mut peer = router.welcome().await;
    let began = Instant::now();
    for _ in 0..4 {
        refuse(&mut peer, "wamp.error.not_authorized").await;
    }
    // Each wait is 15 to 30 seconds.
    assert!(began.elapsed() >= 45 * SECOND, "{:?}", began.elapsed());
    assert!(!events.ready(SECOND).await);
    let status = events.status();
    assert_eq!(status.state, OfferState::Refused);
    assert_eq!(
        status.last_error.as_deref(),
        Some("answered with wamp.error.not_authorized")
    );
    grant(&mut peer, 30).await;
    assert!(events.ready(LONG).await);
    assert_eq!(events.gaps(), 0, "it was never lost");
}

#[tokio::test(start_paused = true)]
async fn what_the_router_takes_away_is_asked_for_again_but_in_no_tight_loop() {
    let (pool, mut router) = pool_of(1);
    let none = SubscribeOptions::default();
    let events = pool.subscribe(uri("com.t"), none, 8).unwrap();
    let mut peer = router.welcome().await;
    let mut turns = 0;
    let revoke = async {
        loop {
            grant(&mut peer, 30).await;
            peer.send_raw(r#"[35,0,{"subscription":30}]"#).await;
            turns += 1;
        }
    };
    assert!(timeout(600 * SECOND, revoke).await.is_err());
    assert!((20..=90).contains(&turns), "{turns}");
    drop(events);
}

#[tokio::test(start_paused = true)]
async fn when_the_pool_is_drained_procedures_are_withdrawn_and_streams_end() {
    let (pool, mut router) = pool_of(1);
    let mut peer = router.welcome().await;
    let none = RegisterOptions::default();
    let offer = pool
        .register(uri("com.p"), none, |call| async move { Ok(call.payload) })
        .unwrap();
    grant(&mut peer, 70).await;
    let mut events = pool
        .subscribe(uri("com.t"), SubscribeOptions::default(), 8)
        .unwrap();
    grant(&mut peer, 30).await;
    assert!(offer.ready(LONG).await && events.ready(LONG).await);
    // A call keeps the session until it is answered.
    let calling = pool.call(call("com.slow"), SECOND);
    let serve = async {
        let (request, ..) = peer.call().await;
        let (_, ()) = tokio::join!(pool.drain(LONG), async {
            assert!(matches!(peer.receive().await, Message::Unregister { .. }));
            peer.send_raw(r#"[36,30,1,{},["last"]]"#).await;
            peer.result(request, 1_i64).await;
            assert!(matches!(peer.receive().await, Message::Goodbye { .. }));
            peer.send_raw(r#"[6,{},"wamp.close.goodbye_and_out"]"#)
                .await;
        });
    };
    let (result, ()) = tokio::join!(calling, serve);
    result.unwrap();
    let event = events.next().await.unwrap();
    assert_eq!(event.payload.args(), [Value::from("last")]);
    assert!(events.next().await.is_none());
    assert_eq!(offer.status().state, OfferState::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pool_that_is_being_drained_offers_nothing_anew() {
    // Whoever hears of it first: the keeper of the session it is on, that of another, or its own.
    for _ in 0..50 {
        let (pool, mut router) = pool_of(4);
        let mut peers = Vec::new();
        for _ in 0..4 {
            peers.push(router.welcome().await);
        }
        let none = RegisterOptions::default();
        let offer = pool
            .register(uri("com.p"), none, |call| async move { Ok(call.payload) })
            .unwrap();
        let serve = |mut peer: Peer| async move {
            let mut asked = 0;
            loop {
                match peer.receive().await {
                    Message::Register { request, .. } => {
                        asked += 1;
                        peer.send_raw(&format!("[65,{request},70]")).await;
                    }
                    Message::Unregister { request, .. } => {
                        peer.send_raw(&format!("[67,{request}]")).await;
                    }
                    Message::Goodbye { .. } => {
                        peer.send_raw(r#"[6,{},"wamp.close.goodbye_and_out"]"#)
                            .await;
                        return asked;
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let draining = async {
            assert!(offer.ready(LONG).await);
            pool.drain(LONG).await;
        };
        let served = futures_util::future::join_all(peers.into_iter().map(serve));
        let (asked, ()) = tokio::join!(served, draining);
        assert_eq!(asked.iter().sum::<u32>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_the_last_handle_of_its_pool() {
    let (pool, mut router) = pool_of(1);
    let none = SubscribeOptions::default();
    let mut kept = pool.subscribe(uri("com.t"), none, 8).unwrap();
    let mut peer = router.welcome().await;
    grant(&mut peer, 30).await;
    assert!(kept.ready(LONG).await);
    drop(pool);
    assert!(kept.next().await.is_none());
    assert_eq!(kept.status().state, OfferState::Ended);
}
