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

pub use inherit::ALIASES;
pub use route::{
    Action, HostPattern, MAX_RETRIES, OnError, OnResult, Operation, PathPattern, Response, Route,
    Schemes, Segment, Version, WampAction,
};

/// What became of one document.
#[derive(Debug)]
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
    pub routes: Vec<Route>,
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
        self.versions.clear();
        self.routes.clear();
    }
}

/// Loads specs, each by itself and then against each other. `realms` are the URIs of the realms that
/// are configured; without them, `realm_uri` is not compared.
///
/// Where two specs cannot both be served (the same `id`, the same route), the later one is refused,
/// and one that has errors of its own before one that has none.
pub fn load(documents: &[Document], realms: Option<&[String]>) -> Vec<LoadedSpec> {
    let mut specs = Vec::new();
    let mut all_findings = Vec::new();
    let mut claims = Vec::new();
    let mut ids = Vec::new();
    for document in documents {
        let findings = Findings::new();
        findings.extend(document.notes().iter().cloned());
        let mut compiled = compile::compile(document, realms, &findings);
        let is_rejected = findings.errors() > 0;
        ids.push((is_rejected, compiled.id.clone()));
        claims.push(std::mem::take(&mut compiled.claims));
        specs.push(compiled);
        all_findings.push(findings);
    }

    // The good ones first: a broken spec must not push a good one out.
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by_key(|index| ids[*index].0);
    let mut claimed = Vec::new();
    for index in &order {
        claimed.push(conflict::Claims {
            document: &documents[*index],
            claims: std::mem::take(&mut claims[*index]),
        });
    }
    for (position, finding) in conflict::find(&claimed) {
        all_findings[order[position]].push(finding);
    }
    for (position, index) in order.iter().enumerate() {
        let Some((at, id)) = &ids[*index].1 else {
            continue;
        };
        let same = |other: &&usize| matches!(&ids[**other].1, Some((_, other)) if other == id);
        if let Some(first) = order[..position].iter().find(same) {
            let place = &documents[*first];
            let other = ids[*first].1.as_ref().map(|(at, _)| place.location(*at));
            let other = other.unwrap_or_default();
            let message = format!("an API with the id `{id}` is there already, at {other}");
            let location = documents[*index].location(*at);
            let finding = Diagnostic::error(Code::DuplicateApi, location, message);
            all_findings[*index].push(finding);
        }
    }

    let loaded = specs.into_iter().zip(all_findings).zip(documents);
    loaded
        .map(|((compiled, findings), document)| {
            let realm = compiled.realm;
            let mut spec = LoadedSpec {
                file: document.file().map(str::to_owned),
                id: compiled.id.map(|(_, id)| id),
                realm: realm.map(|(at, uri)| (uri, document.location(at))),
                versions: compiled.versions,
                routes: compiled.routes,
                findings: findings.into_sorted(),
            };
            if spec.is_rejected() {
                spec.versions.clear();
                spec.routes.clear();
            }
            spec
        })
        .collect()
}
