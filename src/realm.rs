//! Realms: what is known of a WAMP realm and how its router is reached.
//!
//! `realm/object.rs` reads the files; `realm/router.rs` reads the `router` object in them, which the
//! configuration has as its default too.

mod object;
mod router;

pub use object::{LoadedRealms, Realm, load};
pub use router::{read_router, show_duration, show_router};
