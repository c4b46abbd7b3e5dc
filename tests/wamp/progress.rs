//! Progressive results, as a caller and as a callee.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use wampgate::value::Value;
use wampgate::wamp::client::{
    Call, CallStep, NoProgress, ProgressLimits, ProgressiveCall, RegisterOptions,
};
use wampgate::wamp::error::{ApplicationError, CallError};
use wampgate::wamp::id::{RegistrationId, RequestId};
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::options::CancelMode;
use wampgate::wamp::pool::Pool;

use crate::fake_router::{FEATURES, FakeRouter, LONG, Peer, args, call, config, map, realm};
use crate::fake_router::{session, session_with, uri};

const SECOND: Duration = Duration::from_secs(1);

fn limits(queue: usize) -> ProgressLimits {
    ProgressLimits {
        queue,
        ..ProgressLimits::default()
    }
}

/// The next step, as one argument: `Ok(("progress" or "result", argument))`.
async fn step(stream: &mut ProgressiveCall) -> (&'static str, Value) {
    match stream.next().await.expect("the stream goes on").unwrap() {
        CallStep::Progress(part) => ("progress", part.payload.args()[0].clone()),
        CallStep::Result(result) => ("result", result.payload.args()[0].clone()),
    }
}

async fn progress(peer: &mut Peer, request: RequestId, argument: i64) {
    peer.send_raw(&format!(
        r#"[50,{request},{{"progress":true}},[{argument}]]"#
    ))
    .await;
}

/// Takes the CALL of `stream`.
async fn asked(peer: &mut Peer, stream: &mut ProgressiveCall) -> RequestId {
    tokio::select! {
        step = stream.next() => panic!("nobody answered: {step:?}"),
        message = peer.receive() => match message {
            Message::Call { request, options, .. } => {
                assert_eq!(options["receive_progress"], Value::Bool(true));
                request
            }
            other => panic!("{other:?}"),
        },
    }
}

fn is_cancel(message: &Message, id: RequestId, mode: &str) -> bool {
    matches!(message, Message::Cancel { request, options }
        if *request == id && options["mode"] == Value::from(mode))
}

// ---- the caller ----

