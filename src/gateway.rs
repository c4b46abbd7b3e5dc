//! The HTTP front end: from a request on a socket to the reply.
//!
//! Begin with `exchange.rs`, the life of one request; `table.rs` finds the route, `context.rs` and
//! `codec.rs` make of the request what templates see, `answer.rs` makes the reply, and `rescue.rs`
//! words every error. This module never changes what is served: whoever loads specs
//! [installs](Gateway::install) a new table.

pub mod answer;
pub mod codec;
pub mod context;
pub mod endpoint;
mod exchange;
pub mod peer;
pub mod rescue;
pub mod table;
pub mod target;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use tower::Service;

use crate::gateway::peer::TrustedProxies;
use crate::gateway::table::{LiveTable, RouteTable};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Tracer;
use crate::wamp::pool::Pools;

/// What all requests share.
#[derive(Debug, Default)]
pub struct Gateway {
    /// The routes that are served now.
    pub table: LiveTable,
    /// The WAMP sessions, by realm.
    pub pools: Pools,
    /// Whose word on the client's address, scheme and host is believed.
    pub trusted_proxies: TrustedProxies,
    /// What is recorded of requests, for a tracing system.
    pub tracer: Tracer,
    /// What is measured.
    pub metrics: Arc<Metrics>,
}

impl Gateway {
    /// Replaces the table in one step. Routes that stay go on with their counts.
    pub fn install(&self, table: RouteTable) {
        // While the old table is held: what nobody holds begins at 0.
        for endpoint in table.endpoints() {
            endpoint.series(&self.metrics.requests);
        }
        self.table.install(table);
        self.metrics.requests.forget_gone();
    }
}

/// Returns the service that answers every request of a listener.
pub fn service(
    gateway: Arc<Gateway>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |request| {
        let gateway = gateway.clone();
        async move { Ok(exchange::answer(&gateway, request).await) }
    })
}
