//! The HTTP front end: from a request on a socket to the reply.

pub mod body;
pub mod codec;
pub mod listener;
pub mod negotiate;
pub mod peer;
