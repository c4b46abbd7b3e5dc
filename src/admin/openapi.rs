//! `/openapi.json`: the admin API as OpenAPI 3.1. A test holds it to the table of paths and to real
//! answers.

use axum::response::IntoResponse;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use super::exchange::Exchange;
use super::table::Answer;
use super::{
    calls, guard, health, installed, meta, metrics, realms, sessions, specs, stores, texts,
};
use crate::value::Value;

/// What every error is.
///
/// RFC 9457, with the members that Bondy's clients read.
#[derive(Debug, Serialize, ToSchema)]
struct Problem {
    /// What kind of problem it is; `about:blank` where the status says it all.
    r#type: String,
    title: String,
    status: u16,
    /// What is wrong with this very request.
    detail: String,
    /// The id of the request.
    instance: String,
    /// The machine-readable name of the error.
    code: String,
    /// As `title`.
    message: String,
    /// As `detail`.
    description: String,
    /// Several findings: `pointer`, and for a document `line`, `column`, `code`, `message`, `hint`.
    #[schema(value_type = Option<Vec<Object>>)]
    errors: Option<Vec<Value>>,
}

/// The description.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "wampgate admin API",
        description = "Everything is served under the prefix `/v1.0` too, and as MessagePack on \
                       request. Every error is problem details.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        health::ping, health::livez, health::ready, health::readyz, metrics::scrape,
        specs::list, specs::post, specs::load, specs::get, specs::put, specs::delete, specs::info,
        specs::list_revisions, specs::get_revision, specs::restore,
        realms::list, realms::post, realms::get, realms::put, realms::delete,
        realms::list_revisions, realms::get_revision, realms::restore,
        texts::spec, texts::realm,
        sessions::status, meta::registrations, meta::subscriptions, calls::call,
        installed::routes, stores::status, stores::confirm, stores::cluster, openapi,
    ),
    components(schemas(Problem)),
    modifiers(&Common),
)]
pub(super) struct Api;

/// What holds for every path.
struct Common;

/// The name of the way to authenticate.
const SCHEME: &str = "admin_token";

impl Modify for Common {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme(SCHEME, scheme);
        for (path, item) in &mut openapi.paths.paths {
            for operation in operations(item) {
                // Named after the functions, of which several resources have the same.
                let tag = operation.tags.as_ref().and_then(|tags| tags.first());
                if let (Some(tag), Some(id)) = (tag, &operation.operation_id) {
                    operation.operation_id = Some(format!("{tag}_{id}"));
                }
                if !guard::is_open(path) {
                    let none: [&str; 0] = [];
                    let requirement = SecurityRequirement::new(SCHEME, none);
                    operation.security = Some(vec![requirement]);
                }
                let schema = Ref::from_schema_name("Problem");
                let content = ContentBuilder::new().schema(Some(schema)).build();
                let problem = ResponseBuilder::new()
                    .description("what went wrong")
                    .content("application/problem+json", content)
                    .build();
                let responses = &mut operation.responses.responses;
                responses.insert("default".to_owned(), RefOr::T(problem));
            }
        }
    }
}

/// The operations of a path.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        ..
    } = item;
    [get, put, post, delete].into_iter().flatten()
}

/// Describes the admin API.
#[utoipa::path(
    get, path = "/openapi.json", tag = "gateway",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(super) async fn openapi(_: Exchange) -> Answer {
    let text = Api::openapi().to_json().unwrap_or_default();
    let content_type = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}
