//! The gateway over real sockets: whole requests, whole replies.

mod bodies;
mod collector;
mod failures;
#[path = "../wamp/fake_router.rs"]
#[expect(dead_code, reason = "the tests of the client use more of it")]
mod fake_router;
mod http;
mod logs;
mod marketplace;
mod methods;
mod metrics;
mod quirks;
mod recovery;
mod responses;
mod retries;
mod support;
mod targets;
mod traces;
