//! A spec as it is written to the routes that it stands for, and every finding about it.
//!
//! Nothing stops at the first mistake: what cannot be read becomes a broken template, which every
//! later check lets pass, and the paths are compared with each other whatever is wrong below them.
//!
//! Reference: `api-spec.md`, "Path object" to "Response object".

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::diagnostic::{Code, Diagnostic, Findings, Location, SourceId};
use crate::document::{Document, Node, NodeKind, ObjectReader};
use crate::mops::{Scope, Template};
use crate::uri::Uri;
use crate::value::{Map, Value};
use crate::wamp::options;

use super::conflict::{self, Claim};
use super::inherit::Inherited;
use super::item::{At, Fields, Given, Item, Reading};
use super::model::{self, ApiSpec, Inheritable, PathSpec, VersionSpec};
use super::route::{
    Action, HostPattern, OnError, OnResult, Operation, PathPattern, Response, Route, Schemes,
    Segment, Version, WampAction,
};
use super::validate::{self, Kind, Moment};

/// What one document compiles to. Routes are to be used only if there is no error.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// The API's id, if it can be read.
    pub(super) id: Option<(SourceId, String)>,
    /// The API's realm, if it can be read.
    pub(super) realm: Option<(SourceId, Uri)>,
    pub(super) versions: Vec<Arc<Version>>,
    pub(super) routes: Vec<Route>,
    pub(super) claims: Vec<Claim>,
}

/// Compiles one document.
pub(super) fn compile(document: &Document, findings: &Findings) -> Compiled {
    let mut compiled = Compiled::default();
    let Some(api) = model::read(document, findings) else {
        return compiled;
    };
    compiled.realm = api.realm.as_ref().map(|(node, uri)| (node.id, uri.clone()));
    compiled.id = api.id.map(|(node, id)| (node.id, id.to_owned()));
    let reading = Reading::new(document, findings);
    if api.versions.is_empty() {
        // Nothing uses what the API hands down: a mistake in it is still a mistake.
        Inherited::of_version(&reading, &api.inherited, &Inheritable::default());
    }
    for version in &api.versions {
        compile_version(&reading, &api, version, &mut compiled);
    }
    compiled
}

fn compile_version(
    reading: &Reading<'_>,
    api: &ApiSpec<'_>,
    spec: &VersionSpec<'_>,
    compiled: &mut Compiled,
) {
    let (inherited, status_codes) = Inherited::of_version(reading, &api.inherited, &spec.inherited);
    let id = api.id.map_or("", |(_, id)| id);
    // A realm that cannot be read is reported, and then no route of this is used.
    let realm = api.realm.as_ref().map(|(_, realm)| realm.clone());
    let version = realm.map(|realm| {
        Arc::new(Version {
            api_id: id.to_owned(),
            api_name: api.name.unwrap_or(id).to_owned(),
            meta: api.meta.clone(),
            realm,
            name: spec.name.to_owned(),
            base_path: spec.base_path.to_owned(),
            info: spec.info.clone(),
            languages: spec.languages.clone(),
            pool_size: spec.pool_size,
            status_codes,
        })
    });
    for path in &spec.paths {
        let own = inherited.of_path(reading, &path.inherited);
        let level = own.as_ref().unwrap_or(&inherited);
        let scope = level.scope();
        let compiler = PathCompiler {
            reading,
            scope: &scope,
            inherited: level,
            spec: path,
            variables: variables(api.hosts.as_deref(), path.patterns.as_deref()),
            // Without its patterns it is not known which variables there are.
            are_variables_known: api.hosts.is_some() && path.patterns.is_some(),
        };
        compiler.compile(api, spec, version.as_ref(), compiled);
    }
    compiled.versions.extend(version);
}

/// Returns the names of all variables that a request may bring, in any expansion.
fn variables<'p>(
    hosts: Option<&'p [HostPattern]>,
    paths: Option<&'p [PathPattern]>,
) -> Vec<&'p str> {
    let host_labels = hosts.into_iter().flatten().flat_map(|host| match host {
        HostPattern::Any => &[],
        HostPattern::Labels(labels) => labels.as_slice(),
    });
    let path_segments = paths.into_iter().flatten().flat_map(PathPattern::segments);
    host_labels
        .chain(path_segments)
        .filter_map(|segment| match segment {
            Segment::Variable(name) => Some(name.as_str()),
            Segment::Literal(_) | Segment::Rest => None,
        })
        .collect()
}

