//! The route table: immutable once built, matched by every request, swapped as a whole.
//!
//! Two trees, the host's labels from the right and the path's segments from the left, both with the
//! same order of preference in each node: literal, then variable, then "the rest". Searching a path
//! steps back where a more specific branch leads nowhere, and visits a node at most once. There is
//! no stepping back from path to host, or from method to path: the most specific host answers for
//! itself, and so does the most specific path.
//!
//! Why our own tree: radix crates refuse a variable beside a catch-all in one place, and refuse two
//! names for the variable in one place; specs may have both.
//!
//! Reference: `api-spec.md`, "Matching".

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Method;
use tokio::sync::Semaphore;

use crate::gateway::endpoint::Endpoint;
use crate::spec::{HostPattern, Operation, Route, Segment, Version};
use crate::value::{Map, Value};

/// Every route that is served, from every API, at one moment.
#[derive(Debug, Default)]
pub struct RouteTable {
    hosts: Node<PathTree>,
    any_host: PathTree,
    routes: usize,
}

/// What a request asks for, taken apart.
#[derive(Debug)]
pub struct Target<'r> {
    /// The host, normalised.
    pub host: &'r str,
    /// The decoded segments of the path.
    pub segments: &'r [Cow<'r, str>],
}

/// A path that is known, with what its variables hold.
#[derive(Debug)]
pub struct Match<'t, 'r> {
    place: &'t Place,
    captures: Vec<&'r str>,
    rest: &'r [Cow<'r, str>],
}

/// All routes of one pattern: one for each method.
#[derive(Debug, Default)]
struct Place {
    routes: Vec<PlacedRoute>,
}

#[derive(Debug)]
struct PlacedRoute {
    method: Method,
    endpoint: Arc<Endpoint>,
    // Names of the variables in the order in which the trees capture them: the path's from the
    // left, then the host's from the right. Each route has its own: two routes may name the
    // variable in one place differently.
    names: Box<[Box<str>]>,
    /// The path's segments that variables take whose names say that it is a secret.
    secrets: Box<[usize]>,
}

type PathTree = Node<Place>;

/// The endpoints made so far: the expansions of one declaration share theirs, and all operations of
/// an API version share its limit.
#[derive(Default)]
struct Endpoints {
    // Keyed by address: operations are compared by identity, and the routes that are being read, or
    // the endpoints themselves, keep them alive.
    by_operation: HashMap<usize, Arc<Endpoint>>,
    /// By API, version and size.
    limits: HashMap<(String, String, usize), Arc<Semaphore>>,
}

impl Endpoints {
    /// The endpoints of a table, to go on with.
    fn of_table(table: &RouteTable) -> Self {
        let mut endpoints = Self::default();
        for endpoint in table.endpoints() {
            let operation = &endpoint.operation;
            if let (Some(limit), Some(key)) = (&endpoint.in_flight, limit_of(&operation.version)) {
                endpoints.limits.insert(key, limit.clone());
            }
            let address = Arc::as_ptr(operation).addr();
            endpoints.by_operation.insert(address, endpoint.clone());
        }
        endpoints
    }

    fn of(&mut self, operation: &Arc<Operation>) -> Arc<Endpoint> {
        let limit = limit_of(&operation.version).map(|key| {
            let size = key.2;
            self.limits
                .entry(key)
                .or_insert_with(|| Arc::new(Semaphore::new(size)))
                .clone()
        });
        self.by_operation
            .entry(Arc::as_ptr(operation).addr())
            .or_insert_with(|| Arc::new(Endpoint::new(operation.clone(), limit)))
            .clone()
    }
}

/// Names the limit of an API version, if it has one.
fn limit_of(version: &Version) -> Option<(String, String, usize)> {
    let size = version.pool_size?;
    Some((version.api_id.clone(), version.name.clone(), size))
}

/// One place in a tree of labels or segments.
#[derive(Debug)]
struct Node<T> {
    literals: HashMap<Box<str>, Node<T>>,
    variable: Option<Box<Node<T>>>,
    here: Option<T>,
    rest: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: HashMap::new(),
            variable: None,
            here: None,
            rest: None,
        }
    }
}

impl<T: Default> Node<T> {
    /// Returns the content at `segments`, made where it was not there yet.
    fn place<'s>(&mut self, segments: impl Iterator<Item = &'s Segment>) -> &mut T {
        let mut node = self;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.as_str().into()).or_default(),
                Segment::Variable(_) => node.variable.get_or_insert_default(),
                // Nothing follows the rest: patterns are checked when the spec is loaded.
                Segment::Rest => return node.rest.get_or_insert_default(),
            };
        }
        node.here.get_or_insert_default()
    }
}