#[tokio::test(start_paused = true)]
async fn parts_come_in_order_and_the_final_result_is_the_end() {
    let (client, mut peer) = session().await;
    let mut stream = client
        .call_progressive(call("com.count"), limits(8))
        .unwrap();
    let id = asked(&mut peer, &mut stream).await;
    assert_eq!(client.in_flight(), 1);
    for part in 1..=3 {
        progress(&mut peer, id, part).await;
    }
    peer.result(id, "all").await;
    for part in 1..=3_i64 {
        assert_eq!(step(&mut stream).await, ("progress", part.into()));
    }
    assert_eq!(step(&mut stream).await, ("result", "all".into()));
    assert!(stream.next().await.is_none());
    assert!(stream.next().await.is_none());
    assert_eq!(client.in_flight(), 0);
    drop(stream);
    // Nothing is left to cancel: the next message is the next call.
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
    assert_eq!(client.dropped_messages().unsolicited, 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_it_after_what_has_come() {
    let (client, mut peer) = session().await;
    let mut stream = client
        .call_progressive(call("com.count"), limits(8))
        .unwrap();
    let id = asked(&mut peer, &mut stream).await;
    progress(&mut peer, id, 1).await;
    peer.send_raw(&format!(r#"[8,48,{id},{{}},"com.error.tired",["why"]]"#))
        .await;
    assert_eq!(step(&mut stream).await, ("progress", 1_i64.into()));
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::Application(error) if error.uri == "com.error.tired"),
        "{error:?}"
    );
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_timeout_is_that_of_each_gap() {
    let (client, mut peer) = session().await;
    let patient = Call {
        timeout: 10 * SECOND,
        ..call("com.slow")
    };
    let mut stream = client.call_progressive(patient, limits(8)).unwrap();
    let began = Instant::now();
    let id = asked(&mut peer, &mut stream).await;
    // Longer than the timeout in all, but never at once.
    for part in 1..=5_i64 {
        let (next, ()) = tokio::join!(step(&mut stream), async {
            sleep(7 * SECOND).await;
            progress(&mut peer, id, part).await;
        });
        assert_eq!(next, ("progress", part.into()));
    }
    assert_eq!(began.elapsed().as_secs(), 35);
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, CallError::Timeout(gap) if gap == 10 * SECOND),
        "{error:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 45);
    let cancel = peer.receive().await;
    assert!(is_cancel(&cancel, id, "killnowait"), "{cancel:?}");
    assert_eq!(client.in_flight(), 0);
    // What comes late is swallowed, however much, and the answer with it.
    for part in 6..9 {
        progress(&mut peer, id, part).await;
    }
    peer.result(id, "late").await;
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
    let dropped = client.dropped_messages();
    assert_eq!((dropped.late, dropped.unsolicited), (4, 0));
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_was_away_gets_what_came_before_it_counts_as_late() {
    let (client, mut peer) = session().await;
    let hurried = Call {
        timeout: SECOND,
        ..call("com.count")
    };
    let mut stream = client.call_progressive(hurried, limits(8)).unwrap();
    let id = asked(&mut peer, &mut stream).await;
    progress(&mut peer, id, 1).await;
    peer.result(id, "all").await;
    sleep(LONG).await;
    assert_eq!(step(&mut stream).await, ("progress", 1_i64.into()));
    assert_eq!(step(&mut stream).await, ("result", "all".into()));
}

#[tokio::test(start_paused = true)]
async fn the_whole_may_have_a_deadline_too() {
    let (client, mut peer) = session().await;
    let both = ProgressLimits {
        total: Some(20 * SECOND),
        ..limits(8)
    };
    let patient = Call {
        timeout: 10 * SECOND,
        ..call("com.slow")
    };
    let mut stream = client.call_progressive(patient, both).unwrap();
    let began = Instant::now();
    let id = asked(&mut peer, &mut stream).await;
    for part in 1..=2_i64 {
        let (next, ()) = tokio::join!(step(&mut stream), async {
            sleep(7 * SECOND).await;
            progress(&mut peer, id, part).await;
        });
        assert_eq!(next, ("progress", part.into()));
    }
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, CallError::Timeout(total) if total == 20 * SECOND),
        "{error:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(is_cancel(&peer.receive().await, id, "killnowait"));
}

#[tokio::test(start_paused = true)]
async fn the_dealer_is_not_told_a_timeout_that_it_could_take_for_the_whole() {
    let features = r#"{"roles": {"dealer": {"features": {"call_timeout": true}}}}"#;
    let (client, mut peer) = session_with(features, |_| {}).await;
    let mut limited = call("com.count");
    limited.options = map(r#"{"timeout": 1500}"#);
    let mut stream = client.call_progressive(limited, limits(8)).unwrap();
    let began = Instant::now();
    let message = tokio::select! {
        step = stream.next() => panic!("nobody answered: {step:?}"),
        message = peer.receive() => message,
    };
    let Message::Call { options, .. } = message else {
        panic!("{message:?}");
    };
    assert_eq!(options, map(r#"{"receive_progress": true}"#));
    // The option counts all the same.
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Timeout(_)), "{error:?}");
    assert_eq!(began.elapsed().as_millis(), 1500);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_takes_nothing_costs_only_so_much_and_nobody_else() {
    let (client, mut peer) = session().await;
    let mut stream = client
        .call_progressive(call("com.flood"), limits(4))
        .unwrap();
    let id = asked(&mut peer, &mut stream).await;
    for part in 1..=100 {
        progress(&mut peer, id, part).await;
    }
    let cancel = peer.receive().await;
    assert!(is_cancel(&cancel, id, "killnowait"), "{cancel:?}");
    assert_eq!(client.in_flight(), 0, "its place is free at once");
    // The session serves others meanwhile.
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
    for part in 1..=4_i64 {
        assert_eq!(step(&mut stream).await, ("progress", part.into()));
    }
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Overrun(4)), "{error:?}");
    assert!(!error.was_not_sent());
    assert!(stream.next().await.is_none());
    assert_eq!(client.dropped_messages().late, 96);
    // No second CANCEL when it is dropped.
    drop(stream);
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn large_parts_wait_only_up_to_so_many_bytes_but_the_first_always_does() {
    let (client, mut peer) = session().await;
    let small = ProgressLimits {
        queue_bytes: 2_000,
        ..limits(64)
    };
    let mut stream = client.call_progressive(call("com.flood"), small).unwrap();
    let id = asked(&mut peer, &mut stream).await;
    let large = |size: usize| format!(r#"[50,{id},{{"progress":true}},["{}"]]"#, "x".repeat(size));
    peer.send_raw(&large(10_000)).await;
    stream.next().await.unwrap().unwrap();
    for _ in 0..10 {
        peer.send_raw(&large(800)).await;
        peer.send_raw(&large(800)).await;
        stream.next().await.unwrap().unwrap();
        stream.next().await.unwrap().unwrap();
    }
    for _ in 0..3 {
        peer.send_raw(&large(800)).await;
    }
    assert!(is_cancel(&peer.receive().await, id, "killnowait"));
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Overrun(2)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_cancels_the_call_in_its_mode() {
    let (client, mut peer) = session().await;
    for mode in CancelMode::ALL {
        let canceled = Call {
            cancel: mode,
            ..call("com.count")
        };
        let mut stream = client.call_progressive(canceled, limits(8)).unwrap();
        let id = asked(&mut peer, &mut stream).await;
        progress(&mut peer, id, 1).await;
        step(&mut stream).await;
        drop(stream);
        let cancel = peer.receive().await;
        assert!(is_cancel(&cancel, id, mode.name()), "{cancel:?}");
    }
    assert_eq!(client.in_flight(), 0);
    // One that was never polled was never made.
    drop(client.call_progressive(call("com.count"), limits(8)));
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pools_progressive_call_moves_while_it_is_not_written_and_fails_with_its_session() {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let pool = Pool::start(realm(), config(endpoint));
    let mut stream = pool
        .call_progressive(call("com.count"), limits(8), LONG)
        .unwrap();
    assert!(stream.next().now_or_never().is_none(), "it waits");
    let mut peer = router.welcome().await;
    let id = asked(&mut peer, &mut stream).await;
    progress(&mut peer, id, 1).await;
    assert_eq!(step(&mut stream).await, ("progress", 1_i64.into()));
    drop(peer);
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Disconnected(_)), "{error:?}");

    router.set_up(false);
    let mut stream = pool
        .call_progressive(call("com.count"), limits(8), SECOND)
        .unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::NoSession { .. }), "{error:?}");
}

// ---- the callee ----

/// Registers `com.count`, whose handler is `handler`, as registration 70.
async fn offer<F, R>(
    client: &wampgate::wamp::client::Client,
    peer: &mut Peer,
    handler: F,
) -> wampgate::wamp::client::Registration
where
    F: Fn(wampgate::wamp::client::Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
{
    let procedure = uri("com.count");
    let registering = client.register(&procedure, RegisterOptions::default(), handler);
    let (registration, ()) = tokio::join!(registering, async {
        let Message::Register { request, .. } = peer.receive().await else {
            panic!("no REGISTER");
        };
        let registration = RegistrationId(70);
        peer.send(Message::Registered {
            request,
            registration,
        })
        .await;
    });
    registration.unwrap()
}

async fn hear(peer: &mut Peer) -> String {
    let message = peer.receive().await;
    let frame = peer.serializer.encode(&message).unwrap();
    String::from_utf8(frame.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handlers_parts_go_out_in_order_and_before_its_answer() {
    let (client, mut peer) = session().await;
    let _registration = offer(&client, &mut peer, |call| async move {
        // More than wait at once.
        for part in 0..100_i64 {
            call.progress(args([part.into()])).await.unwrap();
        }
        Ok(args(["all".into()]))
    })
    .await;
    peer.send_raw(r#"[68,5,70,{"receive_progress":true}]"#)
        .await;
    for part in 0..100 {
        assert_eq!(
            hear(&mut peer).await,
            format!(r#"[70,5,{{"progress":true}},[{part}]]"#)
        );
    }
    assert_eq!(hear(&mut peer).await, r#"[70,5,{},["all"]]"#);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_asks_for_no_progress_gets_none() {
    let (client, mut peer) = session().await;
    let _registration = offer(&client, &mut peer, |call| async move {
        assert!(!call.wants_progress());
        let refused = call.progress(args([1_i64.into()])).await;
        assert_eq!(refused, Err(NoProgress::NotWanted));
        Ok(args(["all".into()]))
    })
    .await;
    peer.send_raw(r#"[68,5,70,{}]"#).await;
    assert_eq!(hear(&mut peer).await, r#"[70,5,{},["all"]]"#);
}

#[tokio::test(start_paused = true)]
async fn after_an_interrupt_no_part_is_sent() {
    let (client, mut peer) = session().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let _registration = offer(&client, &mut peer, move |call| {
        let tell = tell.clone();
        async move {
            call.progress(args([1_i64.into()])).await.unwrap();
            call.interrupted().await;
            tell.send(call.progress(args([2_i64.into()])).await)
                .unwrap();
            Ok(Payload::default())
        }
    })
    .await;
    peer.send_raw(r#"[68,5,70,{"receive_progress":true}]"#)
        .await;
    assert_eq!(hear(&mut peer).await, r#"[70,5,{"progress":true},[1]]"#);
    peer.send_raw(r#"[69,5,{"mode":"killnowait"}]"#).await;
    assert_eq!(
        hear(&mut peer).await,
        r#"[8,68,5,{},"wamp.error.canceled"]"#
    );
    assert_eq!(told.recv().await, Some(Err(NoProgress::Interrupted)));
    // Nor does it say anything more.
    peer.send_raw(r#"[68,6,99,{}]"#).await;
    assert_eq!(
        hear(&mut peer).await,
        r#"[8,68,6,{},"wamp.error.no_such_registration"]"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_part_that_cannot_be_sent_ends_the_invocation_with_an_error() {
    let (client, mut peer) =
        session_with(FEATURES, |config| config.max_message_bytes = 10_000).await;
    let _registration = offer(&client, &mut peer, |call| async move {
        for size in [1, 10_000, 1] {
            if call
                .progress(args(["x".repeat(size).into()]))
                .await
                .is_err()
            {
                break;
            }
        }
        Ok(args(["all".into()]))
    })
    .await;
    peer.send_raw(r#"[68,5,70,{"receive_progress":true}]"#)
        .await;
    assert_eq!(hear(&mut peer).await, r#"[70,5,{"progress":true},["x"]]"#);
    assert!(
        hear(&mut peer)
            .await
            .starts_with(r#"[8,68,5,{},"wamp.error.payload_size_exceeded""#)
    );
    peer.send_raw(r#"[68,6,99,{}]"#).await;
    assert_eq!(
        hear(&mut peer).await,
        r#"[8,68,6,{},"wamp.error.no_such_registration"]"#
    );
}
