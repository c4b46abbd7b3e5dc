//! The WAMP client library and the embedded router, seen from outside.

mod auth;
mod devrouter;
mod fake_router;
mod floods;
mod offers;
mod peer;
mod pool;
mod progress;
mod registrations;
mod round_trips;
mod session;
mod storm;
mod tls;
mod together;
mod transports;
mod vectors;