impl<T> Node<T> {
    /// Shows `see` every content.
    fn visit<'t>(&'t self, see: &mut dyn FnMut(&'t T)) {
        self.here.iter().chain(&self.rest).for_each(&mut *see);
        let below = self.literals.values().chain(self.variable.as_deref());
        below.for_each(|node| node.visit(see));
    }

    fn is_leaf(&self) -> bool {
        self.literals.is_empty() && self.variable.is_none() && self.rest.is_none()
    }

    /// Finds the most specific content for `segments`, from `at` on. `captures` gets the places of
    /// the segments that variables took. Returns the content and the place where "the rest" begins.
    fn find<S: AsRef<str>>(
        &self,
        segments: &[S],
        at: usize,
        captures: &mut Vec<usize>,
    ) -> Option<(&T, usize)> {
        let Some(segment) = segments.get(at) else {
            return self
                .here
                .as_ref()
                .or(self.rest.as_ref())
                .map(|content| (content, at));
        };
        let segment = segment.as_ref();
        if let Some(node) = self.literals.get(segment)
            && let Some(found) = node.find(segments, at + 1, captures)
        {
            return Some(found);
        }
        if let Some(node) = &self.variable
            && !segment.is_empty()
        {
            captures.push(at);
            if let Some(found) = node.find(segments, at + 1, captures) {
                return Some(found);
            }
            captures.pop();
        }
        self.rest.as_ref().map(|content| (content, at))
    }
}

impl RouteTable {
    /// Builds a table of routes that do not conflict (the spec compiler sees to that).
    pub fn build(routes: impl IntoIterator<Item = Route>) -> Self {
        Self::build_after(routes, &Self::default())
    }

    /// Builds the table that follows `previous`. An operation that is the same (at the same address)
    /// keeps its endpoint. An API version keeps its count of actions in flight, also where something
    /// else of it changed: else each change would let in as many actions again.
    pub fn build_after(routes: impl IntoIterator<Item = Route>, previous: &Self) -> Self {
        let mut table = Self::default();
        let mut endpoints = Endpoints::of_table(previous);
        for route in routes {
            let endpoint = endpoints.of(&route.operation);
            let mut names: Vec<Box<str>> = Vec::new();
            let mut name = |segment: &Segment| {
                if let Segment::Variable(name) = segment {
                    names.push(name.as_str().into());
                }
            };
            route.path.segments().iter().for_each(&mut name);
            let segments = route.path.segments().iter().enumerate();
            let secrets = segments.filter(|(_, segment)| is_secret(segment));
            let secrets = secrets.map(|(place, _)| place).collect();
            let paths = match &route.host {
                HostPattern::Any => &mut table.any_host,
                HostPattern::Labels(labels) => {
                    labels.iter().rev().for_each(&mut name);
                    table.hosts.place(labels.iter().rev())
                }
            };
            paths
                .place(route.path.segments().iter())
                .routes
                .push(PlacedRoute {
                    method: route.method,
                    endpoint,
                    names: names.into(),
                    secrets,
                });
            table.routes += 1;
        }
        table
    }

    /// Returns how many routes there are, one for each method of each expanded pattern.
    pub fn len(&self) -> usize {
        self.routes
    }

    /// Returns what serves the routes, each at least once.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let mut places = Vec::new();
        self.any_host.visit(&mut |place| places.push(place));
        self.hosts
            .visit(&mut |paths| paths.visit(&mut |place| places.push(place)));
        let routes = places.into_iter().flat_map(|place| &place.routes);
        routes.map(|route| &route.endpoint)
    }

    /// Returns whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.routes == 0
    }

    /// Finds the most specific place for `target`, whatever the method.
    pub fn find<'t, 'r>(&'t self, target: &Target<'r>) -> Option<Match<'t, 'r>> {
        let (paths, host_captures) = self.paths_of(target.host);
        let mut places = Vec::new();
        let (place, rest) = paths.find(target.segments, 0, &mut places)?;
        let mut captures: Vec<&'r str> = places
            .into_iter()
            .map(|at| target.segments[at].as_ref())
            .collect();
        captures.extend(host_captures);
        Some(Match {
            place,
            captures,
            rest: &target.segments[rest..],
        })
    }

    /// Returns the tree of the most specific host, and what that host's variables took.
    fn paths_of<'r>(&self, host: &'r str) -> (&PathTree, Vec<&'r str>) {
        if self.hosts.is_leaf() {
            return (&self.any_host, Vec::new());
        }
        let labels: Vec<&'r str> = host.rsplit('.').collect();
        let mut places = Vec::new();
        match self.hosts.find(&labels, 0, &mut places) {
            Some((paths, _)) => (paths, places.into_iter().map(|at| labels[at]).collect()),
            None => (&self.any_host, Vec::new()),
        }
    }
}

