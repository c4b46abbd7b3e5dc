//! The WAMP client library and the embedded router, seen from outside.

mod round_trips;
mod vectors;
