//! API specs: the documents that declare which HTTP requests reach which procedures and topics.
//!
//! ```text
//! text -> document            a tree that knows its places
//!      -> model               API, versions, paths; hosts and paths as patterns
//!      -> inherit             variables, defaults and status codes flow down, evaluated
//!      -> compile + validate  operations; every template evaluated as far as it goes
//!      -> conflict            against each other and every other spec
//!      -> Route               data, for the route table
//! ```
//!
//! All findings come at once, each once, with its place. Nothing here serves a request or reads a
//! file. Read `spec/route.rs` for what comes out, then `spec/compile.rs` for how.

pub mod listing;
pub mod pattern;
pub mod route;
pub mod status;

mod compile;
mod conflict;
mod inherit;
mod item;
mod model;
mod validate;

#[cfg(test)]
pub(crate) mod fixture;

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Findings, Location};
use crate::document::Document;
use crate::uri::Uri;
use compile::Compiled;
use conflict::Claim;

pub use conflict::{Holders, Holding, Shape};
pub use inherit::ALIASES;
pub use route::{
    Action, HostPattern, MAX_RETRIES, OnError, OnResult, Operation, PathPattern, Response, Route,
    Schemes, Segment, Version, WampAction,
};

/// A document compiled by itself: what it is beside others is not known yet. [`Holders`] tells.
#[derive(Debug)]
pub struct CompiledSpec {
    document: Document,
    compiled: Compiled,
    routes: Arc<[Route]>,
    findings: Vec<Diagnostic>,
}

impl CompiledSpec {
    /// Compiles a document. Its [notes](Document::notes) are among the findings.
    pub fn new(document: Document) -> Self {
        let findings = Findings::new();
        findings.extend(document.notes().iter().cloned());
        let mut compiled = compile::compile(&document, &findings);
        findings.extend(conflict::within(&document, &compiled.claims));
        if findings.errors() > 0 {
            compiled.routes.clear();
            compiled.versions.clear();
        }
        Self {
            document,
            routes: std::mem::take(&mut compiled.routes).into(),
            compiled,
            findings: findings.into_list(),
        }
    }

    /// Returns whether there is an error in the document itself.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Diagnostic::is_error)
    }

    /// Returns the API's `id`, if it can be read.
    pub fn id(&self) -> Option<&str> {
        self.compiled.id.as_ref().map(|(_, id)| id.as_str())
    }

    /// Returns the API's realm, if it can be read.
    pub fn realm(&self) -> Option<&Uri> {
        self.compiled.realm.as_ref().map(|(_, realm)| realm)
    }

    /// Returns the routes of the active versions; none if there is an error.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Returns the document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Returns the API's `id` and where it stands.
    pub fn id_and_place(&self) -> Option<(Location, &str)> {
        let (at, id) = self.compiled.id.as_ref()?;
        Some((self.document.location(*at), id))
    }

    /// Returns the finding about a realm that is none of `known`, if it is none.
    pub fn unknown_realm<'k>(
        &self,
        known: impl IntoIterator<Item = &'k Uri> + Clone,
    ) -> Option<Diagnostic> {
        let (at, realm) = self.compiled.realm.as_ref()?;
        if known.clone().into_iter().any(|known| known == realm) {
            return None;
        }
        let message = format!("realm `{realm}` is not configured");
        let location = self.document.location(*at);
        let finding = Diagnostic::error(Code::UnknownRealm, location, message);
        Some(finding.with_nearest(realm.as_str(), known.into_iter().map(Uri::as_str)))
    }

    /// Returns all that was found: in the document itself, and `others` about it, in the order of
    /// their places.
    pub fn findings_and(&self, others: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let findings = Findings::new();
        findings.extend(self.findings.iter().cloned());
        findings.extend(others);
        findings.into_sorted()
    }

    /// Returns the document as it is beside others, which have led to `others`.
    pub fn loaded(&self, others: Vec<Diagnostic>) -> LoadedSpec {
        let realm = self.compiled.realm.clone();
        let mut spec = LoadedSpec {
            file: self.document.file().map(str::to_owned),
            id: self.id().map(str::to_owned),
            realm: realm.map(|(at, uri)| (uri, self.document.location(at))),
            versions: self.compiled.versions.clone(),
            routes: self.routes.clone(),
            findings: self.findings_and(others),
        };
        if spec.is_rejected() {
            spec.clear();
        }
        spec
    }

    /// Returns what it needs for itself alone: its id and its routes.
    pub fn holdings(&self) -> impl Iterator<Item = Holding<'_>> {
        let shapes = self.claims().iter().flat_map(|claim| &claim.shapes);
        let id = self.id().map(Holding::Id);
        id.into_iter().chain(shapes.map(Holding::Route))
    }

    fn claims(&self) -> &[Claim] {
        &self.compiled.claims
    }
}

/// What became of one document.
#[derive(Debug, Clone)]
pub struct LoadedSpec {
    /// The file's name, as the document has it.
    pub file: Option<String>,
    /// The API's `id`, if it can be read.
    pub id: Option<String>,
    /// The API's realm and where it is named, if it can be read.
    pub realm: Option<(Uri, Location)>,
    /// Every version, active or not; none if there is an error.
    pub versions: Vec<Arc<Version>>,
    /// Every route of the active versions; none if there is an error.
    pub routes: Arc<[Route]>,
    /// Errors and warnings, in the order of their places.
    pub findings: Vec<Diagnostic>,
}

impl LoadedSpec {
    /// Returns whether there is an error: then nothing of it is served.
    pub fn is_rejected(&self) -> bool {
        self.findings.iter().any(Diagnostic::is_error)
    }

    /// Refuses the spec for what is wrong elsewhere.
    pub fn refuse(&mut self, finding: Diagnostic) {
        self.findings.push(finding);
        self.clear();
    }

    fn clear(&mut self) {
        self.versions.clear();
        self.routes = Arc::default();
    }
}

/// Loads specs, each by itself and then against each other. `realms` are the URIs of the realms that
/// are configured; without them, `realm_uri` is not compared.
///
/// Where two specs cannot both be served (the same `id`, the same route), the later one is refused,
/// and one that has errors of its own before one that has none.
pub fn load(documents: Vec<Document>, realms: Option<&[Uri]>) -> Vec<LoadedSpec> {
    let specs: Vec<CompiledSpec> = documents.into_iter().map(CompiledSpec::new).collect();
    let unknown: Vec<Option<Diagnostic>> = specs
        .iter()
        .map(|spec| spec.unknown_realm(realms?))
        .collect();
    // The good ones first: a broken spec must not push a good one out.
    let mut order: Vec<usize> = (0..specs.len()).collect();
    order.sort_by_key(|index| specs[*index].has_errors() || unknown[*index].is_some());
    let mut holders = Holders::default();
    let mut others: Vec<Vec<Diagnostic>> = Vec::new();
    others.extend(unknown.into_iter().map(|it| it.into_iter().collect()));
    for index in order {
        others[index].extend(holders.conflicts(index, &specs[index]));
        holders.take_what_is_free(index, &specs[index]);
    }
    let specs = specs.iter().zip(others);
    specs.map(|(spec, others)| spec.loaded(others)).collect()
}
