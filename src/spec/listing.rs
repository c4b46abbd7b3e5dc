//! The compiled routes as people read them: one line each, in columns.

use super::route::{Action, Route};
use crate::mops::Template;
use crate::value::{Map, Value};

/// The headings of [`table`].
pub const COLUMNS: [&str; 8] = [
    "METHOD", "HOST", "PATH", "ACTION", "REALM", "SECURITY", "API", "VERSION",
];

/// Returns a table with a heading, a line for each route, sorted by API, version, path and method;
/// every line ends with a line break.
pub fn table(routes: &[Route]) -> String {
    columns(&COLUMNS, sorted(routes).into_iter().map(row))
}

/// Returns rows in columns below their headings; every line ends with a line break.
pub fn columns<const N: usize>(
    headings: &[&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for cells in &lines {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Returns the same as a list of maps, keyed by the columns in lower case.
pub fn to_json(routes: &[Route]) -> Value {
    let rows = sorted(routes).into_iter().map(|route| {
        let cells = COLUMNS.iter().zip(row(route));
        let map: Map = cells
            .map(|(column, cell)| (column.to_lowercase(), Value::from(cell)))
            .collect();
        Value::Map(map)
    });
    Value::List(rows.collect())
}

fn sorted(routes: &[Route]) -> Vec<&Route> {
    let mut sorted: Vec<&Route> = routes.iter().collect();
    sorted.sort_by_cached_key(|route| {
        let version = &route.operation.version;
        (
            version.api_id.clone(),
            version.name.clone(),
            route.host.to_string(),
            route.path.to_string(),
            route.method.to_string(),
        )
    });
    sorted
}

/// Returns the cells of a route, in the order of the columns: method, host, path, action, realm,
/// security, API and version.
pub fn row(route: &Route) -> [String; 8] {
    let version = &route.operation.version;
    [
        route.method.to_string(),
        route.host.to_string(),
        route.path.to_string(),
        action(&route.operation.action),
        version.realm.to_string(),
        // Other kinds are refused when a spec is loaded, until they are built.
        "none".to_owned(),
        version.api_id.clone(),
        version.name.clone(),
    ]
}

fn action(action: &Action) -> String {
    let uri = |template: &Template| match template.as_literal().and_then(Value::as_text) {
        Some(text) => text.to_owned(),
        None => template.to_string(),
    };
    match action {
        Action::None => "none".to_owned(),
        Action::WampCall(call) => format!("call {}", uri(&call.uri)),
        Action::WampPublish(publish) => format!("publish {}", uri(&publish.uri)),
        Action::Static { .. } => "static".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::fixture;

    #[test]
    fn routes_are_listed_in_columns_and_in_order() {
        let routes = ["PUT _ /b", "GET _ /b", "GET api.example.org /a/:id"].map(fixture::route);
        let expected = "\
METHOD  HOST             PATH    ACTION  REALM        SECURITY  API          VERSION
GET     _                /b      none    com.example  none      com.example  1
PUT     _                /b      none    com.example  none      com.example  1
GET     api.example.org  /a/:id  none    com.example  none      com.example  1
";
        assert_eq!(table(&routes), expected);
        let json = to_json(&routes).to_string();
        assert!(
            json.starts_with(r#"[{"method":"GET","host":"_","path":"/b","#),
            "{json}"
        );
    }
}
