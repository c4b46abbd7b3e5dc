//! The gateway over real sockets: whole requests, whole replies.

mod bodies;
mod collector;
mod failures;
mod faults;
#[path = "../wamp/fake_router.rs"]
#[expect(dead_code, reason = "the tests of the client use more of it")]
mod fake_router;
mod http;
mod live;
mod logs;
mod marketplace;
mod methods;
mod metrics;
mod quirks;
mod recovery;
mod reload;
mod responses;
mod retries;
mod support;
mod swaps;
mod targets;
mod traces;
