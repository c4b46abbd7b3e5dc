use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn state() -> State<&'static str> {
    State::new(true)
}

fn result(request: u64) -> Message {
    Message::Result {
        request: RequestId(request),
        details: Map::new(),
        payload: Payload::default(),
    }
}

fn error(request_type: u64, request: u64, error: &str) -> Message {
    Message::Error {
        request_type,
        request: RequestId(request),
        details: Map::new(),
        error: error.to_owned(),
        payload: Payload::default(),
    }
}

#[test]
fn an_answer_settles_its_own_request_once() {
    let mut state = state();
    state.begin(Kind::Call, "first");
    state.begin(Kind::Call, "second");
    assert!(matches!(
        state.receive(result(2)),
        Reaction::Settle {
            ticket: "second",
            answer: Answer::Result { .. }
        }
    ));
    assert!(matches!(
        state.receive(result(2)),
        Reaction::Drop(Dropped::Unsolicited)
    ));
    assert_eq!(state.pending(), 1);
}

#[test]
fn an_id_is_taken_only_by_what_is_written() {
    let mut state = state();
    assert_eq!(state.next_id(), RequestId(1));
    assert_eq!(state.next_id(), RequestId(1));
    assert_eq!(state.begin(Kind::Call, "a"), RequestId(1));
    assert_eq!(state.skip(), RequestId(2));
    assert_eq!(state.forget(Kind::Unsubscribe), RequestId(3));
    assert_eq!(state.next_id(), RequestId(4));
}

#[test]
fn an_answer_of_another_kind_settles_nothing() {
    let mut state = state();
    state.begin(Kind::Publish, "publish");
    assert!(matches!(
        state.receive(result(1)),
        Reaction::Drop(Dropped::Unsolicited)
    ));
    // About a YIELD of ours with the same number: fox-wamp sends these.
    assert!(matches!(
        state.receive(error(70, 1, "103")),
        Reaction::Drop(Dropped::Unsolicited)
    ));
    assert!(matches!(
        state.receive(error(16, 1, "wamp.error.not_authorized")),
        Reaction::Settle {
            ticket: "publish",
            answer: Answer::Error(_)
        }
    ));
}

#[test]
fn an_abandoned_call_is_canceled_and_its_late_answer_swallowed() {
    let mut state = state();
    state.begin(Kind::Call, "call");
    let (ticket, cancel) = state.abandon(RequestId(1), CancelMode::KillNoWait).unwrap();
    assert_eq!(ticket, "call");
    assert!(matches!(
        cancel,
        Some(Message::Cancel { request: RequestId(1), options })
            if options["mode"] == Value::from("killnowait")
    ));
    assert!(
        state
            .abandon(RequestId(1), CancelMode::KillNoWait)
            .is_none(),
        "only once"
    );
    assert!(matches!(
        state.receive(result(1)),
        Reaction::Drop(Dropped::Late)
    ));
    assert!(
        matches!(
            state.receive(result(1)),
            Reaction::Drop(Dropped::Unsolicited)
        ),
        "only one answer is late"
    );
}

#[test]
fn nothing_is_canceled_where_the_dealer_does_not_announce_it() {
    let mut state = State::new(false);
    state.begin(Kind::Call, "call");
    assert_eq!(
        state.abandon(RequestId(1), CancelMode::KillNoWait),
        Some(("call", None))
    );
    let mut state = self::state();
    state.begin(Kind::Publish, "publish");
    assert_eq!(
        state.abandon(RequestId(1), CancelMode::KillNoWait),
        Some(("publish", None))
    );
}

#[test]
fn what_was_made_for_nobody_is_reported() {
    let mut state = state();
    state.begin(Kind::Subscribe, "subscribe");
    state.begin(Kind::Register, "register");
    state.abandon(RequestId(1), CancelMode::KillNoWait);
    state.abandon(RequestId(2), CancelMode::KillNoWait);
    assert!(matches!(
        state.receive(Message::Subscribed {
            request: RequestId(1),
            subscription: SubscriptionId(7)
        }),
        Reaction::LateSubscribed(SubscriptionId(7))
    ));
    assert!(matches!(
        state.receive(Message::Registered {
            request: RequestId(2),
            registration: RegistrationId(8)
        }),
        Reaction::LateRegistered(RegistrationId(8))
    ));
}

