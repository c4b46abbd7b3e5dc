//! Paths that are documented for later releases: they say so, rather than that there is no such
//! path.

use http::{Method, StatusCode};

use super::exchange::Exchange;
use super::table::Answer;
use crate::problem::Problem;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

/// What is not built, with its methods.
pub(super) const ROWS: &[(&str, &[Method])] = &[
    ("/api_specs/{id}/openapi", &[GET]),
    ("/realms/{uri}/{part}", &[GET, POST]),
    ("/realms/{uri}/{part}/{id}", &[GET, PUT, DELETE]),
    ("/realms/{uri}/users/{id}/change_password", &[POST]),
    ("/realms/{uri}/users/{id}/enabled", &[GET, PUT]),
    ("/realms/{uri}/users/{id}/groups/{group}", &[PUT, DELETE]),
    ("/realms/{uri}/users/{id}/aliases/{alias}", &[PUT, DELETE]),
];

/// The collections below a realm that come with security.
const PARTS: [&str; 7] = [
    "users",
    "groups",
    "grants",
    "sources",
    "clients",
    "resource_owners",
    "api_keys",
];

/// Answers 501, or 404 for what never will be there.
pub(super) async fn refuse(exchange: Exchange) -> Answer {
    let part = exchange.param("part");
    if !part.is_empty() && !PARTS.contains(&part) {
        return Err(Problem::new(StatusCode::NOT_FOUND));
    }
    let detail = if exchange.param("uri").is_empty() {
        "OpenAPI of an API is not built yet: it comes with a later release."
    } else {
        "This is not built yet: it comes with the security release."
    };
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED)
        .code("wampgate.error.not_built")
        .detail(detail))
}
