//! Routes for the tests of other modules.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use indexmap::IndexMap;

use super::pattern::{parse_host, parse_path};
use super::route::{Action, Operation, Response, Route, Schemes, Version};
use crate::mops::Template;
use crate::uri::{Uri, UriCheck};
use crate::value::Map;

/// Makes a route from `METHOD host path`, of patterns without optional brackets; its operation does
/// nothing, and is labelled with the path.
pub(crate) fn route(line: &str) -> Route {
    let mut words = line.split(' ');
    let mut word = || words.next().expect("METHOD host path");
    let method = Method::from_bytes(word().as_bytes()).expect("a method");
    let host = parse_host(word()).expect("a host").remove(0);
    let pattern = word();
    let path = parse_path(pattern).expect("a path").remove(0);
    let operation = Operation {
        version: version(),
        pattern: pattern.to_owned(),
        method: method.clone(),
        schemes: Schemes {
            http: true,
            https: false,
        },
        accepts: vec!["application/json".to_owned()],
        provides: vec!["application/json".to_owned()],
        idempotent: false,
        body_max_bytes: 1024,
        body_read_timeout: Duration::from_secs(1),
        body_read_bytes: 1024,
        info: Map::new(),
        action: Action::None,
        response: Response::Plain,
        headers: Template::literal(Map::new()),
    };
    Route {
        host,
        path,
        method,
        operation: Arc::new(operation),
    }
}

fn version() -> Arc<Version> {
    Arc::new(Version {
        api_id: "com.example".to_owned(),
        api_name: "Example".to_owned(),
        meta: Map::new(),
        realm: Uri::parse("com.example", UriCheck::Loose).expect("a URI"),
        name: "1".to_owned(),
        base_path: "/".to_owned(),
        info: Map::new(),
        languages: vec!["en".to_owned()],
        pool_size: None,
        status_codes: Arc::new(IndexMap::new()),
    })
}