#[test]
fn an_answer_that_cannot_be_read_settles_its_request_too() {
    let malformed = |code, request| DecodeError::Malformed {
        code,
        request,
        detail: "nested too deeply".to_owned(),
    };
    let mut state = state();
    state.begin(Kind::Call, "call");
    state.begin(Kind::Call, "given up");
    state.abandon(RequestId(2), CancelMode::KillNoWait);
    assert_eq!(state.unreadable(&malformed(code::RESULT, None)), None);
    let invocation = malformed(code::INVOCATION, Some(RequestId(1)));
    assert_eq!(state.unreadable(&invocation), None);
    let result = |id| malformed(code::RESULT, Some(RequestId(id)));
    assert_eq!(state.unreadable(&result(1)), Some(("call", None)));
    assert_eq!(state.unreadable(&result(1)), None);
    assert_eq!(state.unreadable(&result(2)), None);
    assert_eq!((state.pending(), state.tombstones()), (0, 0));
    // More may come after a part that cannot be read.
    state.begin(Kind::ProgressiveCall, "parts");
    assert!(matches!(
        state.unreadable(&result(3)),
        Some(("parts", Some(Message::Cancel { .. })))
    ));
    assert_eq!((state.pending(), state.tombstones()), (0, 1));
}

fn progress(request: u64) -> Message {
    Message::Result {
        request: RequestId(request),
        details: Map::from([("progress".to_owned(), Value::Bool(true))]),
        payload: Payload::default(),
    }
}

#[test]
fn progress_that_nobody_asked_for_settles_nothing() {
    let mut state = state();
    state.begin(Kind::Call, "call");
    for request in [1, 2] {
        assert!(matches!(
            state.receive(progress(request)),
            Reaction::Drop(Dropped::Progress)
        ));
    }
    assert!(matches!(
        state.receive(result(1)),
        Reaction::Settle { ticket: "call", .. }
    ));
}

#[test]
fn progress_goes_to_its_call_until_that_is_settled_or_given_up() {
    let mut state = state();
    state.begin(Kind::ProgressiveCall, "first");
    state.begin(Kind::ProgressiveCall, "second");
    for _ in 0..2 {
        assert!(matches!(
            state.receive(progress(2)),
            Reaction::Progress {
                request: RequestId(2),
                ..
            }
        ));
        assert_eq!(state.ticket(RequestId(2)), Some(&"second"));
    }
    assert!(matches!(
        state.receive(result(2)),
        Reaction::Settle {
            ticket: "second",
            ..
        }
    ));
    assert!(matches!(
        state.receive(progress(2)),
        Reaction::Drop(Dropped::Progress)
    ));
    let (_, cancel) = state.abandon(RequestId(1), CancelMode::Skip).unwrap();
    assert!(matches!(
        cancel,
        Some(Message::Cancel { options, .. }) if options["mode"] == Value::from("skip")
    ));
    // As much as comes late, and then the one answer.
    for message in [progress(1), progress(1), result(1)] {
        assert!(matches!(
            state.receive(message),
            Reaction::Drop(Dropped::Late)
        ));
    }
    assert!(matches!(
        state.receive(result(1)),
        Reaction::Drop(Dropped::Unsolicited)
    ));
}

#[test]
fn a_goodbye_is_answered_and_our_own_is_not_answered_again() {
    let goodbye = |reason: &str| Message::Goodbye {
        details: Map::new(),
        reason: reason.to_owned(),
    };
    let mut state = state();
    let Reaction::End { reply, error } = state.receive(goodbye("com.kick")) else {
        panic!("the session goes on");
    };
    assert_eq!(reply, Some(goodbye(uris::GOODBYE_AND_OUT)));
    assert_eq!(error.to_string(), "ended by the router: com.kick");

    let mut state = self::state();
    state.goodbye();
    assert!(matches!(
        state.receive(goodbye("wamp.close.normal")),
        Reaction::End {
            reply: None,
            error: SessionError::Closed
        }
    ));
}

#[test]
fn revocations_name_what_is_gone() {
    let mut state = state();
    assert!(matches!(
        state.receive(Message::Unsubscribed {
            request: RequestId(0),
            details: Map::from([("subscription".to_owned(), Value::I64(5))]),
        }),
        Reaction::SubscriptionRevoked(SubscriptionId(5))
    ));
    assert!(matches!(
        state.receive(Message::Unregistered {
            request: RequestId(0),
            details: Map::from([("registration".to_owned(), Value::I64(6))]),
        }),
        Reaction::RegistrationRevoked(RegistrationId(6))
    ));
}

#[test]
fn a_router_speaking_out_of_place_changes_nothing() {
    let mut state = state();
    assert!(matches!(
        state.receive(Message::Authenticate {
            signature: String::new(),
            extra: Map::new()
        }),
        Reaction::Drop(Dropped::OutOfPlace)
    ));
}

#[test]
fn the_end_gives_every_ticket_back() {
    let mut state = state();
    state.begin(Kind::Call, "a");
    state.begin(Kind::Publish, "b");
    let mut tickets: Vec<_> = state.end().collect();
    tickets.sort_unstable();
    assert_eq!(tickets, ["a", "b"]);
    assert_eq!(state.pending(), 0);
}