/// Compiles the operations of one path.
struct PathCompiler<'c, 'd> {
    reading: &'c Reading<'d>,
    scope: &'c Scope<'c>,
    inherited: &'c Inherited,
    spec: &'c PathSpec<'d>,
    variables: Vec<&'c str>,
    are_variables_known: bool,
}

/// What holds for all operations of a path that do not say otherwise.
struct Settings {
    schemes: Option<Schemes>,
    accepts: Vec<String>,
    provides: Vec<String>,
    headers: Template,
    timeout: Template,
    connect_timeout: Template,
    retries: Template,
    retry_timeout: Template,
    body: BodyLimits,
}

#[derive(Clone, Copy)]
struct BodyLimits {
    max_bytes: u64,
    read_bytes: u64,
    read_timeout: Duration,
}

impl PathCompiler<'_, '_> {
    fn compile(
        &self,
        api: &ApiSpec<'_>,
        version_spec: &VersionSpec<'_>,
        version: Option<&Arc<Version>>,
        compiled: &mut Compiled,
    ) {
        let settings = self.settings();
        let pattern = declared(version_spec.base_path, self.spec.pattern);
        for (method, node) in &self.spec.methods {
            let operation = self.operation(method, node, &settings, &pattern, version);
            let (Some(hosts), Some(paths)) = (&api.hosts, &self.spec.patterns) else {
                continue;
            };
            if !version_spec.is_active {
                continue;
            }
            compiled.claims.push(Claim {
                shapes: conflict::shapes(hosts, paths, method),
                at: node.id,
                name: format!(
                    "{} {pattern} of `{}` {}",
                    method.as_str(),
                    api.id.map_or("", |(_, id)| id),
                    version_spec.name
                ),
            });
            let Some(operation) = operation else { continue };
            for host in hosts {
                for path in paths {
                    compiled.routes.push(Route {
                        host: host.clone(),
                        path: path.clone(),
                        method: method.clone(),
                        operation: operation.clone(),
                    });
                }
            }
        }
    }

    /// Returns what the path itself says, else what it inherits.
    fn setting(&self, key: &str) -> Given {
        match self.spec.settings.iter().find(|(name, _)| *name == key) {
            Some((_, node)) => Item::written(node).evaluate(self.reading, self.scope),
            None => {
                // Built-in defaults are right, so their place is never shown.
                let fallback = At::value(SourceId(0));
                self.inherited.default(key, &fallback)
            }
        }
    }

    fn settings(&self) -> Settings {
        let reading = self.reading;
        validate::security(reading, &self.setting("security"));
        let headers = self.setting("headers");
        validate::headers(reading, &headers);
        self.check_paths(&headers.template, Moment::Any);
        let timeout = self.setting("timeout");
        validate::millis(reading, &timeout, 1);
        let connect_timeout = self.setting("connect_timeout");
        validate::millis(reading, &connect_timeout, 0);
        let retries = self.setting("retries");
        validate::retries(reading, &retries);
        let retry_timeout = self.setting("retry_timeout");
        validate::millis(reading, &retry_timeout, 0);
        Settings {
            schemes: validate::schemes(reading, &self.setting("schemes")),
            accepts: validate::media_types(reading, &self.setting("accepts")).unwrap_or_default(),
            provides: validate::media_types(reading, &self.setting("provides")).unwrap_or_default(),
            headers: headers.template,
            timeout: timeout.template,
            connect_timeout: connect_timeout.template,
            retries: retries.template,
            retry_timeout: retry_timeout.template,
            body: self.body_limits(|key| Some(self.setting(key)), NO_LIMITS),
        }
    }

