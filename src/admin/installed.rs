//! `/routes`: the table that is served.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::exchange::Exchange;
use super::page::Page;
use super::table::Answer;
use crate::spec::{Route, listing};

/// A route, as `wampgate routes` shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RouteRow {
    /// The HTTP method.
    method: String,
    /// The host pattern; `_` is any.
    host: String,
    /// The path pattern.
    path: String,
    /// What it does, as in `call com.example.time`.
    action: String,
    /// The realm of its WAMP actions.
    realm: String,
    /// What a request must carry.
    security: String,
    /// The id of the API.
    api: String,
    /// The API's version.
    version: String,
}

impl RouteRow {
    pub(super) fn of(route: &Route) -> Self {
        let [method, host, path, action, realm, security, api, version] = listing::row(route);
        Self {
            method,
            host,
            path,
            action,
            realm,
            security,
            api,
            version,
        }
    }

    /// By API, version, host, path and method, as `wampgate routes` has them.
    fn key(&self) -> String {
        [
            &self.api,
            &self.version,
            &self.host,
            &self.path,
            &self.method,
        ]
        .map(String::as_str)
        .join("\0")
    }
}

/// Lists the routes that are served.
///
/// In pages; `Link` names the next one.
#[utoipa::path(
    get, path = "/routes", tag = "gateway",
    params(
        ("limit" = Option<u32>, Query, description = "items of a page, 1 to 1000; 100 without it"),
        ("cursor" = Option<String>, Query, description = "where to go on, from `Link`"),
    ),
    responses((status = 200, description = "the table", body = Vec<RouteRow>)),
)]
pub(super) async fn routes(exchange: Exchange) -> Answer {
    let page = Page::of(&exchange)?;
    let routes = exchange.admin.installed().catalog.routes();
    let rows = routes.iter().map(RouteRow::of);
    let all: BTreeMap<String, RouteRow> = rows.map(|row| (row.key(), row)).collect();
    let (rows, last) = page.cut(all, |_| 0);
    page.reply(&exchange, &rows, last.as_deref())
}