/// Whether a segment is a variable that holds a secret, going by its name.
fn is_secret(segment: &Segment) -> bool {
    const TELLING: [&str; 6] = [
        "token",
        "secret",
        "passw",
        "credential",
        "signature",
        "api_key",
    ];
    let Segment::Variable(name) = segment else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|telling| name.contains(telling))
}

impl<'t> Match<'t, '_> {
    /// Returns the path as it may be logged, if it holds what must not be: a segment that a variable
    /// with a telling name takes, such as `/reset/:token`, is `***`.
    pub fn redacted(&self, segments: &[Cow<'_, str>]) -> Option<String> {
        let is_hidden = |place| {
            let mut routes = self.place.routes.iter();
            routes.any(|route| route.secrets.contains(&place))
        };
        // Nearly always there is none, and this is all.
        if self
            .place
            .routes
            .iter()
            .all(|route| route.secrets.is_empty())
        {
            return None;
        }
        let shown = segments.iter().enumerate().map(|(place, segment)| {
            let segment = if is_hidden(place) { "***" } else { segment };
            format!("/{segment}")
        });
        Some(shown.collect())
    }

    /// Returns what serves `method`: HEAD is served by GET where there is no HEAD of its own.
    pub fn endpoint(&self, method: &Method) -> Option<&'t Arc<Endpoint>> {
        let route = |method: &Method| self.place.routes.iter().find(|it| it.method == method);
        let implied = || {
            (method == Method::HEAD)
                .then(|| route(&Method::GET))
                .flatten()
        };
        route(method).or_else(implied).map(|route| &route.endpoint)
    }

    /// Returns every endpoint of the place, in the order of declaration.
    pub fn endpoints(&self) -> impl Iterator<Item = &'t Arc<Endpoint>> + use<'t> {
        self.place.routes.iter().map(|route| &route.endpoint)
    }

    /// Returns the methods that the place answers, OPTIONS and the implied HEAD among them, sorted.
    pub fn methods(&self) -> Vec<Method> {
        let mut methods: Vec<Method> = self
            .place
            .routes
            .iter()
            .map(|route| route.method.clone())
            .collect();
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        methods.push(Method::OPTIONS);
        methods.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }

    /// Returns the variables of path and host by the names that `endpoint`'s route gives them.
    pub fn bindings(&self, endpoint: &Arc<Endpoint>) -> Map {
        let names = self
            .place
            .routes
            .iter()
            .find(|route| Arc::ptr_eq(&route.endpoint, endpoint))
            .map_or::<&[Box<str>], _>(&[], |route| &route.names);
        names
            .iter()
            .zip(&self.captures)
            .map(|(name, text)| (name.to_string(), Value::from(*text)))
            .collect()
    }

    /// Returns the decoded segments that `[...]` took.
    pub fn path_info(&self) -> Vec<Value> {
        self.rest
            .iter()
            .map(|segment| Value::from(segment.as_ref()))
            .collect()
    }
}

/// The table that serves now; replaced in one step.
///
/// A request takes one snapshot and keeps it: it sees the old table or the new one, never both.
#[derive(Debug, Default)]
pub struct LiveTable(ArcSwap<RouteTable>);

impl LiveTable {
    /// Returns the table as it is now.
    pub fn snapshot(&self) -> Arc<RouteTable> {
        self.0.load_full()
    }

