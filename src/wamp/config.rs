//! How the router of a realm is reached, and how much is asked of it.
//!
//! Plain data with the defaults of the reference; whoever reads a configuration builds it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::uri::UriCheck;
use crate::wamp::auth::Auth;
use crate::wamp::serializer::Serializer;
use crate::wamp::transport::address::Address;
use crate::wamp::transport::{ConnectError, Transport};

/// The `router` object of a realm, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    /// Where the router listens; tried in order from a random start. Without any, no session is
    /// ever ready.
    pub urls: Vec<Endpoint>,
    /// The serializers that are offered, the best first.
    pub serializers: Vec<Serializer>,
    /// Whether WebSocket routers are offered several messages in one frame, in MessagePack and CBOR;
    /// those that do not know how take them one by one.
    pub batched: bool,
    /// How `wss://` and `tcps://` routers are verified, and what we show them.
    pub tls: TlsConfig,
    /// Long-lived sessions that a pool keeps; at least 1.
    pub sessions: usize,
    /// The largest message that is written or read. Larger ones fail as
    /// [`CallError::TooLarge`](crate::wamp::error::CallError::TooLarge) before they are written.
    pub max_message_bytes: usize,
    /// Requests that may wait on one session for their answer, and (as a callee) invocations that
    /// may run on it; beyond it [`CallError::Busy`](crate::wamp::error::CallError::Busy), at once.
    pub max_in_flight: usize,
    /// How the client proves who it is.
    pub auth: Auth,
    /// Time between two pings; two without an answer end the session, and so do two in which the
    /// router takes no data. RawSocket has no pings: there the system probes the connection as
    /// often. `None`: neither, and a router that is silent is never given up.
    pub heartbeat: Option<Duration>,
    /// Longest time from the first packet to WELCOME, TLS included, for each address tried.
    pub connect_timeout: Duration,
    /// Waits between attempts to reach the router.
    pub reconnect: Reconnect,
    /// How strictly procedures and topics are checked before they are sent.
    pub uri_check: UriCheck,
    /// What calls and publications tell of the request that they are for, in custom attributes.
    pub pass_on: PassOn,
}

/// What a router is told to pass on to callees and subscribers, in custom attributes of the options.
/// The specification lets routers drop these, and asks none to take offence. By default only the
/// trace context is told, where there is one: most calls have no such attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassOn {
    /// `_traceparent` and `_tracestate`: where in a trace the request stands.
    pub trace_context: bool,
    /// `_request_id`: its id.
    pub request_id: bool,
}

impl Default for PassOn {
    fn default() -> Self {
        Self {
            trace_context: true,
            request_id: false,
        }
    }
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            serializers: vec![Serializer::Msgpack, Serializer::Cbor, Serializer::Json],
            batched: false,
            tls: TlsConfig::default(),
            sessions: 2,
            max_message_bytes: 16 * 1024 * 1024,
            max_in_flight: 1024,
            auth: Auth::Anonymous,
            heartbeat: Some(Duration::from_secs(15)),
            connect_timeout: Duration::from_secs(8),
            reconnect: Reconnect::default(),
            uri_check: UriCheck::Loose,
            pass_on: PassOn::default(),
        }
    }
}

/// The `tls` object of a router. The files are PEM and are read anew for each connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The issuers whose certificates are trusted, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What is shown to a router that asks who we are.
    pub identity: Option<TlsIdentity>,
    /// The name that the router's certificate must be for, in place of the URL's host.
    pub server_name: Option<String>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The file of the certificate, with those between it and its issuer.
    pub certificate: PathBuf,
    /// The file of its private key, not encrypted.
    pub key: PathBuf,
}

/// Waits between attempts, with full jitter: a random time up to `min`, doubled at each failure up
/// to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// Longest wait before the first attempt.
    pub min: Duration,
    /// Longest wait before any attempt.
    pub max: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(200),
            max: Duration::from_secs(30),
        }
    }
}

/// One place where a router is reached.
#[derive(Clone)]
pub enum Endpoint {
    /// By URL.
    Url(Arc<str>),
    /// In this process: each call opens one connection.
    InProcess {
        /// Its name in logs and status.
        name: Arc<str>,
        /// Opens a connection.
        connect: Arc<dyn Fn() -> BoxFuture<'static, Result<Transport, ConnectError>> + Send + Sync>,
    },
}

impl Endpoint {
    /// Names a router of this process; `connect` opens one connection to it.
    pub fn in_process<F>(name: &str, connect: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<Transport, ConnectError>> + Send + Sync + 'static,
    {
        Endpoint::InProcess {
            name: name.into(),
            connect: Arc::new(connect),
        }
    }

    /// Returns whether the connection is TLS.
    pub fn is_secure(&self) -> bool {
        match self {
            Endpoint::Url(url) => Address::parse(url).is_ok_and(|address| address.is_secure()),
            Endpoint::InProcess { .. } => false,
        }
    }
}

/// The same URL, or the same way into this process.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Endpoint::Url(a), Endpoint::Url(b)) => a == b,
            (
                Endpoint::InProcess { name, connect },
                Endpoint::InProcess {
                    name: other_name,
                    connect: other_connect,
                },
            ) => name == other_name && Arc::ptr_eq(connect, other_connect),
            (Endpoint::Url(_), Endpoint::InProcess { .. })
            | (Endpoint::InProcess { .. }, Endpoint::Url(_)) => false,
        }
    }
}

impl From<&str> for Endpoint {
    fn from(url: &str) -> Self {
        Endpoint::Url(url.into())
    }
}

/// Writes the URL without user, password and query: they may hold secrets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::InProcess { name, .. } => f.write_str(name),
            Endpoint::Url(url) => {
                let url = url.split(['?', '#']).next().unwrap_or_default();
                let Some((scheme, rest)) = url.split_once("://") else {
                    return f.write_str(url);
                };
                let (authority, path) = match rest.find('/') {
                    Some(slash) => rest.split_at(slash),
                    None => (rest, ""),
                };
                let host = authority.rsplit('@').next().unwrap_or_default();
                write!(f, "{scheme}://{host}{path}")
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_shows_no_secret() {
        for (url, shown) in [
            ("ws://127.0.0.1:8080/ws", "ws://127.0.0.1:8080/ws"),
            ("ws://bob:pw@host/ws?token=x", "ws://host/ws"),
            ("ws://host", "ws://host"),
            ("unix:/run/router.sock", "unix:/run/router.sock"),
        ] {
            assert_eq!(Endpoint::from(url).to_string(), shown);
        }
    }
}
