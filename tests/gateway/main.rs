//! The gateway over real sockets: whole requests, whole replies.

mod bodies;
mod failures;
mod http;
mod logs;
mod marketplace;
mod methods;
mod quirks;
mod recovery;
mod responses;
mod support;
mod targets;
