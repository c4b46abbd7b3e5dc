//! Realms: what is known of a WAMP realm and how its router is reached.
//!
//! `realm/router.rs` reads the `router` object, which the configuration has as its default too.

mod router;

pub use router::{read_router, show_duration, show_router};
