//! Every message that a client or a router meets, as plain data.
//!
//! Field names are the specification's. The bytes are `serializer.rs`'s subject.
//!
//! Reference: WAMP Basic Profile, "Messages"; Advanced Profile for CANCEL and INTERRUPT.

use crate::value::{Map, Value};
use crate::wamp::id::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId};

/// What a call, a publish or a result carries: positional and named arguments.
///
/// Opaque on purpose: today it holds values; the hot path may later hold the encoded bytes of a
/// whole payload instead and pass them through, and only this type and the serializers will know.
/// Missing, null and empty mean the same, so absent is empty here and empty is not written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Payload {
    args: Vec<Value>,
    kwargs: Map,
}

impl Payload {
    /// Builds a payload of values.
    pub fn new(args: Vec<Value>, kwargs: Map) -> Self {
        Self { args, kwargs }
    }

    /// Returns the positional arguments.
    pub fn args(&self) -> &[Value] {
        &self.args
    }

    /// Returns the named arguments.
    pub fn kwargs(&self) -> &Map {
        &self.kwargs
    }

    /// Takes the payload apart into `args` and `kwargs`.
    pub fn into_parts(self) -> (Vec<Value>, Map) {
        (self.args, self.kwargs)
    }
}

/// One WAMP message.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are the specification's own and named as there"
)]
pub enum Message {
    /// Opens a session (code 1).
    Hello { realm: String, details: Map },
    /// The router accepts the session (2).
    Welcome { session: SessionId, details: Map },
    /// The session will not be opened (3). Some routers add a payload.
    Abort {
        details: Map,
        reason: String,
        payload: Payload,
    },
    /// The router asks for a proof (4).
    Challenge { method: String, extra: Map },
    /// The client's proof (5).
    Authenticate { signature: String, extra: Map },
    /// Either side ends the session (6).
    Goodbye { details: Map, reason: String },
    /// A request failed (8). `request_type` is the message code of the request.
    Error {
        request_type: u64,
        request: RequestId,
        details: Map,
        error: String,
        payload: Payload,
    },
    /// A publisher sends an event (16).
    Publish {
        request: RequestId,
        options: Map,
        topic: String,
        payload: Payload,
    },
    /// The broker acknowledges (17).
    Published {
        request: RequestId,
        publication: PublicationId,
    },
    /// A subscriber asks for a topic (32).
    Subscribe {
        request: RequestId,
        options: Map,
        topic: String,
    },
    /// The broker agrees (33).
    Subscribed {
        request: RequestId,
        subscription: SubscriptionId,
    },
    /// A subscriber leaves a topic (34).
    Unsubscribe {
        request: RequestId,
        subscription: SubscriptionId,
    },
    /// The broker agrees, or revokes when `request` is 0 (35).
    Unsubscribed { request: RequestId, details: Map },
    /// An event for a subscriber (36).
    Event {
        subscription: SubscriptionId,
        publication: PublicationId,
        details: Map,
        payload: Payload,
    },
    /// A caller calls (48).
    Call {
        request: RequestId,
        options: Map,
        procedure: String,
        payload: Payload,
    },
    /// A caller no longer wants the result (49).
    Cancel { request: RequestId, options: Map },
    /// The dealer hands the caller a result (50).
    Result {
        request: RequestId,
        details: Map,
        payload: Payload,
    },
    /// A callee offers a procedure (64).
    Register {
        request: RequestId,
        options: Map,
        procedure: String,
    },
    /// The dealer agrees (65).
    Registered {
        request: RequestId,
        registration: RegistrationId,
    },
    /// A callee withdraws a procedure (66).
    Unregister {
        request: RequestId,
        registration: RegistrationId,
    },
    /// The dealer agrees, or revokes when `request` is 0 (67).
    Unregistered { request: RequestId, details: Map },
    /// The dealer asks a callee to run a procedure (68).
    Invocation {
        request: RequestId,
        registration: RegistrationId,
        details: Map,
        payload: Payload,
    },
    /// The dealer asks a callee to stop (69).
    Interrupt { request: RequestId, options: Map },
    /// A callee hands the dealer a result (70).
    Yield {
        request: RequestId,
        options: Map,
        payload: Payload,
    },
}
