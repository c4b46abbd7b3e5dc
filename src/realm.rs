//! Realms: what is known of a WAMP realm and how its router is reached.
//!
//! `realm/object.rs` reads the files, `realm/user.rs` the users in them; `realm/router.rs` reads the
//! `router` object in them, which the configuration has as its default too.

mod object;
mod router;
mod user;

pub use object::{LoadedRealms, ReadRealm, Realm, duplicate, load, read};
pub use router::{read_router, show_duration, show_router};
pub use user::User;
