//! The WAMP client library and the embedded router, seen from outside.

mod devrouter;
mod peer;
mod round_trips;
mod vectors;
