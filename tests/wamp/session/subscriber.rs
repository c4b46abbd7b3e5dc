//! Subscriptions and their events.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_subscription_gets_events_until_it_is_left() {
    let (client, mut peer) = session().await;
    let mut one = subscribe(&client, &mut peer, 8).await;
    let mut other = subscribe(&client, &mut peer, 8).await;
    let event = one.next().await.unwrap();
    assert_eq!(&*event.topic, "com.t");
    assert_eq!(event.payload.args(), [Value::from("first")]);
    assert!(other.next().await.is_some());
    // The topic has another reader still, so the router hears nothing of this one's going.
    one.unsubscribe().await.unwrap();
    peer.send_raw(r#"[36,30,2,{},["second"]]"#).await;
    let event = other.next().await.unwrap();
    assert_eq!(event.payload.args(), [Value::from("second")]);
    let (left, ()) = tokio::join!(other.unsubscribe(), async {
        let message = peer.receive().await;
        let Message::Unsubscribe {
            request,
            subscription: SubscriptionId(30),
        } = message
        else {
            panic!("{message:?}");
        };
        peer.send(Message::Unsubscribed {
            request,
            details: Map::new(),
        })
        .await;
    });
    left.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_loses_events_and_counts_them() {
    let (client, mut peer) = session().await;
    let mut events = subscribe(&client, &mut peer, 2).await;
    for _ in 0..5 {
        peer.send_raw(r#"[36,30,2,{},["more"]]"#).await;
    }
    // Behind them, so that they are all taken in.
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
    assert_eq!(events.dropped(), 4);
    assert_eq!(client.dropped_messages().events, 4);
    assert_eq!(
        events.next().await.unwrap().payload.args(),
        [Value::from("first")]
    );
    drop(events);
    assert!(matches!(peer.receive().await, Message::Unsubscribe { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_session_or_by_revocation() {
    let (client, mut peer) = session().await;
    let mut events = subscribe(&client, &mut peer, 8).await;
    peer.send_raw(r#"[35,0,{"subscription":30,"reason":"com.gone"}]"#)
        .await;
    assert!(events.next().await.is_some());
    assert!(events.next().await.is_none());
    let mut events = subscribe(&client, &mut peer, 8).await;
    drop(peer);
    assert!(events.next().await.is_some());
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_made_for_nobody_is_left_again() {
    let (client, mut peer) = session().await;
    let topic = uri("com.t");
    let mut subscribing = Box::pin(client.subscribe(&topic, SubscribeOptions::default(), 1));
    let request = tokio::select! {
        _ = &mut subscribing => panic!("nobody answered"),
        message = peer.receive() => match message {
            Message::Subscribe { request, .. } => request,
            other => panic!("{other:?}"),
        },
    };
    drop(subscribing);
    tokio::task::yield_now().await;
    peer.send(Message::Subscribed {
        request,
        subscription: SubscriptionId(31),
    })
    .await;
    assert!(matches!(
        peer.receive().await,
        Message::Unsubscribe {
            subscription: SubscriptionId(31),
            ..
        }
    ));
}
