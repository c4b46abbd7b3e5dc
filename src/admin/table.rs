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
use super::page::Page;
use super::{
    Admin, calls, health, installed, later, meta, metrics, openapi, realms, sessions, specs,
    stores, texts,
};
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

/// Returns all that is built.
pub(super) fn rows() -> Vec<Row> {
    let mut table = Table::default();
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let none: &'static [&'static str] = &[];
    let dry: &'static [&'static str] = &["dry_run"];
    let verbose: &'static [&'static str] = &["verbose"];

    table.row(&get, "/ping", none, health::ping);
    table.row(&get, "/livez", none, health::livez);
    table.row(&get, "/ready", verbose, health::ready);
    table.row(&get, "/readyz", verbose, health::readyz);
    table.row(&get, "/metrics", none, metrics::scrape);

    table.row(&get, "/api_specs", Page::QUERY, specs::list);
    table.row(&post, "/api_specs", dry, specs::post);
    table.row(&post, "/services/load_api_spec", none, specs::load);
    table.row(&get, "/api_specs/{id}", none, specs::get);
    table.row(&put, "/api_specs/{id}", dry, specs::put);
    table.row(&delete, "/api_specs/{id}", dry, specs::delete);
    table.row(&get, "/api_specs/{id}/info", none, specs::info);
    table.row(&get, "/api_specs/{id}/text", &["revision"], texts::spec);
    let revisions = "/api_specs/{id}/revisions";
    table.row(&get, revisions, none, specs::list_revisions);
    let revision = "/api_specs/{id}/revisions/{rev}";
    table.row(&get, revision, none, specs::get_revision);
    let restore = "/api_specs/{id}/revisions/{rev}/restore";
    table.row(&post, restore, dry, specs::restore);

    table.row(&get, "/realms", Page::QUERY, realms::list);
    table.row(&post, "/realms", dry, realms::post);
    table.row(&get, "/realms/{uri}", none, realms::get);
    table.row(&put, "/realms/{uri}", dry, realms::put);
    table.row(&delete, "/realms/{uri}", dry, realms::delete);
    table.row(&get, "/realms/{uri}/text", &["revision"], texts::realm);
    let revisions = "/realms/{uri}/revisions";
    table.row(&get, revisions, none, realms::list_revisions);
    let revision = "/realms/{uri}/revisions/{rev}";
    table.row(&get, revision, none, realms::get_revision);
    let restore = "/realms/{uri}/revisions/{rev}/restore";
    table.row(&post, restore, dry, realms::restore);

    table.row(&get, "/realms/{uri}/router", none, sessions::status);
    let registrations = "/realms/{uri}/registrations";
    table.row(&get, registrations, Page::QUERY, meta::registrations);
    let subscriptions = "/realms/{uri}/subscriptions";
    table.row(&get, subscriptions, Page::QUERY, meta::subscriptions);
    table.row(&post, "/services/call", none, calls::call);

    table.row(&get, "/routes", Page::QUERY, installed::routes);
    table.row(&get, "/store", none, stores::status);
    table.row(&post, "/store/confirm", none, stores::confirm);
    table.row(&get, "/cluster", none, stores::cluster);
    table.row(&get, "/openapi.json", none, openapi::openapi);
    table.rows
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
}

impl Table {
    fn row<F: Future<Output = Answer> + Send + 'static>(
        &mut self,
        method: &Method,
        path: &'static str,
        query: &'static [&'static str],
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) {
        self.rows.push(Row {
            method: method.clone(),
            path,
            query,
            handler: Box::new(move |exchange| Box::pin(handler(exchange))),
        });
    }
}

/// Builds what finds the row of a request.
pub(super) fn router(admin: &Arc<Admin>) -> Router {
    let mut router = Router::new();
    let mut later = Table::default();
    for (path, methods) in later::ROWS {
        for method in *methods {
            later.row(method, path, &[], later::refuse);
        }
    }
    for row in rows().into_iter().chain(later.rows) {
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
