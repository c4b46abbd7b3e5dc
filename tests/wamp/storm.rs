//! A router that answers as it likes, and callers who come and go: each gets its own answer or a
//! clear error, and nothing is left over.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use wampgate::value::{Map, Value};
use wampgate::wamp::client::{Call, CallStep, Client, ProgressLimits, Publish};
use wampgate::wamp::error::CallError;
use wampgate::wamp::id::{PublicationId, RequestId};
use wampgate::wamp::message::{Message, Payload};

use crate::fake_router::{FEATURES, Peer, args, call, map, publish, session_with};

const CALLERS: i64 = 30;
const TURNS: i64 = 20;

struct Unruly {
    peer: Peer,
    random: fastrand::Rng,
    /// Calls whose answer is kept for later.
    kept: Vec<(RequestId, Payload)>,
}

impl Unruly {
    async fn serve(&mut self) {
        while let Some(message) = self.peer.next().await {
            match message {
                Message::Call {
                    request, payload, ..
                } => self.answer(request, payload).await,
                Message::Cancel { request, .. } => match self.random.u8(..3) {
                    0 => self.fail(48, request).await,
                    1 => self.result(request, "too late".into(), false).await,
                    _ => {}
                },
                Message::Publish { request, .. } => match self.random.u8(..3) {
                    0 => self.fail(16, request).await,
                    1 => {
                        let publication = PublicationId(1);
                        let published = Message::Published {
                            request,
                            publication,
                        };
                        self.peer.send(published).await;
                    }
                    _ => {}
                },
                _ => {}
            }
            if self.random.u8(..4) == 0 && !self.kept.is_empty() {
                let any = self.random.usize(..self.kept.len());
                let (request, payload) = self.kept.swap_remove(any);
                self.result(request, payload.args()[0].clone(), false).await;
            }
        }
    }

    async fn answer(&mut self, request: RequestId, payload: Payload) {
        let own = payload.args()[0].clone();
        match self.random.u8(..8) {
            0 => self.result(request, own, false).await,
            1 => self.fail(48, request).await,
            2 => {
                self.result(request, own.clone(), false).await;
                self.result(request, "twice".into(), false).await;
            }
            3 => {
                for _ in 0..self.random.u8(..12) {
                    self.result(request, own.clone(), true).await;
                }
                self.result(request, own, false).await;
            }
            // And never the last.
            4 => self.result(request, own, true).await,
            5 => {
                let broken = format!(r#"[50,{request},"details",[]]"#);
                self.peer.send_raw(&broken).await;
            }
            6 => {}
            _ => self.kept.push((request, payload)),
        }
    }

    async fn result(&mut self, request: RequestId, argument: Value, is_progress: bool) {
        let details = if is_progress {
            map(r#"{"progress": true}"#)
        } else {
            Map::new()
        };
        let payload = args([argument]);
        self.peer
            .send(Message::Result {
                request,
                details,
                payload,
            })
            .await;
    }

    async fn fail(&mut self, code: u64, request: RequestId) {
        self.peer
            .send_raw(&format!(r#"[8,{code},{request},{{}},"com.error.no"]"#))
            .await;
    }
}

fn check(error: &CallError) {
    let is_clear = match error {
        CallError::Application(error) => error.uri == "com.error.no",
        CallError::Timeout(_)
        | CallError::Overrun(_)
        | CallError::Unreadable(_)
        | CallError::Busy(_) => true,
        _ => false,
    };
    assert!(is_clear, "{error:?}");
}

/// One caller, who asks and goes away as it likes.
async fn caller(client: &Client, number: i64, mut random: fastrand::Rng) {
    for turn in 0..TURNS {
        let own = Value::I64(number * 1000 + turn);
        let patience = Duration::from_millis(random.u64(1..200));
        let asking = Call {
            payload: args([own.clone()]),
            timeout: Duration::from_millis(random.u64(1..200)),
            ..call("com.echo")
        };
        let ask = async {
            match random.u8(..3) {
                0 => match client.call(asking).await {
                    Ok(result) => assert_eq!(result.payload.args(), [own]),
                    Err(error) => check(&error),
                },
                1 => {
                    let limits = ProgressLimits {
                        queue: 4,
                        ..ProgressLimits::default()
                    };
                    let mut stream = client.call_progressive(asking, limits).unwrap();
                    let mut is_over = false;
                    while let Some(step) = stream.next().await {
                        assert!(!is_over, "one more after the last");
                        match step {
                            Ok(CallStep::Progress(part)) => {
                                assert_eq!(part.payload.args(), std::slice::from_ref(&own));
                            }
                            Ok(CallStep::Result(result)) => {
                                assert_eq!(result.payload.args(), std::slice::from_ref(&own));
                                is_over = true;
                            }
                            Err(error) => {
                                check(&error);
                                is_over = true;
                            }
                        }
                    }
                    assert!(is_over);
                }
                _ => {
                    let publishing = Publish {
                        timeout: asking.timeout,
                        ..publish("com.t")
                    };
                    if let Err(error) = client.publish(publishing).await {
                        check(&error);
                    }
                }
            }
        };
        // Whoever loses patience drops what is under way.
        drop(timeout(patience, ask).await);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_router_does_everybody_is_answered_and_nothing_is_left() {
    for seed in 0..12 {
        let (client, peer) = session_with(FEATURES, |config| config.max_in_flight = 20).await;
        let mut unruly = Unruly {
            peer,
            random: fastrand::Rng::with_seed(seed),
            kept: Vec::new(),
        };
        let callers = join_all((0..CALLERS).map(|number| {
            let mix = seed * 1000 + number.unsigned_abs();
            caller(&client, number, fastrand::Rng::with_seed(mix))
        }));
        tokio::select! {
            () = unruly.serve() => panic!("seed {seed}: the session ended: {:?}", client.closed().await),
            _ = callers => {}
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(client.is_open(), "seed {seed}");
        assert_eq!(client.in_flight(), 0, "seed {seed}");
        assert_eq!(client.pending(), 0, "seed {seed}");
    }
}