    /// Replaces the table; requests under way keep the one they started with.
    pub fn install(&self, table: RouteTable) {
        self.0.store(Arc::new(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::fixture;

    /// Builds a table of `METHOD host path` lines; each operation's pattern is its own line.
    fn table(lines: &[&str]) -> RouteTable {
        RouteTable::build(lines.iter().map(|line| fixture::route(line)))
    }

    fn find(table: &RouteTable, method: &str, host: &str, path: &str) -> String {
        let segments = crate::gateway::target::segments(path).unwrap();
        let Some(found) = table.find(&Target {
            host,
            segments: &segments,
        }) else {
            return "404".to_owned();
        };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let Some(endpoint) = found.endpoint(&method) else {
            let methods = found.methods();
            let allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
            return format!("405 {}", allow.join(","));
        };
        let bindings = Value::from(found.bindings(endpoint));
        let rest = Value::from(found.path_info());
        format!("{} {bindings} {rest}", endpoint.operation.pattern)
    }

    #[test]
    fn literal_before_variable_before_rest_whatever_the_order() {
        let table = table(&[
            "GET _ /a/[...]",
            "GET _ /a/:x",
            "GET _ /a/b",
            "GET _ /a/:x/c",
            "GET _ /a/b/d",
            "GET _ /",
        ]);
        assert_eq!(find(&table, "GET", "h", "/a/b"), "/a/b {} []");
        assert_eq!(find(&table, "GET", "h", "/a/z"), r#"/a/:x {"x":"z"} []"#);
        assert_eq!(
            find(&table, "GET", "h", "/a/b/c"),
            r#"/a/:x/c {"x":"b"} []"#
        );
        assert_eq!(find(&table, "GET", "h", "/a/b/d"), "/a/b/d {} []");
        assert_eq!(
            find(&table, "GET", "h", "/a/b/e/f"),
            r#"/a/[...] {} ["b","e","f"]"#
        );
        assert_eq!(find(&table, "GET", "h", "/a"), "/a/[...] {} []");
        assert_eq!(find(&table, "GET", "h", "/"), "/ {} []");
        assert_eq!(find(&table, "GET", "h", "/b"), "404");
    }

    #[test]
    fn each_route_names_its_variables_itself() {
        let table = table(&["GET _ /a/:x/:y", "PUT _ /a/:p/:q"]);
        assert_eq!(
            find(&table, "GET", "h", "/a/1/2"),
            r#"/a/:x/:y {"x":"1","y":"2"} []"#
        );
        assert_eq!(
            find(&table, "PUT", "h", "/a/1/2"),
            r#"/a/:p/:q {"p":"1","q":"2"} []"#
        );
    }

    #[test]
    fn a_variable_with_a_telling_name_is_not_logged() {
        let table = table(&["GET _ /reset/:resetToken/x", "GET _ /a/:b"]);
        let redacted = |path: &str| {
            let segments = crate::gateway::target::segments(path).unwrap();
            let target = Target {
                host: "h",
                segments: &segments,
            };
            table.find(&target).unwrap().redacted(&segments)
        };
        assert_eq!(redacted("/a/b"), None);
        assert_eq!(redacted("/z/../reset/s%2Fx/x/").unwrap(), "/reset/***/x");
    }

    #[test]
    fn the_next_table_goes_on_with_what_did_not_change() {
        let limited = |size| {
            let mut route = fixture::route("GET _ /a");
            let operation = Arc::get_mut(&mut route.operation).unwrap();
            Arc::get_mut(&mut operation.version).unwrap().pool_size = size;
            route
        };
        let endpoint = |table: &RouteTable| table.endpoints().next().unwrap().clone();
        let route = limited(Some(1));
        let first = RouteTable::build([route.clone()]);
        let permit = endpoint(&first)
            .in_flight
            .clone()
            .unwrap()
            .try_acquire_owned();
        let same = RouteTable::build_after([route], &first);
        assert!(Arc::ptr_eq(&endpoint(&same), &endpoint(&first)));
        // Something else of the version has changed: it is as full as it was.
        let changed = RouteTable::build_after([limited(Some(1))], &same);
        assert!(!Arc::ptr_eq(&endpoint(&changed), &endpoint(&first)));
        let limit = endpoint(&changed).in_flight.clone().unwrap();
        assert!(limit.try_acquire().is_err());
        drop(permit);
        assert!(limit.try_acquire().is_ok());
        let larger = RouteTable::build_after([limited(Some(2))], &changed);
        let limit = endpoint(&larger).in_flight.clone().unwrap();
        assert_eq!(limit.available_permits(), 2);
    }

    #[test]
    fn a_variable_takes_no_empty_segment() {
        let table = table(&["GET _ /a/:x/b"]);
        assert_eq!(find(&table, "GET", "h", "/a//b"), "404");
    }

    #[test]
    fn the_most_specific_host_answers_for_itself() {
        let table = table(&[
            "GET _ /any",
            "GET api.example.org /one",
            "GET :tenant.example.org /two",
            "GET [...].example.org /three",
        ]);
        assert_eq!(find(&table, "GET", "api.example.org", "/one"), "/one {} []");
        // No falling through to another host.
        assert_eq!(find(&table, "GET", "api.example.org", "/any"), "404");
        assert_eq!(
            find(&table, "GET", "x.example.org", "/two"),
            r#"/two {"tenant":"x"} []"#
        );
        assert_eq!(
            find(&table, "GET", "a.b.example.org", "/three"),
            "/three {} []"
        );
        assert_eq!(find(&table, "GET", "elsewhere.net", "/any"), "/any {} []");
    }

    #[test]
    fn another_method_is_405_and_get_serves_head() {
        let table = table(&["GET _ /a", "POST _ /a"]);
        assert_eq!(find(&table, "HEAD", "h", "/a"), "/a {} []");
        assert_eq!(
            find(&table, "DELETE", "h", "/a"),
            "405 GET,HEAD,OPTIONS,POST"
        );
    }
}
