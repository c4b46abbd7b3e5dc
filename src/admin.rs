//! The admin API: look at a running gateway and change what it serves, over HTTP of its own.
//!
//! It has a listener of its own, on loopback unless `allow_remote` says otherwise, and a bearer token
//! for everything but the health checks. It acts on the store and on nothing else: that a change is
//! served is somebody else's work, and what is served comes back as a value that is watched.
//!
//! `exchange.rs` is the life of a request, `table.rs` says who answers what; `guard.rs` and
//! `token.rs` keep strangers out, `audit.rs` remembers who changed what. The other files are one
//! resource each.
//!
//! Reference: "Admin API" of the program's reference.

pub mod audit;
mod calls;
mod change;
mod condition;
mod documents;
mod exchange;
mod guard;
mod health;
mod installed;
mod later;
mod meta;
mod metrics;
mod openapi;
mod page;
mod realms;
mod revisions;
mod secrets;
mod sessions;
mod specs;
mod stores;
mod table;
mod texts;
pub mod token;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use tokio::sync::{Mutex, watch};
use tower::Service;

use crate::catalog::installed::Installed;
use crate::store::Store;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::wamp::pool::Pools;
use token::Token;

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The address as `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where the token is, or is to be made.
    pub token_file: PathBuf,
    /// Whether others than this machine may be served: `listen` may then be any address, and
    /// requests may be to any host name.
    pub allow_remote: bool,
    /// Whether `/services/call` may be used: it goes past every rule of the APIs.
    pub allow_calls: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:18081".to_owned(),
            token_file: PathBuf::from("data/admin.token"),
            allow_remote: false,
            allow_calls: false,
        }
    }
}

/// Returns whether `host` can only be this machine: `localhost`, a name below it, or a loopback
/// address. Names are not looked up.
pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// What the admin API acts on and goes by.
pub struct Admin {
    /// What a client has to know.
    pub token: Token,
    /// Whether others than this machine may be served.
    pub allow_remote: bool,
    /// Whether `/services/call` may be used.
    pub allow_calls: bool,
    /// What keeps specs and realms: what changes is written here.
    pub store: Arc<dyn Store>,
    /// What is served.
    pub installed: watch::Receiver<Arc<Installed>>,
    /// The time of day, in milliseconds since 1970 (UTC).
    pub now_ms: fn() -> u64,
    /// Held while a document is changed. A tokio mutex: a change waits for the store.
    pub changing: Mutex<()>,
    /// The WAMP sessions, by realm.
    pub pools: Pools,
    /// Whether the gateway should get requests.
    pub health: Health,
    /// What is measured.
    pub metrics: Arc<Metrics>,
}

impl Admin {
    /// Returns what is served now.
    fn installed(&self) -> Arc<Installed> {
        self.installed.borrow().clone()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("allow_remote", &self.allow_remote)
            .finish_non_exhaustive()
    }
}

/// Returns the service that answers every request of the admin listener.
pub fn service(
    admin: Admin,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let admin = Arc::new(admin);
    let router = table::router(&admin);
    tower::service_fn(move |request| {
        let (admin, router) = (admin.clone(), router.clone());
        async move { Ok(exchange::answer(&admin, router, request).await) }
    })
}

#[cfg(test)]
mod tests;
