//! Which handler answers which path and method.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode};

use super::exchange::{self, Exchange};
use super::{Admin, health, metrics, sessions};
use crate::problem::Problem;

/// What a handler comes to.
pub(super) type Answer = Result<Response, Problem>;

type Handler = Box<dyn Fn(Exchange) -> BoxFuture<'static, Answer> + Send + Sync>;

/// A path with one of its methods.
pub(super) struct Row {
    pub(super) method: Method,
    /// With variables as `{id}`.
    pub(super) path: &'static str,
    /// The parameters that its query may have.
    pub(super) query: &'static [&'static str],
    pub(super) handler: Handler,
}

/// Returns the whole API.
pub(super) fn rows() -> Vec<Row> {
    let mut table = Table::default();
    table.get("/ping", &[], health::alive);
    table.get("/livez", &[], health::alive);
    table.get("/ready", &["verbose"], health::ready);
    table.get("/readyz", &["verbose"], health::ready);
    table.get("/metrics", &[], metrics::scrape);
    table.get("/realms/{uri}/router", &[], sessions::status);
    table.rows
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
}

impl Table {
    fn get<F: Future<Output = Answer> + Send + 'static>(
        &mut self,
        path: &'static str,
        query: &'static [&'static str],
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) {
        self.row(Method::GET, path, query, handler);
    }

    fn row<F: Future<Output = Answer> + Send + 'static>(
        &mut self,
        method: Method,
        path: &'static str,
        query: &'static [&'static str],
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) {
        self.rows.push(Row {
            method,
            path,
            query,
            handler: Box::new(move |exchange| Box::pin(handler(exchange))),
        });
    }
}

/// Builds what finds the row of a request.
pub(super) fn router(admin: &Arc<Admin>) -> Router {
    let mut router = Router::new();
    for row in rows() {
        let filter = MethodFilter::try_from(row.method.clone());
        let filter = filter.expect("the table has ordinary methods only");
        let (path, row, admin) = (row.path, Arc::new(row), admin.clone());
        let handler = move |params: Result<RawPathParams, RawPathParamsRejection>,
                            request: Request<Body>| {
            let (admin, row) = (admin.clone(), row.clone());
            async move { Exchange::run(admin, &row, params.ok(), request).await }
        };
        router = router.route(path, on(filter, handler));
    }
    let nothing = |status| {
        move |request: Request<Body>| async move {
            let (parts, _) = request.into_parts();
            exchange::told(&exchange::trail_of(&parts), Problem::new(status))
        }
    };
    // `Allow` is added to it.
    router
        .method_not_allowed_fallback(nothing(StatusCode::METHOD_NOT_ALLOWED))
        .fallback(nothing(StatusCode::NOT_FOUND))
}
