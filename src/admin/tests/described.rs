//! `/openapi.json` against the table of paths, and against real answers.

use std::collections::BTreeSet;

use http::Method;
use utoipa::OpenApi;

use super::support::{Api, Reply, spec};
use crate::admin::{openapi, table};
use crate::uri::{Uri, UriCheck};
use crate::value::json::from_json;
use crate::value::{Map, Value};
use crate::wamp::config::{Endpoint, RouterConfig};
use crate::wamp::pool::Pools;

/// The description as the client gets it.
struct Described(Value);

impl Described {
    fn new() -> Self {
        let text = openapi::Api::openapi().to_json().unwrap();
        Self(from_json(text.as_bytes()).unwrap())
    }

    /// What stands at a path of keys.
    fn at(&self, keys: &[&str]) -> Option<&Value> {
        let mut value = &self.0;
        for key in keys {
            value = value.as_map()?.get(*key)?;
        }
        Some(value)
    }

    /// Compares a reply with what its operation describes.
    fn check(&self, method: &Method, path: &str, reply: &Reply) {
        let method = method.as_str().to_lowercase();
        let place = format!("{method} {path} {}", reply.status);
        let responses = self.at(&["paths", path, &method, "responses"]);
        let responses = responses.and_then(Value::as_map).unwrap();
        let status = reply.status.to_string();
        let is_error = reply.status >= 400;
        let response = match responses.get(&status) {
            Some(response) => response,
            None if is_error => &responses["default"],
            None => panic!("{place} is not described"),
        };
        let content = response.as_map().unwrap().get("content");
        let Some(content) = content.and_then(Value::as_map) else {
            assert!(reply.body.is_empty(), "{place} has a body");
            return;
        };
        let described = content.get(reply.header("content-type"));
        let described = described.unwrap_or_else(|| panic!("{place}: {content:?}"));
        let schema = &described.as_map().unwrap()["schema"];
        let body = if reply.header("content-type").contains("json") {
            reply.json()
        } else {
            String::from_utf8(reply.body.clone()).unwrap().into()
        };
        if let Err(fault) = self.holds(schema, &body, "") {
            panic!("{place}: {fault}\n{body}");
        }
    }

    /// As much of JSON Schema as the description uses; anything else is a fault.
    fn holds(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = schema.as_map().ok_or_else(|| format!("{at}: no schema"))?;
        for (keyword, wanted) in schema {
            match keyword.as_str() {
                "description" | "format" | "title" => {}
                "$ref" => {
                    let name = wanted.as_text().unwrap_or_default();
                    let name = name.trim_start_matches("#/components/schemas/");
                    let found = self.at(&["components", "schemas", name]);
                    self.holds(found.ok_or_else(|| format!("{at}: {name}?"))?, value, at)?;
                }
                "type" => {
                    let types = match wanted {
                        Value::List(types) => types.clone(),
                        one => vec![one.clone()],
                    };
                    let fits = |wanted: &Value| is_a(value, wanted.as_text().unwrap_or_default());
                    if !types.iter().any(fits) {
                        return Err(format!("{at}: {value} is no {wanted}"));
                    }
                }
                "minimum" => {
                    let low = wanted.as_i64().unwrap_or_default();
                    if value.as_i64().is_some_and(|number| number < low) {
                        return Err(format!("{at}: {value} is below {low}"));
                    }
                }
                "required" => {
                    for name in wanted.as_list().unwrap_or_default() {
                        let name = name.as_text().unwrap_or_default();
                        if value.as_map().is_some_and(|map| !map.contains_key(name)) {
                            return Err(format!("{at}: {name} is absent"));
                        }
                    }
                }
                "properties" => {
                    let empty = Map::new();
                    for (name, schema) in wanted.as_map().unwrap_or(&empty) {
                        if let Some(inner) = value.as_map().and_then(|map| map.get(name)) {
                            self.holds(schema, inner, &format!("{at}/{name}"))?;
                        }
                    }
                }
                "items" => {
                    for (index, item) in value.as_list().unwrap_or_default().iter().enumerate() {
                        self.holds(wanted, item, &format!("{at}/{index}"))?;
                    }
                }
                "allOf" => {
                    for schema in wanted.as_list().unwrap_or_default() {
                        self.holds(schema, value, at)?;
                    }
                }
                "oneOf" | "anyOf" => {
                    let mut fits = wanted.as_list().unwrap_or_default().iter();
                    if !fits.any(|schema| self.holds(schema, value, at).is_ok()) {
                        return Err(format!("{at}: {value} is none of {wanted}"));
                    }
                }
                other => return Err(format!("{at}: the test does not know `{other}`")),
            }
        }
        Ok(())
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => *value == Value::Null,
        "string" => value.as_text().is_some(),
        "boolean" => value.as_bool().is_some(),
        "integer" => value.as_i64().is_some() || value.as_u64().is_some(),
        "array" => value.as_list().is_some(),
        "object" => value.as_map().is_some(),
        _ => false,
    }
}