// ---- laws ----

/// What may happen to a session, in any order.
#[derive(Debug, Clone)]
enum Happening {
    Begin(Kind),
    Forget(Kind),
    Abandon(u64),
    Receive(Box<Message>),
    Unreadable(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let kind = prop::sample::select(vec![
        Kind::Call,
        Kind::ProgressiveCall,
        Kind::Publish,
        Kind::Subscribe,
        Kind::Unsubscribe,
        Kind::Register,
        Kind::Unregister,
    ]);
    // About as many as there are requests, so that they meet.
    let id = 1_u64..30;
    let request_type = prop::sample::select(vec![16_u64, 32, 34, 48, 64, 66, 70]);
    let answer = (id.clone(), request_type, 0..9_u8).prop_map(|(id, request_type, which)| {
        let request = RequestId(id);
        match which {
            0 => result(id),
            1 => progress(id),
            2 => error(request_type, id, "com.error"),
            3 => Message::Published {
                request,
                publication: PublicationId(1),
            },
            4 => Message::Subscribed {
                request,
                subscription: SubscriptionId(id),
            },
            5 => Message::Registered {
                request,
                registration: RegistrationId(id),
            },
            6 => Message::Unsubscribed {
                request,
                details: Map::new(),
            },
            7 => Message::Unregistered {
                request,
                details: Map::new(),
            },
            _ => Message::Interrupt {
                request,
                options: Map::new(),
            },
        }
    });
    prop_oneof![
        3 => kind.clone().prop_map(Happening::Begin),
        1 => kind.prop_map(Happening::Forget),
        2 => id.clone().prop_map(Happening::Abandon),
        5 => answer.prop_map(|message| Happening::Receive(Box::new(message))),
        1 => id.prop_map(Happening::Unreadable),
    ]
}

proptest! {
    /// However messages and abandonments mix: each ticket comes back exactly once, what comes back
    /// with it suits its request, and nothing is left over.
    #[test]
    fn every_request_is_settled_exactly_once(story in prop::collection::vec(happening(), 0..200)) {
        let mut state: State<u64> = State::new(true);
        let mut open: HashMap<u64, Kind> = HashMap::new();
        let mut forgotten = HashSet::new();
        for happening in story {
            match happening {
                Happening::Begin(kind) => {
                    let ticket = state.next_id().0;
                    prop_assert_eq!(state.begin(kind, ticket).0, ticket);
                    open.insert(ticket, kind);
                }
                Happening::Forget(kind) => {
                    forgotten.insert(state.forget(kind).0);
                }
                Happening::Abandon(id) => {
                    let abandoned = state.abandon(RequestId(id), CancelMode::Kill);
                    prop_assert_eq!(abandoned.is_some(), open.contains_key(&id));
                    if let Some((ticket, cancel)) = abandoned {
                        prop_assert_eq!(ticket, id);
                        let kind = open.remove(&id);
                        prop_assert_eq!(cancel.is_some(), kind.is_some_and(Kind::is_call));
                        forgotten.insert(id);
                    }
                }
                Happening::Receive(message) => match state.receive(*message) {
                    Reaction::Settle { ticket, answer } => {
                        let kind = open.remove(&ticket);
                        prop_assert!(kind.is_some_and(|kind| answer.suits(kind)), "{:?}", kind);
                    }
                    Reaction::Progress { request, .. } => {
                        prop_assert_eq!(state.ticket(request), Some(&request.0));
                        prop_assert_eq!(open.get(&request.0), Some(&Kind::ProgressiveCall));
                    }
                    Reaction::LateSubscribed(id) => {
                        prop_assert!(forgotten.remove(&id.0));
                    }
                    Reaction::LateRegistered(id) => {
                        prop_assert!(forgotten.remove(&id.0));
                    }
                    Reaction::Interrupt { .. } | Reaction::Drop(_) => {}
                    other => prop_assert!(false, "{:?}", other),
                },
                Happening::Unreadable(id) => {
                    let error = DecodeError::Malformed {
                        code: code::RESULT,
                        request: Some(RequestId(id)),
                        detail: "broken".to_owned(),
                    };
                    if let Some((ticket, cancel)) = state.unreadable(&error) {
                        let kind = open.remove(&ticket);
                        prop_assert!(kind.is_some());
                        prop_assert_eq!(cancel.is_some(), kind == Some(Kind::ProgressiveCall));
                    }
                }
            }
            prop_assert_eq!(state.pending(), open.len());
        }
        let mut left: Vec<u64> = state.end().collect();
        left.sort_unstable();
        let mut wanted: Vec<u64> = open.into_keys().collect();
        wanted.sort_unstable();
        prop_assert_eq!(left, wanted);
    }
}
