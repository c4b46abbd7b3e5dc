//! Whatever sessions do to each other, every call is answered once, and nothing is left of those
//! who have gone.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::devrouter::options::is_set;
use crate::devrouter::outbox::Queued;
use crate::uri::Uri;
use crate::wamp::id::RegistrationId;
use crate::wamp::options::Invoke;
use crate::wamp::serializer::{Reading, Serializer};

const SESSIONS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Register(usize, &'static str, Match, Invoke),
    Unregister(usize, u64),
    Call(usize, &'static str, bool, Option<u64>),
    Cancel(usize, u64, CancelMode),
    Answer(usize, u64, Option<bool>),
    Kill(usize, usize),
    Leave(usize),
}

/// A client: what it has asked for, and what it was told.
struct Member {
    id: SessionId,
    queue: UnboundedReceiver<Queued>,
    last_request: u64,
    /// For each call, how many final answers there were.
    answers: BTreeMap<u64, usize>,
}

impl Member {
    fn join(realm: &Realm, config: &DevRouterConfig) -> Self {
        let (outbox, queue) = Outbox::new(
            Serializer::Json,
            config.max_message_bytes,
            config.max_queued_bytes,
        );
        let identity = Identity {
            authid: None,
            authrole: "anonymous".to_owned(),
            authmethod: "anonymous",
        };
        let hello = r#"{"roles": {"callee": {"features": {"call_canceling": true, "progressive_call_results": true}}}}"#;
        let hello = crate::value::json::from_json(hello.as_bytes()).unwrap();
        let hello = hello.as_map().unwrap();
        let id = realm.join(realm.free_id(), identity, Origin::InProcess, hello, outbox);
        let id = id.unwrap();
        Self {
            id,
            queue,
            last_request: 0,
            answers: BTreeMap::new(),
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    fn call(&mut self, options: Map, procedure: &str, args: Vec<Value>) -> Message {
        let request = self.next_request();
        self.answers.insert(request.0, 0);
        Message::Call {
            request,
            options,
            procedure: procedure.to_owned(),
            payload: Payload::new(args, Map::new()),
        }
    }

    fn read(&mut self) {
        while let Ok(queued) = self.queue.try_recv() {
            let message = Serializer::Json
                .decode(&queued.into_frame(), Reading::Strict)
                .unwrap();
            let request = match message {
                Message::Result {
                    request, details, ..
                } if !is_set(&details, "progress") => request,
                Message::Error {
                    request_type: code::CALL,
                    request,
                    ..
                } => request,
                Message::Result { request, .. } => {
                    assert_eq!(self.answers[&request.0], 0, "a part after the end");
                    continue;
                }
                _ => continue,
            };
            *self.answers.get_mut(&request.0).unwrap() += 1;
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..SESSIONS;
    let uri = prop::sample::select(vec!["a", "a.b", "a.c"]);
    let policy = prop::sample::select(Match::ALL.to_vec());
    let invoke = prop::sample::select(Invoke::ALL.to_vec());
    let mode = prop::sample::select(CancelMode::ALL.to_vec());
    let timeout = prop::option::of(prop::sample::select(vec![0, 5, 1_000_000]));
    let progress = prop::option::of(any::<bool>());
    prop_oneof![
        4 => (session.clone(), uri.clone(), policy, invoke)
            .prop_map(|(s, u, p, i)| Step::Register(s, u, p, i)),
        1 => (session.clone(), 1..12_u64).prop_map(|(s, id)| Step::Unregister(s, id)),
        8 => (session.clone(), uri, any::<bool>(), timeout)
            .prop_map(|(s, u, p, t)| Step::Call(s, u, p, t)),
        2 => (session.clone(), 1..20_u64, mode).prop_map(|(s, r, m)| Step::Cancel(s, r, m)),
        6 => (session.clone(), 1..12_u64, progress).prop_map(|(s, r, p)| Step::Answer(s, r, p)),
        1 => (session.clone(), session.clone()).prop_map(|(s, o)| Step::Kill(s, o)),
        1 => session.prop_map(Step::Leave),
    ]
}

fn message(step: &Step, members: &mut [Member]) -> Option<(usize, Message)> {
    Some(match *step {
        Step::Register(at, uri, policy, invoke) => {
            let options = [("match", policy.name()), ("invoke", invoke.name())]
                .map(|(name, value)| (name.to_owned(), Value::from(value)));
            let message = Message::Register {
                request: members[at].next_request(),
                options: Map::from_iter(options),
                procedure: uri.to_owned(),
            };
            (at, message)
        }
        Step::Unregister(at, id) => {
            let message = Message::Unregister {
                request: members[at].next_request(),
                registration: RegistrationId(id),
            };
            (at, message)
        }
        Step::Call(at, uri, receives_progress, timeout) => {
            let mut options = Map::from_iter([(
                "receive_progress".to_owned(),
                Value::Bool(receives_progress),
            )]);
            options.extend(timeout.map(|millis| ("timeout".to_owned(), Value::from(millis))));
            (at, members[at].call(options, uri, Vec::new()))
        }
        Step::Cancel(at, request, mode) => {
            let mode = ("mode".to_owned(), Value::from(mode.name()));
            let message = Message::Cancel {
                request: RequestId(request),
                options: Map::from_iter([mode]),
            };
            (at, message)
        }
        Step::Answer(at, request, Some(is_progress)) => {
            let progress = ("progress".to_owned(), Value::Bool(is_progress));
            let message = Message::Yield {
                request: RequestId(request),
                options: Map::from_iter([progress]),
                payload: Payload::default(),
            };
            (at, message)
        }
        Step::Answer(at, request, None) => {
            let message = Message::Error {
                request_type: code::INVOCATION,
                request: RequestId(request),
                details: Map::new(),
                error: "com.no".to_owned(),
                payload: Payload::default(),
            };
            (at, message)
        }
        Step::Kill(at, other) => {
            let victim = vec![Value::from(members[other].id.0)];
            (
                at,
                members[at].call(Map::new(), "wamp.session.kill", victim),
            )
        }
        Step::Leave(_) => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_is_answered_once_and_nothing_is_left(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let config = DevRouterConfig::default();
        let name = Uri::parse("com.example", UriCheck::Loose).unwrap();
        let realm = Realm::new(&name.into(), true, &config);
        let mut members: Vec<_> = (0..SESSIONS).map(|_| Member::join(&realm, &config)).collect();
        for step in &steps {
            let gone = match message(step, &mut members) {
                // Who breaks the protocol, by parts that nobody asked for, is left.
                Some((at, message)) => realm.handle(members[at].id, message).err().map(|_| at),
                None => match step {
                    Step::Leave(at) => Some(*at),
                    _ => None,
                },
            };
            runtime.block_on(tokio::time::advance(std::time::Duration::from_millis(1)));
            if let Some(at) = gone {
                realm.leave(members[at].id);
            }
            for member in &mut members {
                realm.expire(member.id);
                member.read();
                prop_assert!(member.answers.values().all(|count| *count <= 1));
                if !realm.state().sessions.contains_key(&member.id) {
                    // It left or was killed: whoever comes next knows nothing of it.
                    *member = Member::join(&realm, &config);
                }
            }
            realm.state().dealer.check();
        }
        for member in &mut members {
            for request in member.answers.keys() {
                let cancel = Message::Cancel {
                    request: RequestId(*request),
                    options: Map::from_iter([("mode".to_owned(), Value::from("skip"))]),
                };
                prop_assert!(realm.handle(member.id, cancel).is_ok());
            }
            member.read();
            let answers = &member.answers;
            prop_assert!(answers.values().all(|count| *count == 1), "{:?}", answers);
        }
        for member in &members {
            realm.leave(member.id);
        }
        let state = realm.state();
        prop_assert!(state.sessions.is_empty() && state.dealer.is_empty());
    }
}