#[test]
fn each_operation_has_a_name_of_its_own() {
    let described = Described::new();
    let paths = described.at(&["paths"]).and_then(Value::as_map).unwrap();
    let operations = paths
        .values()
        .filter_map(Value::as_map)
        .flat_map(Map::values);
    let ids = operations.map(|it| it.as_map().unwrap()["operationId"].to_string());
    let mut ids: Vec<String> = ids.collect();
    assert!(ids.contains(&"\"specs_list\"".to_owned()), "{ids:?}");
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
}

#[test]
fn every_path_is_described_and_there_is_no_other() {
    let described = Described::new();
    let mut expected = BTreeSet::new();
    for row in table::rows() {
        let method = row.method.as_str().to_lowercase();
        let place = ["paths", row.path, &*method, "parameters"];
        let parameters = described.at(&place).and_then(Value::as_list);
        let in_query = parameters.unwrap_or_default().iter().filter_map(|it| {
            let it = it.as_map()?;
            let is_query = it["in"].as_text() == Some("query");
            is_query.then(|| it["name"].as_text().unwrap())
        });
        let in_query: Vec<&str> = in_query.collect();
        assert_eq!(in_query, row.query, "{method} {}", row.path);
        expected.insert(format!("{method} {}", row.path));
    }
    let mut found = BTreeSet::new();
    for (path, item) in described.at(&["paths"]).unwrap().as_map().unwrap() {
        for (method, operation) in item.as_map().unwrap() {
            found.insert(format!("{method} {path}"));
            let operation = operation.as_map().unwrap();
            let is_open = !operation.contains_key("security");
            assert_eq!(
                is_open,
                crate::admin::guard::is_open(path),
                "{method} {path}"
            );
            assert!(operation.contains_key("summary"), "{method} {path}");
        }
    }
    assert_eq!(found, expected);
    assert_eq!(described.at(&["openapi"]), Some(&Value::from("3.1.0")));
}