    /// Reads the limits of the body from where they are, those that are absent from `otherwise`.
    fn body_limits(
        &self,
        get: impl Fn(&'static str) -> Option<Given>,
        otherwise: BodyLimits,
    ) -> BodyLimits {
        let bytes = |key| validate::unsigned(self.reading, &get(key)?, 0, validate::NO_BOUND);
        let timeout = get("body_read_seconds");
        BodyLimits {
            max_bytes: bytes("body_max_bytes").unwrap_or(otherwise.max_bytes),
            read_bytes: bytes("body_read_bytes").unwrap_or(otherwise.read_bytes),
            read_timeout: timeout
                .and_then(|given| validate::duration(self.reading, &given))
                .unwrap_or(otherwise.read_timeout),
        }
    }

    fn operation(
        &self,
        method: &Method,
        node: &Node,
        settings: &Settings,
        pattern: &str,
        version: Option<&Arc<Version>>,
    ) -> Option<Arc<Operation>> {
        let item = Item::written(node);
        let fields = item.fields(self.reading, self.scope)?;
        let action = fields
            .required("action")
            .and_then(|item| self.action(item, method, settings));
        let response = match fields.get("response") {
            None => Some(Response::Plain),
            Some(item) => self.response(item),
        };
        let info = self.info(&fields);
        let idempotent = fields
            .get("idempotent")
            .map(|item| item.evaluate(self.reading, self.scope))
            .and_then(|given| validate::flag(self.reading, &given));
        let evaluate = |key| {
            fields
                .get(key)
                .map(|item| item.evaluate(self.reading, self.scope))
        };
        let body = self.body_limits(evaluate, settings.body);
        fields.finish();
        Some(Arc::new(Operation {
            version: version?.clone(),
            pattern: pattern.to_owned(),
            method: method.clone(),
            schemes: settings.schemes?,
            accepts: settings.accepts.clone(),
            provides: settings.provides.clone(),
            idempotent: idempotent.unwrap_or(*method == Method::GET || *method == Method::HEAD),
            body_max_bytes: body.max_bytes,
            body_read_timeout: body.read_timeout,
            body_read_bytes: body.read_bytes,
            info,
            action: action?,
            response: response?,
            headers: settings.headers.clone(),
        }))
    }

    fn action(&self, item: &Item<'_>, method: &Method, settings: &Settings) -> Option<Action> {
        let fields = item.fields(self.reading, self.scope)?;
        if fields.is_empty() {
            if *method != Method::OPTIONS {
                let message = "an action without `type`: only `options` may have an empty one";
                let finding = Diagnostic::error(Code::ActionShape, Location::default(), message);
                fields.push_at_key(finding);
            }
            fields.finish();
            return Some(Action::None);
        }
        let kind = fields
            .required("type")
            .map(|item| item.evaluate(self.reading, self.scope));
        let Some(kind) = kind else {
            // What the other keys mean is not known without it, but a misspelt `type` is.
            for key in ACTION_KEYS {
                fields.get(key);
            }
            fields.finish();
            return None;
        };
        if !validate::kind(self.reading, &kind, Kind::Text) {
            fields.abandon();
            return None;
        }
        let action = match kind.template.as_literal().and_then(Value::as_text) {
            Some("wamp_call") => Some(Action::WampCall(self.wamp(
                &fields,
                settings,
                "procedure",
                options::CALL,
            ))),
            Some("wamp_publish") => Some(Action::WampPublish(self.wamp(
                &fields,
                settings,
                "topic",
                options::PUBLISH,
            ))),
            Some("static") => {
                let body = self.template(&fields, "body", Moment::Action);
                let headers = self.given(&fields, "headers", Moment::Action);
                if let Some(headers) = &headers {
                    validate::headers(self.reading, headers);
                }
                Some(Action::Static {
                    body: body.unwrap_or_else(|| Template::literal("")),
                    headers: headers
                        .map_or_else(|| Template::literal(Map::new()), |given| given.template),
                })
            }
            Some("forward") => {
                let message = "action `forward` is not built yet: it comes with a later release";
                kind.report(self.reading, Code::NotBuilt, message);
                for key in FORWARD_KEYS {
                    fields.get(key);
                }
                None
            }
            Some(other) => {
                let message = format!("`{other}` is no kind of action");
                let finding = Diagnostic::error(Code::ActionType, Location::default(), message);
                let finding = finding.with_nearest(other, ACTION_TYPES.iter().copied());
                kind.push(self.reading, finding);
                fields.abandon();
                return None;
            }
            None => {
                kind.wrong_type(self.reading, "a kind of action");
                fields.abandon();
                return None;
            }
        };
        fields.finish();
        action
    }

    fn wamp(
        &self,
        fields: &Fields<'_>,
        settings: &Settings,
        uri_key: &'static str,
        option_table: &[(&'static str, options::OptionType)],
    ) -> WampAction {
        let reading = self.reading;
        fields.required(uri_key);
        let uri = self.given(fields, uri_key, Moment::Action);
        if let Some(uri) = &uri {
            validate::uri(reading, uri, uri_key);
        }
        let options = self.given(fields, "options", Moment::Action);
        if let Some(options) = &options {
            validate::wamp_options(reading, options, option_table);
        }
        let args = self.renamed(fields, "args", "arguments", Kind::List);
        let kwargs = self.renamed(fields, "kwargs", "arguments_kw", Kind::Map);
        self.refuse_payload(fields);
        let timeout = self.given(fields, "timeout", Moment::Action);
        if let Some(timeout) = &timeout {
            validate::millis(reading, timeout, 1);
        }
        let connect_timeout = self.given(fields, "connect_timeout", Moment::Action);
        if let Some(connect_timeout) = &connect_timeout {
            validate::millis(reading, connect_timeout, 0);
        }
        let retries = self.given(fields, "retries", Moment::Action);
        if let Some(retries) = &retries {
            validate::retries(reading, retries);
        }
        let retry_timeout = self.given(fields, "retry_timeout", Moment::Action);
        if let Some(retry_timeout) = &retry_timeout {
            validate::millis(reading, retry_timeout, 0);
        }
        let or_empty_map = |given: Option<Given>| {
            given.map_or_else(|| Template::literal(Map::new()), |given| given.template)
        };
        WampAction {
            // A missing one is reported, and then no route of this is used.
            uri: uri.map_or_else(|| Template::literal(""), |given| given.template),
            options: or_empty_map(options),
            args: args.unwrap_or_else(|| Template::literal(Vec::new())),
            kwargs: kwargs.unwrap_or_else(|| Template::literal(Map::new())),
            timeout: self.own_or_inherited(timeout, &settings.timeout),
            connect_timeout: self.own_or_inherited(connect_timeout, &settings.connect_timeout),
            retries: self.own_or_inherited(retries, &settings.retries),
            retry_timeout: self.own_or_inherited(retry_timeout, &settings.retry_timeout),
        }
    }

    /// Returns what the action says itself, else what the path says. Only then does it matter what
    /// the path's template needs, so that is checked here.
    fn own_or_inherited(&self, own: Option<Given>, inherited: &Template) -> Template {
        match own {
            Some(given) => given.template,
            None => {
                self.check_paths(inherited, Moment::Action);
                inherited.clone()
            }
        }
    }

    /// Reads a member that has an older name too.
    fn renamed(
        &self,
        fields: &Fields<'_>,
        key: &'static str,
        old: &'static str,
        kind: Kind,
    ) -> Option<Template> {
        let given = self.given(fields, key, Moment::Action);
        let by_old_name = self.given(fields, old, Moment::Action);
        if let (Some(_), Some(by_old_name)) = (&given, &by_old_name) {
            let message = format!("`{old}` is an older name of `{key}`, which is there too");
            let finding = Diagnostic::error(Code::ActionShape, Location::default(), message);
            by_old_name.push_at_key(self.reading, finding);
        }
        let given = given.or(by_old_name)?;
        validate::kind(self.reading, &given, kind);
        Some(given.template)
    }

    /// Bondy's specs may carry it; it means nothing there either.
    fn refuse_payload(&self, fields: &Fields<'_>) {
        let Some(payload) = self.given(fields, "payload", Moment::Action) else {
            return;
        };
        let is_neutral = payload
            .template
            .as_literal()
            .is_some_and(|value| match value {
                Value::Null => true,
                Value::Text(text) => text.is_empty(),
                Value::List(items) => items.is_empty(),
                Value::Map(map) => map.is_empty(),
                _ => false,
            });
        if !is_neutral {
            let message = "`payload` means nothing here";
            let finding = Diagnostic::warning(Code::IgnoredKey, Location::default(), message);
            let hint = "what is sent is `args` and `kwargs`";
            payload.push_at_key(self.reading, finding.with_hint(hint));
        }
    }

    fn response(&self, item: &Item<'_>) -> Option<Response> {
        let fields = item.fields(self.reading, self.scope)?;
        let on_result = fields.get("on_result").map(|item| self.on_result(item));
        let on_error = fields.get("on_error").map(|item| self.on_error(item));
        fields.finish();
        Some(Response::Shaped {
            on_result: on_result.unwrap_or_default(),
            on_error: on_error.unwrap_or_default(),
        })
    }

    fn on_result(&self, item: &Item<'_>) -> OnResult {
        let Some(fields) = item.fields(self.reading, self.scope) else {
            return OnResult::default();
        };
        let uri = self.given(&fields, "uri", Moment::Result);
        if let Some(uri) = &uri {
            validate::kind(self.reading, uri, Kind::Text);
        }
        let result = OnResult {
            headers: self.headers(&fields, Moment::Result),
            body: self.template(&fields, "body", Moment::Result),
            status_code: self.status(&fields, Moment::Result),
            uri: uri.map(|given| given.template),
        };
        fields.finish();
        result
    }

    fn on_error(&self, item: &Item<'_>) -> OnError {
        let Some(fields) = item.fields(self.reading, self.scope) else {
            return OnError::default();
        };
        let error = OnError {
            headers: self.headers(&fields, Moment::Error),
            body: self.template(&fields, "body", Moment::Error),
            status_code: self.status(&fields, Moment::Error),
        };
        fields.finish();
        error
    }

    fn headers(&self, fields: &Fields<'_>, moment: Moment) -> Option<Template> {
        let given = self.given(fields, "headers", moment)?;
        validate::headers(self.reading, &given);
        Some(given.template)
    }

    fn status(&self, fields: &Fields<'_>, moment: Moment) -> Option<Template> {
        let given = self.given(fields, "status_code", moment)?;
        Some(validate::status(self.reading, given))
    }

    fn template(&self, fields: &Fields<'_>, key: &'static str, moment: Moment) -> Option<Template> {
        self.given(fields, key, moment).map(|given| given.template)
    }

    /// Evaluates a member and checks that what is left of it can be there at its moment.
    fn given(&self, fields: &Fields<'_>, key: &'static str, moment: Moment) -> Option<Given> {
        let given = fields.get(key)?.evaluate(self.reading, self.scope);
        self.check_paths(&given.template, moment);
        Some(given)
    }

    fn check_paths(&self, template: &Template, moment: Moment) {
        let variables = self
            .are_variables_known
            .then_some(self.variables.as_slice());
        validate::paths(self.reading, template, moment, variables);
    }

    /// Keeps what is said about the operation, once its shape is right: no request needs it.
    fn info(&self, fields: &Fields<'_>) -> Map {
        let Some(item) = fields.get("info") else {
            return Map::new();
        };
        if let Some(node) = item.node() {
            check_info(self.reading, node);
        }
        let given = item.evaluate(self.reading, self.scope);
        match given.template.as_literal() {
            Some(Value::Map(map)) => map.clone(),
            _ => Map::new(),
        }
    }
}

/// Every key of every action: known, while it is not known which action it is.
const ACTION_KEYS: &[&str] = &[
    "procedure",
    "topic",
    "options",
    "args",
    "kwargs",
    "arguments",
    "arguments_kw",
    "payload",
    "host",
    "http_method",
    "path",
    "query_string",
    "headers",
    "body",
    "timeout",
    "connect_timeout",
    "retries",
    "retry_timeout",
];

const ACTION_TYPES: &[&str] = &["wamp_call", "wamp_publish", "forward", "static"];

const FORWARD_KEYS: &[&str] = &[
    "host",
    "http_method",
    "path",
    "query_string",
    "headers",
    "body",
    "timeout",
    "connect_timeout",
    "retries",
    "retry_timeout",
];

/// Never used: a setting that is absent has a built-in default, and one that is wrong is an error.
const NO_LIMITS: BodyLimits = BodyLimits {
    max_bytes: 0,
    read_bytes: 0,
    read_timeout: Duration::ZERO,
};

/// Joins base path and path as people read them, without doubled slashes.
fn declared(base_path: &str, path: &str) -> String {
    let joined = format!("{}{path}", base_path.trim_end_matches('/'));
    let trimmed = joined.trim_end_matches('/');
    if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_owned()
    }
}

/// Reference: `api-spec.md`, "Operation object".
fn check_info(reading: &Reading<'_>, node: &Node) {
    let Some(reader) = ObjectReader::new(reading.document, node, reading.findings) else {
        return;
    };
    reader.text("description");
    for parameter in reader.list("parameters").unwrap_or_default() {
        let Some(parameter) = ObjectReader::new(reading.document, parameter, reading.findings)
        else {
            continue;
        };
        parameter.required_text("name");
        parameter.text("in");
        parameter.text("description");
        parameter.bool("required");
        parameter.text("type");
        if let Some(schema) = parameter.get("schema")
            && !matches!(schema.kind, NodeKind::Map(_) | NodeKind::Bool(_))
        {
            parameter.refuse::<()>(schema, "a JSON Schema");
        }
        parameter.finish();
    }
    reader.finish();
}
