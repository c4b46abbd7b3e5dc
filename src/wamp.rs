//! A WAMP client library that happens to live here: it never hears of specs or HTTP.
//!
//! ```text
//! pool     sessions of one realm: health, back-off, least loaded first
//! client   the cheap-clone handle: call, publish, subscribe, register
//! session  the state machine (pure) and the one task that owns the transport
//! options  what a request may ask for; config   how a router is reached
//! auth     challenge in, signature out (pure)
//! message + serializer   what is said, and the bytes it is said in
//! transport              whole frames over WebSocket, RawSocket or memory; TLS
//! ```
//!
//! Routers differ, and many close a session over one bad message. So everything is checked before
//! it is written, and everything that comes in is read with tolerance.
//! Read `message.rs` next, then `session.rs`.

pub mod auth;
pub mod client;
pub mod config;
pub mod error;
pub mod id;
pub mod message;
pub mod options;
pub mod pool;
pub mod serializer;
pub mod session;
pub mod transport;