#[tokio::test]
async fn real_answers_are_as_described() {
    let described = Described::new();
    let pools = Pools::default();
    let realm = Uri::parse("com.file", UriCheck::Loose).unwrap();
    let config = RouterConfig {
        urls: vec![Endpoint::from("ws://127.0.0.1:1/ws")],
        ..RouterConfig::default()
    };
    pools.start(&realm, config);
    let api = Api::changed(|admin| {
        admin.pools = pools;
        admin.allow_calls = true;
    });
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let good = spec("a", "com.file", "/a");
    let bad = spec("a", "com.nowhere", "/a");
    let realm = r#"{"uri": "com.a", "description": "x"}"#.to_owned();
    let none = String::new();
    let walk = [
        (&get, "/livez", "/livez", &none),
        (&get, "/ping", "/ping", &none),
        (&get, "/ready", "/ready", &none),
        (&get, "/readyz", "/readyz", &none),
        (&get, "/readyz", "/readyz?verbose", &none),
        (&get, "/metrics", "/metrics", &none),
        (&post, "/api_specs", "/api_specs?dry_run=true", &good),
        (&post, "/api_specs", "/api_specs", &good),
        (&post, "/api_specs", "/api_specs", &good),
        (&post, "/api_specs", "/api_specs", &bad),
        (&post, "/api_specs", "/api_specs?dry_run=true", &bad),
        (
            &post,
            "/services/load_api_spec",
            "/services/load_api_spec",
            &good,
        ),
        (&get, "/api_specs", "/api_specs", &none),
        (&get, "/api_specs/{id}", "/api_specs/a", &none),
        (&get, "/api_specs/{id}", "/api_specs/b", &none),
        (&put, "/api_specs/{id}", "/api_specs/a", &good),
        (&put, "/api_specs/{id}", "/api_specs/filed", &good),
        (&get, "/api_specs/{id}/info", "/api_specs/a/info", &none),
        (&get, "/api_specs/{id}/text", "/api_specs/a/text", &none),
        (
            &get,
            "/api_specs/{id}/revisions",
            "/api_specs/a/revisions",
            &none,
        ),
        (
            &get,
            "/api_specs/{id}/revisions/{rev}",
            "/api_specs/a/revisions/1",
            &none,
        ),
        (
            &post,
            "/api_specs/{id}/revisions/{rev}/restore",
            "/api_specs/a/revisions/1/restore",
            &none,
        ),
        (
            &delete,
            "/api_specs/{id}",
            "/api_specs/a?dry_run=true",
            &none,
        ),
        (&delete, "/api_specs/{id}", "/api_specs/a", &none),
        (
            &get,
            "/api_specs/{id}/revisions/{rev}",
            "/api_specs/a/revisions/6",
            &none,
        ),
        (
            &post,
            "/api_specs/{id}/revisions/{rev}/restore",
            "/api_specs/a/revisions/1/restore",
            &none,
        ),
        (&post, "/realms", "/realms", &realm),
        (&get, "/realms", "/realms", &none),
        (&get, "/realms/{uri}", "/realms/com.a", &none),
        (&get, "/realms/{uri}/text", "/realms/com.a/text", &none),
        (&put, "/realms/{uri}", "/realms/com.a", &realm),
        (&put, "/realms/{uri}", "/realms/com.a?dry_run=true", &realm),
        (
            &get,
            "/realms/{uri}/revisions",
            "/realms/com.a/revisions",
            &none,
        ),
        (
            &get,
            "/realms/{uri}/revisions/{rev}",
            "/realms/com.a/revisions/7",
            &none,
        ),
        (
            &post,
            "/realms/{uri}/revisions/{rev}/restore",
            "/realms/com.a/revisions/8/restore",
            &none,
        ),
        (&delete, "/realms/{uri}", "/realms/com.file", &none),
        (&delete, "/realms/{uri}", "/realms/com.a", &none),
        (
            &get,
            "/realms/{uri}/router",
            "/realms/com.file/router",
            &none,
        ),
        (
            &get,
            "/realms/{uri}/registrations",
            "/realms/com.none/registrations",
            &none,
        ),
        (
            &get,
            "/realms/{uri}/subscriptions",
            "/realms/com.none/subscriptions",
            &none,
        ),
        (&post, "/services/call", "/services/call", &realm),
        (&get, "/routes", "/routes", &none),
        (&get, "/store", "/store", &none),
        (&post, "/store/confirm", "/store/confirm", &realm),
        (&get, "/cluster", "/cluster", &none),
        (&get, "/openapi.json", "/openapi.json", &none),
    ];
    let mut seen = BTreeSet::new();
    for (method, pattern, path, body) in walk {
        let headers = [("content-type", "application/json")];
        let reply = api
            .ask_with(method.clone(), path, &headers, body.clone().into())
            .await;
        assert!(reply.status < 500, "{method} {path}: {reply:?}");
        described.check(method, pattern, &reply);
        seen.insert((method.to_string(), pattern));
    }
    let all = table::rows()
        .into_iter()
        .map(|row| (row.method.to_string(), row.path));
    assert_eq!(seen, all.collect());
}
